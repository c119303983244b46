"""The VQ-GAN tokenizer: 256 x 256 grey film <-> 16 x 16 codes of 1024.

Architecture and parameter names are those of the f16 model of taming-transformers (arXiv
2012.09841, appendix table 7), so that its checkpoints load. ``patch`` above 1 starts with
`pixel_unshuffle`: the costly full-resolution convolutions go, the 256 codes stay.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.nets.quantizers import Quantizer, build_quantizer


@dataclass(frozen=True)
class VqganConfig:
    """Sizes of the tokenizer.

    ``patch * 2 ** (len(channel_mult) - 1)`` is the down-sampling factor, 16 in every recipe.
    """

    in_channels: int = 1
    patch: int = 1
    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    z_channels: int = 256
    num_groups: int = 32
    num_codes: int = 1024
    code_dim: int = 256
    quantizer: str = "vq"
    beta: float = 0.25
    legacy_beta: bool = False
    fsq_levels: tuple[int, ...] = (8, 5, 5, 5)

    @property
    def factor(self) -> int:
        """Pixels per code along one side."""
        return int(self.patch * 2 ** (len(self.channel_mult) - 1))

    def as_json(self) -> dict[str, Any]:
        """Return the sizes as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> VqganConfig:
        """Read what `as_json` wrote."""
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


def norm(channels: int, num_groups: int) -> nn.GroupNorm:
    """Return the group norm used everywhere (eps 1e-6)."""
    return nn.GroupNorm(num_groups, channels, eps=1e-6)


class ResBlock(nn.Module):
    """GroupNorm, swish, 3x3 convolution, twice, around a skip."""

    def __init__(self, width_in: int, width_out: int, num_groups: int) -> None:
        super().__init__()
        self.norm1 = norm(width_in, num_groups)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = norm(width_out, num_groups)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        if width_in != width_out:
            self.nin_shortcut = nn.Conv2d(width_in, width_out, 1)
        self.has_shortcut = width_in != width_out

    def forward(self, x: Tensor) -> Tensor:
        """[B, Cin, H, W] -> [B, Cout, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        skip = self.nin_shortcut(x) if self.has_shortcut else x
        return skip + h


class AttnBlock(nn.Module):
    """Single-head self-attention over the positions of a feature map."""

    def __init__(self, width: int, num_groups: int) -> None:
        super().__init__()
        self.norm = norm(width, num_groups)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        b, c, h, w = x.shape
        y = self.norm(x)
        q, k, v = (m(y).reshape(b, c, h * w).transpose(1, 2) for m in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(1, 2) * c**-0.5, dim=-1)
        mixed = (weights @ v).transpose(1, 2).reshape(b, c, h, w)
        return x + self.proj_out(mixed)


class Downsample(nn.Module):
    """Pad right and bottom by one, then a stride-2 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H/2, W/2]."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest x2, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2H, 2W]."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks of one resolution, with attention after each where asked for."""

    downsample: Downsample
    upsample: Upsample

    def __init__(
        self, width_in: int, width_out: int, count: int, num_groups: int, attention: bool
    ) -> None:
        super().__init__()
        widths = [width_in] + [width_out] * count
        pairs = itertools.pairwise(widths)
        self.block = nn.ModuleList(ResBlock(a, b, num_groups) for a, b in pairs)
        repeats = count if attention else 0
        self.attn = nn.ModuleList(AttnBlock(width_out, num_groups) for _ in range(repeats))

    def forward(self, x: Tensor) -> Tensor:
        """[B, Cin, H, W] -> [B, Cout, H, W]."""
        for index, block in enumerate(self.block):
            x = block(x)
            if index < len(self.attn):
                x = self.attn[index](x)
        return x


class Mid(nn.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, width: int, num_groups: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(width, width, num_groups)
        self.attn_1 = AttnBlock(width, num_groups)
        self.block_2 = ResBlock(width, width, num_groups)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """Film to latent map."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.channel_mult]
        groups, last = config.num_groups, len(widths) - 1
        self.patch = config.patch
        self.conv_in = nn.Conv2d(
            config.in_channels * config.patch**2, config.channels, 3, padding=1
        )
        self.levels: list[Level] = []
        width = config.channels
        for index, width_out in enumerate(widths):
            level = Level(width, width_out, config.num_res_blocks, groups, index == last)
            if index != last:
                level.downsample = Downsample(width_out)
            self.levels.append(level)
            width = width_out
        self.down = nn.ModuleList(self.levels)
        self.mid = Mid(width, groups)
        self.norm_out = norm(width, groups)
        self.conv_out = nn.Conv2d(width, config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, 256, 256] in [-1, 1] -> [B, z, 16, 16]."""
        h = self.conv_in(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
        for index, level in enumerate(self.levels):
            h = level(h)
            if index != len(self.levels) - 1:
                h = level.downsample(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """Latent map to film."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.channel_mult]
        groups, last = config.num_groups, len(widths) - 1
        self.patch = config.patch
        width = widths[-1]
        self.conv_in = nn.Conv2d(config.z_channels, width, 3, padding=1)
        self.mid = Mid(width, groups)
        self.levels: list[Level] = []
        for index in reversed(range(len(widths))):
            level = Level(width, widths[index], config.num_res_blocks + 1, groups, index == last)
            if index != 0:
                level.upsample = Upsample(widths[index])
            self.levels.insert(0, level)
            width = widths[index]
        self.up = nn.ModuleList(self.levels)
        self.norm_out = norm(width, groups)
        self.conv_out = nn.Conv2d(width, config.in_channels * config.patch**2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """[B, z, 16, 16] -> [B, C, 256, 256], about [-1, 1], not clipped."""
        h = self.mid(self.conv_in(z))
        for index, level in reversed(list(enumerate(self.levels))):
            h = level(h)
            if index != 0:
                h = level.upsample(h)
        x = self.conv_out(F.silu(self.norm_out(h)))
        return F.pixel_shuffle(x, self.patch) if self.patch > 1 else x


class Vqgan(nn.Module):
    """Encoder, quantizer and decoder of one tokenizer."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize: Quantizer = build_quantizer(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.code_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.code_dim, config.z_channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction, the codebook loss (a scalar) and codes [B, 16, 16]."""
        latent = self.quant_conv(self.encoder(x))
        quantized, loss, codes = self.quantize(latent.float())
        return self.decoder(self.post_quant_conv(quantized)), loss, codes

    def encode(self, x: Tensor) -> Tensor:
        """[B, C, 256, 256] in [-1, 1] -> codes [B, 256], row-major."""
        latent = self.quant_conv(self.encoder(x))
        return self.quantize.nearest(latent.float()).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, 256] -> [B, C, 256, 256], clipped to [-1, 1]."""
        side = int(codes.shape[1] ** 0.5)
        rows = self.quantize.lookup(codes.reshape(-1, side, side))
        return self.decoder(self.post_quant_conv(rows.permute(0, 3, 1, 2))).clamp(-1, 1)
