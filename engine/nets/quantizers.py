"""Codebooks: nearest neighbour by squared L2, learned by gradient, by moving averages, or fixed.

``vq`` is the gradient codebook of taming-transformers, its documented beta slip included behind a
flag (published LLM-CXR weights were trained with it). ``ema`` moves the codebook by exponential
averages (arXiv 1711.00937, appendix A.1) and restarts dead codes from the batch. ``fsq`` rounds
every coordinate to a few levels (arXiv 2309.15505): nothing to learn, nothing to collapse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from engine.nets.vqgan import VqganConfig


class Quantizer(nn.Module):
    """A codebook [K, D] with nearest-neighbour search."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        self.beta = config.beta
        self.legacy_beta = config.legacy_beta
        self.embedding = nn.Embedding(config.num_codes, config.code_dim)
        bound = 1.0 / config.num_codes
        nn.init.uniform_(self.embedding.weight, -bound, bound)

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes [...] -> rows [..., D]."""
        return self.embedding(codes)

    def rows(self) -> Tensor:
        """Return the rows [K, D] among which the nearest is searched: all."""
        return self.embedding.weight

    def bound(self, latent: Tensor) -> Tensor:
        """Return the latent as the search sees it: as it is."""
        return latent

    def nearest(self, latent: Tensor) -> Tensor:
        """Latent [B, D, H, W] -> codes [B, H, W] by least squared distance, in float32."""
        flat = self.bound(latent).permute(0, 2, 3, 1).float()
        rows = self.rows().float()
        distance = rows.square().sum(1) - 2 * flat @ rows.t()
        return distance.argmin(-1)

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return straight-through latents [B, D, H, W], loss (scalar), codes [B, H, W]."""
        codes = self.nearest(latent)
        quantized = self.lookup(codes).permute(0, 3, 1, 2)
        latent = self.bound(latent)
        loss = self.loss(latent, quantized, codes)
        return latent + (quantized - latent).detach(), loss, codes

    def loss(self, latent: Tensor, quantized: Tensor, codes: Tensor) -> Tensor:
        """Codebook and commitment terms; beta weighs the commitment unless ``legacy_beta``."""
        commitment = F.mse_loss(latent, quantized.detach())
        codebook = F.mse_loss(quantized, latent.detach())
        if self.legacy_beta:
            return commitment + self.beta * codebook
        return codebook + self.beta * commitment


class EmaQuantizer(Quantizer):
    """A codebook that follows the running mean of the latents assigned to each code."""

    decay = 0.99
    dead_below = 0.1

    usage: Tensor
    sums: Tensor
    is_initialised: Tensor

    def __init__(self, config: VqganConfig) -> None:
        super().__init__(config)
        self.embedding.weight.requires_grad_(False)
        self.register_buffer("usage", torch.ones(config.num_codes))
        self.register_buffer("sums", self.embedding.weight.detach().clone())
        self.register_buffer("is_initialised", torch.zeros((), dtype=torch.bool))

    def loss(self, latent: Tensor, quantized: Tensor, codes: Tensor) -> Tensor:
        """Return the commitment alone: the codebook has no gradient."""
        if self.training:
            self.follow(latent.detach(), codes)
        return self.beta * F.mse_loss(latent, quantized.detach())

    @torch.no_grad()
    def follow(self, latent: Tensor, codes: Tensor) -> None:
        """Move every code towards its latents; restart those that hardly any latent chose."""
        flat = latent.permute(0, 2, 3, 1).reshape(-1, latent.shape[1])
        if not self.is_initialised:
            self.restart(torch.ones_like(self.usage, dtype=torch.bool), flat)
            self.is_initialised.fill_(True)
            return
        chosen = codes.reshape(-1)
        counts = torch.bincount(chosen, minlength=len(self.usage)).to(flat)
        sums = torch.zeros_like(self.sums).index_add_(0, chosen, flat)
        self.usage.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.embedding.weight.copy_(self.sums / self.usage.clamp(min=1e-5)[:, None])
        dead = self.usage < self.dead_below
        if bool(dead.any()):
            self.restart(dead, flat)

    def restart(self, dead: Tensor, flat: Tensor) -> None:
        """Put the codes of the mask ``dead`` [K] onto random latents of the batch [N, D]."""
        picks = torch.randint(len(flat), (int(dead.sum()),), device=flat.device)
        self.embedding.weight[dead] = flat[picks]
        self.sums[dead] = flat[picks]
        self.usage[dead] = 1.0


class FiniteScalarQuantizer(Quantizer):
    """A fixed grid: coordinate ``i`` takes ``levels[i]`` evenly spaced values in [-1, 1].

    The codebook is written out, so that whatever reads a learned one reads this one too: the grid's
    prod(levels) points, then the last of them again up to ``num_codes`` rows, so that every code
    that a language model may draw has a meaning. Rounding a bounded latent is the search for its
    nearest grid point.
    """

    def __init__(self, config: VqganConfig) -> None:
        super().__init__(config)
        if len(config.fsq_levels) != config.code_dim:
            raise ValueError(
                f"fsq_levels {config.fsq_levels} need code_dim {len(config.fsq_levels)}"
            )
        axes = [torch.linspace(-1, 1, count) for count in config.fsq_levels]
        grid = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        self.num_points, spare = len(grid), config.num_codes - len(grid)
        if spare < 0:
            raise ValueError(f"fsq_levels make {len(grid)} codes, of which {config.num_codes} fit")
        rows = torch.cat([grid, grid[-1:].expand(spare, -1)])
        self.embedding = nn.Embedding.from_pretrained(rows, freeze=True)

    def rows(self) -> Tensor:
        """Return the grid's points, the spare rows left out."""
        return self.embedding.weight[: self.num_points]

    def bound(self, latent: Tensor) -> Tensor:
        """Squash a latent into the grid's cube."""
        return latent.tanh()

    def loss(self, latent: Tensor, quantized: Tensor, codes: Tensor) -> Tensor:
        """Return nothing to lose: a grid needs neither codebook nor commitment term."""
        return latent.new_zeros(())


QUANTIZERS: dict[str, type[Quantizer]] = {
    "vq": Quantizer,
    "ema": EmaQuantizer,
    "fsq": FiniteScalarQuantizer,
}


def build_quantizer(config: VqganConfig) -> Quantizer:
    """Return the quantizer that the config names."""
    return QUANTIZERS[config.quantizer](config)
