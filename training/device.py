"""Where a loop runs: one GPU when there is one, else the CPU."""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


def best() -> torch.device:
    """Return the device that training uses on this machine."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, precision: Literal["no", "bf16"]) -> torch.autocast:
    """Return the precision context of a recipe on a device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def channels_last(net: Net, device: torch.device) -> Net:
    """Move a convolutional net to a device in the layout that its kernels like best."""
    for parameter in net.parameters():
        layout = torch.channels_last if parameter.ndim == 4 else torch.contiguous_format
        parameter.data = parameter.data.to(device=device, memory_format=layout)
    return net.to(device)
