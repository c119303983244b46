"""A network that looks at a film once and answers four questions.

Which view is it, how is it turned, is it inverted, and which of the fourteen findings does it
show. The guard asks the first three before anything is drafted; the pooled features serve the
tokenizer's clinical loss, the Fréchet distance and the nearest-neighbour baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from engine.findings import FINDINGS
from engine.guard import TURNS, VIEWS
from engine.nets.densenet import DenseNet121
from engine.nets.efficientnet import EfficientNetLite0

DROPOUT = 0.2


def film_tensor(images: NDArray[np.uint8]) -> Tensor:
    """uint8 [B, 256, 256] -> float32 [B, 1, 256, 256] in [-1, 1]."""
    return torch.from_numpy(images[:, None].astype(np.float32) / 127.5 - 1.0)


class Backbone(Protocol):
    """What every feature network offers: maps of falling resolution, ``width`` at the last."""

    width: int

    def maps(self, x: Tensor) -> list[Tensor]:
        """[B, 1, H, W] in [-1, 1] -> feature maps, highest resolution first."""
        ...

    def load_published(self, weights: dict[str, Tensor]) -> None:
        """Take up published weights by key and shape."""
        ...


BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "densenet121": DenseNet121,
    "efficientnet_lite0": EfficientNetLite0,
}


class ClassifierOutput(TypedDict):
    """Logits of each question and the pooled features that they rest on."""

    view: Tensor
    turn: Tensor
    inverted: Tensor
    findings: Tensor
    features: Tensor


class FilmClassifier(nn.Module):
    """A backbone, mean-pooled, with one linear head a question.

    ``scale`` and ``shift`` [14] calibrate the findings' logits (Platt); they are 1 and 0 until
    `training.calibration` has fitted them.
    """

    backbone: Backbone
    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: str = "densenet121") -> None:
        super().__init__()
        self.backbone = BACKBONES[backbone]()  # type: ignore[assignment]
        width = self.backbone.width
        self.view = nn.Linear(width, len(VIEWS))
        self.turn = nn.Linear(width, len(TURNS))
        self.inverted = nn.Linear(width, 1)
        self.findings = nn.Linear(width, len(FINDINGS))
        self.register_buffer("scale", torch.ones(len(FINDINGS)))
        self.register_buffer("shift", torch.zeros(len(FINDINGS)))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the backbone's feature maps, highest resolution first."""
        return self.backbone.maps(x)

    def features(self, x: Tensor) -> Tensor:
        """[B, 1, 256, 256] in [-1, 1] -> pooled features [B, width]."""
        return self.maps(x)[-1].mean((2, 3))

    def forward(self, x: Tensor) -> ClassifierOutput:
        """[B, 1, 256, 256] in [-1, 1] -> logits and features [B, width]."""
        features = self.features(x)
        kept = F.dropout(features, DROPOUT, self.training)
        return {
            "view": self.view(kept),
            "turn": self.turn(kept),
            "inverted": self.inverted(kept)[:, 0],
            "findings": self.findings(kept) * self.scale + self.shift,
            "features": features,
        }
