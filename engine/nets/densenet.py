"""DenseNet-121 (arXiv 1608.06993) for one-channel films.

Parameter names follow the published PyTorch networks, so that TorchXRayVision's
``densenet121-res224-*`` weights load by key and shape. Their intensity range is [-1024, 1024] at
224 x 224; `DenseNet121.maps` takes films in [-1, 1] of any size and converts.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.nets.checkpoints import take_up

WIDTH = 1024
GROWTH = 32
STEM_WIDTH = 64
BOTTLENECK = 4
DEPTHS = (6, 12, 24, 16)
SIZE = 224
INTENSITY = 1024.0


class DenseLayer(nn.Module):
    """Normalise, squeeze to 128 channels, find 32 new ones and append them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, BOTTLENECK * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * GROWTH)
        self.conv2 = nn.Conv2d(BOTTLENECK * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C + 32, H, W]."""
        inner = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(inner)))], 1)


class Transition(nn.Module):
    """Halve channels and resolution between two blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C / 2, H / 2, W / 2]."""
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


def dense_block(width: int, depth: int) -> nn.Sequential:
    """Return ``depth`` dense layers, each wider by the growth rate."""
    layers = [
        (f"denselayer{index + 1}", DenseLayer(width + index * GROWTH)) for index in range(depth)
    ]
    return nn.Sequential(OrderedDict(layers))


class DenseNet121(nn.Module):
    """Films -> feature maps of the stem and of each dense block; 1024 channels at the end."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(1, STEM_WIDTH, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(STEM_WIDTH),
        )
        width = STEM_WIDTH
        for number, depth in enumerate(DEPTHS, start=1):
            parts[f"denseblock{number}"] = dense_block(width, depth)
            width += depth * GROWTH
            if number < len(DEPTHS):
                parts[f"transition{number}"] = Transition(width)
                width //= 2
        parts["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.ModuleDict(parts)

    def maps(self, x: Tensor) -> list[Tensor]:
        """[B, 1, H, W] in [-1, 1] -> five maps, the last [B, 1024, 7, 7] after its ReLU.

        The resize is differentiable, so that the tokenizer's loss may run through it.
        """
        if x.shape[-1] != SIZE:
            x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True)
        parts = self.features
        x = F.relu(parts["norm0"](parts["conv0"](x * INTENSITY)))
        found = [x]
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for number in range(1, len(DEPTHS) + 1):
            x = parts[f"denseblock{number}"](x)
            if number < len(DEPTHS):
                found.append(x)
                x = parts[f"transition{number}"](x)
        return [*found, F.relu(parts["norm5"](x))]

    def load_published(self, weights: dict[str, Tensor]) -> None:
        """Take up TorchXRayVision weights; its own class head and thresholds are left out."""
        kept = {key: value for key, value in weights.items() if key.startswith("features.")}
        take_up(self, kept)
