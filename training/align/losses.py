"""The losses of direct alignment, each a function of log-probabilities alone.

Symbols as in arXiv 2410.07025: r = log p(y|x) - log p_ref(y|x), summed over the tokens of an
answer; c is the chosen answer, j the rejected one. Every function returns one loss an item, a pair
or, for KTO, a single answer; their mean is what is descended.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.config import AlignSection


@dataclass(frozen=True)
class Answers:
    """Answers of one kind: summed log-probabilities [N, nats] and lengths [N, tokens].

    ``reference`` is the frozen start's; a method that needs none gets zeros.
    """

    policy: Tensor
    reference: Tensor
    lengths: Tensor

    @property
    def ratio(self) -> Tensor:
        """R [N]: how much likelier an answer has become."""
        return self.policy - self.reference

    @property
    def mean(self) -> Tensor:
        """The mean log-probability of a token [N]."""
        return self.policy / self.lengths


@dataclass(frozen=True)
class Compared:
    """What a loss is computed from; ``others`` are answers to other films, which KTO needs."""

    chosen: Answers
    rejected: Answers
    others: Answers


def dpo(found: Compared, settings: AlignSection) -> Tensor:
    """Direct preference optimisation (arXiv 2305.18290, eq. 7)."""
    return -F.logsigmoid(settings.beta * (found.chosen.ratio - found.rejected.ratio))


def lc_dpo(found: Compared, settings: AlignSection) -> Tensor:
    """DPO with a price on length (arXiv 2403.19159, eq. 9).

    A chosen answer that is longer has part of its margin already and is pushed the less.
    """
    margin = settings.beta * (found.chosen.ratio - found.rejected.ratio)
    longer = found.chosen.lengths - found.rejected.lengths
    return -F.logsigmoid(margin + settings.length_penalty * longer)


def ipo(found: Compared, settings: AlignSection) -> Tensor:
    """Identity preference optimisation (arXiv 2310.12036, eq. 17): a margin of 1/(2 beta)."""
    margin = found.chosen.ratio - found.rejected.ratio
    return (margin - 1 / (2 * settings.beta)) ** 2


def kto(found: Compared, settings: AlignSection) -> Tensor:
    """Kahneman-Tversky optimisation (arXiv 2402.01306, eq. 8), of wanted and unwanted answers.

    The reference point is how far the policy has moved on answers to other films, at least 0.
    """
    moved = found.others.ratio.detach().mean().clamp(min=0)
    gained = torch.sigmoid(settings.beta * (found.chosen.ratio - moved))
    lost = torch.sigmoid(settings.beta * (moved - found.rejected.ratio))
    return torch.cat(
        [settings.desirable_weight * (1 - gained), settings.undesirable_weight * (1 - lost)]
    )


def orpo(found: Compared, settings: AlignSection) -> Tensor:
    """Odds-ratio preference optimisation (arXiv 2403.07691, eq. 6): no reference model."""
    odds = log_odds(found.chosen.mean) - log_odds(found.rejected.mean)
    return -found.chosen.mean - settings.beta * F.logsigmoid(odds)


def simpo(found: Compared, settings: AlignSection) -> Tensor:
    """SimPO, by mean log-probabilities and without a reference (arXiv 2405.14734, eq. 6)."""
    margin = settings.beta * (found.chosen.mean - found.rejected.mean)
    return -F.logsigmoid(margin - settings.target_margin)


def log_odds(log_probability: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of log p."""
    return log_probability - torch.log1p(-log_probability.exp())
