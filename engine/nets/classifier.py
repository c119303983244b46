"""A small residual network that looks at a film once and answers four questions.

Which view is it, how is it turned, is it inverted, and which of the fourteen findings does it
show. The guard asks the first three before anything is drafted; the features serve as a perceptual
distance for the tokenizer and as the yardstick for drawn films.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from engine.findings import FINDINGS
from engine.guard import TURNS, VIEWS

PIXEL_GRID, PLACE_GRID = 16, 4


def film_tensor(images: NDArray[np.uint8]) -> Tensor:
    """uint8 [B, 256, 256] -> float32 [B, 1, 256, 256] in [-1, 1]."""
    return torch.from_numpy(images[:, None].astype(np.float32) / 127.5 - 1.0)


def placed(x: Tensor, last: Tensor) -> Tensor:
    """Return what the findings rest on [B, 256 + 16 * C]: coarse pixels and features by place.

    Unlike the pooled features these keep where something lies, which heart size needs.
    """
    coarse = F.avg_pool2d(x, x.shape[-1] // PIXEL_GRID)
    places = F.avg_pool2d(last, last.shape[-1] // PLACE_GRID)
    return torch.cat([coarse.flatten(1), places.flatten(1)], 1)


class ClassifierOutput(TypedDict):
    """Logits of each question and the pooled features they rest on."""

    view: Tensor
    turn: Tensor
    inverted: Tensor
    findings: Tensor
    features: Tensor


class Stage(nn.Module):
    """Halve the resolution, then one residual block."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1)
        self.norm1 = nn.GroupNorm(8, width_out)
        self.conv1 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, Cin, H, W] -> [B, Cout, H/2, W/2]."""
        x = self.down(x)
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class FilmClassifier(nn.Module):
    """Five stages from 256 x 256 to 8 x 8, mean-pooled to ``8 * width`` features."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        widths = (width // 2, width, 2 * width, 4 * width, 8 * width)
        pairs = zip((1, *widths[:-1]), widths, strict=True)
        self.stages = nn.ModuleList(Stage(a, b) for a, b in pairs)
        self.norm = nn.GroupNorm(8, widths[-1])
        self.view = nn.Linear(widths[-1], len(VIEWS))
        self.turn = nn.Linear(widths[-1], len(TURNS))
        self.inverted = nn.Linear(widths[-1], 1)
        self.findings = nn.Linear(PIXEL_GRID**2 + PLACE_GRID**2 * widths[-1], len(FINDINGS))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the feature map of every stage, highest resolution first."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> ClassifierOutput:
        """[B, 1, 256, 256] in [-1, 1] -> logits and features [B, 8 * width]."""
        last = self.maps(x)[-1]
        features = F.silu(self.norm(last)).mean((2, 3))
        return {
            "view": self.view(features),
            "turn": self.turn(features),
            "inverted": self.inverted(features)[:, 0],
            "findings": self.findings(placed(x, last)),
            "features": features,
        }
