"""The feature maps that two films are compared by: LPIPS on VGG-16, or the film classifier.

VGG-16 comes from a local file in the published key layout (``features.N.weight``); the linear
weights of LPIPS (arXiv 1801.03924) are not needed where every channel counts alike.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.nets.checkpoints import take_up
from training import published

DEPTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FeatureMaps(Protocol):
    """A network that yields maps of falling resolution for films in [-1, 1]."""

    def maps(self, x: Tensor) -> list[Tensor]:
        """[B, 1, H, W] -> feature maps, highest resolution first."""
        ...


class Vgg16(nn.Module):
    """The thirteen convolutions of VGG-16 (arXiv 1409.1556), a map after each group."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        width = 3
        for group in DEPTHS:
            for width_out in group:
                layers += [nn.Conv2d(width, width_out, 3, padding=1), nn.ReLU()]
                width = width_out
            self.ends.append(len(layers) - 1)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.ModuleList(layers)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def maps(self, x: Tensor) -> list[Tensor]:
        """[B, 1, H, W] in [-1, 1] -> five maps from H to H / 16."""
        x = (x.expand(-1, 3, -1, -1) / 2 + 0.5 - self.mean) / self.std
        found = []
        for index, layer in enumerate(self.features):
            x = F.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
            if index in self.ends:
                found.append(x)
        return found


def load_vgg16(path: str, sha256: str) -> Vgg16:
    """Return a frozen VGG-16 with published weights; its class head is left out."""
    weights = published.read(path, sha256)
    net = Vgg16()
    kept = {key: value for key, value in weights.items() if key.startswith("features.")}
    take_up(net, kept)
    return net.eval().requires_grad_(False)
