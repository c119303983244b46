"""Losses as pure functions, each with its place in the literature."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ADAPTIVE_WEIGHT = 1e4


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the patch discriminator from its logits (arXiv 1705.02894)."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def adversarial(fake: Tensor) -> Tensor:
    """Return the generator's side of the hinge game: the mean logit, negated."""
    return -fake.mean()


def adaptive_weight(reconstruction: Tensor, adversary: Tensor, last_layer: Tensor) -> Tensor:
    """Balance the two losses by their gradients at the decoder's last layer.

    ``|grad reconstruction| / (|grad adversary| + 1e-4)``, clamped to [0, 1e4] (arXiv 2012.09841,
    eq. 7).
    """
    (steady,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (pushing,) = torch.autograd.grad(adversary, last_layer, retain_graph=True)
    ratio = steady.float().norm() / (pushing.float().norm() + 1e-4)
    return ratio.clamp(0.0, MAX_ADAPTIVE_WEIGHT).detach()


def unit_channels(features: Tensor) -> Tensor:
    """Scale every position of a feature map to unit length over its channels."""
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-6)


def feature_distance(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Return the LPIPS distance (arXiv 1801.03924, eq. 1), channels weighted alike."""
    gaps = [
        (unit_channels(a.float()) - unit_channels(b.float())).square().sum(1).mean()
        for a, b in zip(found, wanted, strict=True)
    ]
    return torch.stack(gaps).mean()


def clinical_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over films of the squared L2 distance of pooled features [B, F].

    The clinical-information-preserving loss (arXiv 2305.11490, section 3.2).
    """
    return (found.float() - wanted.float()).square().sum(1).mean()


def stated(labels: Tensor) -> Tensor:
    """Return where a label says present or absent; NaN (unmentioned) and -1 (uncertain) do not."""
    return (labels == 0) | (labels == 1)


def masked_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy over the stated labels; the others carry no loss."""
    known = stated(labels)
    losses = F.binary_cross_entropy_with_logits(
        logits, labels.clamp(0, 1).nan_to_num(), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)
