"""How alike two films are: PSNR, SSIM and the Fréchet distance of feature sets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5
PEAK = 1.0
STABLE_MEAN, STABLE_VARIANCE = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio [B] in dB of films [B, 1, H, W] in [0, 1]."""
    error = (found - wanted).square().mean((1, 2, 3)).clamp(min=1e-10)
    return 10 * torch.log10(PEAK**2 / error)


def gaussian_window() -> Tensor:
    """Return the window of SSIM [1, 1, 11, 11], sigma 1.5, sum 1."""
    places = torch.arange(WINDOW) - WINDOW // 2
    profile = torch.exp(-places.square() / (2 * SIGMA**2))
    profile = profile / profile.sum()
    return (profile[:, None] * profile[None]).reshape(1, 1, WINDOW, WINDOW)


def ssim(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the structural similarity [B] of films [B, 1, H, W] in [0, 1].

    Gaussian window of 11, K1 0.01, K2 0.03, no padding (Wang et al., IEEE TIP 2004).
    """
    window = gaussian_window().to(found)
    mean_a, mean_b = F.conv2d(found, window), F.conv2d(wanted, window)
    variance_a = F.conv2d(found.square(), window) - mean_a.square()
    variance_b = F.conv2d(wanted.square(), window) - mean_b.square()
    covariance = F.conv2d(found * wanted, window) - mean_a * mean_b
    means = (2 * mean_a * mean_b + STABLE_MEAN) / (mean_a**2 + mean_b**2 + STABLE_MEAN)
    spread = (2 * covariance + STABLE_VARIANCE) / (variance_a + variance_b + STABLE_VARIANCE)
    return (means * spread).mean((1, 2, 3))


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Fréchet distance of two sets of features [N, F] and [M, F] seen as Gaussians.

    ``|mean gap|^2 + tr(A + B - 2 (A B)^1/2)`` (arXiv 1706.08500, eq. 6). The trace of the root is
    the sum of singular values of the product of the two centred, scaled sets, which needs no
    matrix root and is exact for fewer films than features.
    """
    gap = a.mean(0) - b.mean(0)
    centred_a = (a - a.mean(0)) / np.sqrt(len(a))
    centred_b = (b - b.mean(0)) / np.sqrt(len(b))
    root = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()
    traces = np.square(centred_a).sum() + np.square(centred_b).sum()
    return float(gap @ gap + traces - 2 * root)
