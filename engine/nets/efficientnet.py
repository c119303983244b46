"""EfficientNet-Lite0 (arXiv 1905.11946 without squeeze-and-excitation, ReLU6 throughout).

The variant that runs fast on CPUs. Parameter names follow the published PyTorch port of the
TensorFlow weights, so that those load by key and shape.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from engine.nets.checkpoints import take_up

WIDTH = 1280
STEM_WIDTH = 32
NORM_EPS = 1e-3


class Group(NamedTuple):
    """Blocks that share their shape; only the first may halve the resolution."""

    depth: int
    kernel: int
    stride: int
    expansion: int
    width: int


GROUPS = (
    Group(1, 3, 1, 1, 16),
    Group(2, 3, 2, 6, 24),
    Group(2, 5, 2, 6, 40),
    Group(3, 3, 2, 6, 80),
    Group(3, 5, 1, 6, 112),
    Group(4, 5, 2, 6, 192),
    Group(1, 3, 1, 6, 320),
)


class SamePadConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: the odd pixel goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, Cin, H, W] -> [B, Cout, ceil(H / stride), ceil(W / stride)]."""
        (kernel, stride), (height, width) = (self.kernel_size[0], self.stride[0]), x.shape[-2:]
        tall = max((-(-height // stride) - 1) * stride + kernel - height, 0)
        wide = max((-(-width // stride) - 1) * stride + kernel - width, 0)
        padded = F.pad(x, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
        return self._conv_forward(padded, self.weight, self.bias)


def norm(width: int) -> nn.BatchNorm2d:
    """Return a batch norm with the published epsilon and momentum."""
    return nn.BatchNorm2d(width, eps=NORM_EPS, momentum=0.01)


class Block(nn.Module):
    """Expand, filter each channel, project; add the input where shapes agree."""

    def __init__(self, width_in: int, width_out: int, group: Group, stride: int) -> None:
        super().__init__()
        inner = width_in * group.expansion
        self.expands = group.expansion != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(width_in, inner, 1, bias=False)
            self._bn0 = norm(inner)
        self._depthwise_conv = SamePadConv(
            inner, inner, group.kernel, stride=stride, groups=inner, bias=False
        )
        self._bn1 = norm(inner)
        self._project_conv = nn.Conv2d(inner, width_out, 1, bias=False)
        self._bn2 = norm(width_out)
        self.adds = stride == 1 and width_in == width_out

    def forward(self, x: Tensor) -> Tensor:
        """[B, Cin, H, W] -> [B, Cout, H', W']."""
        inner = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        found: Tensor = self._bn2(self._project_conv(inner))
        return found + x if self.adds else found


class EfficientNetLite0(nn.Module):
    """RGB films in [-1, 1] -> feature maps; 4.7 M parameters with its ImageNet head."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SamePadConv(3, STEM_WIDTH, 3, stride=2, bias=False)
        self._bn0 = norm(STEM_WIDTH)
        self._blocks = nn.ModuleList()
        self.ends: list[int] = []
        width_in = STEM_WIDTH
        for group in GROUPS:
            for position in range(group.depth):
                stride = group.stride if position == 0 else 1
                self._blocks.append(Block(width_in, group.width, group, stride))
                width_in = group.width
            self.ends.append(len(self._blocks) - 1)
        self._conv_head = nn.Conv2d(width_in, WIDTH, 1, bias=False)
        self._bn1 = norm(WIDTH)

    def maps(self, x: Tensor) -> list[Tensor]:
        """[B, 1, H, W] in [-1, 1] -> the map at the end of every group, then the head's."""
        x = F.relu6(self._bn0(self._conv_stem(x.expand(-1, 3, -1, -1))))
        found = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self.ends:
                found.append(x)
        return [*found, F.relu6(self._bn1(self._conv_head(x)))]

    def load_published(self, weights: dict[str, Tensor]) -> None:
        """Take up published weights; the ImageNet classes are left out, all else must match."""
        kept = {key: value for key, value in weights.items() if not key.startswith("_fc.")}
        take_up(self, kept)
