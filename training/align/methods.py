"""The one table of methods: the loss of each and what it is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from training.align import losses
from training.align.losses import Compared
from training.config import AlignSection, MethodName

Loss = Callable[[Compared, AlignSection], Tensor]


@dataclass(frozen=True)
class Method:
    """A loss; whether it needs pairs, a frozen reference, and answers to other films."""

    loss: Loss
    is_paired: bool = True
    has_reference: bool = True
    wants_others: bool = False


METHODS: Mapping[MethodName, Method] = {
    "dpo": Method(losses.dpo),
    "lc-dpo": Method(losses.lc_dpo),
    "ipo": Method(losses.ipo),
    "kto": Method(losses.kto, is_paired=False, wants_others=True),
    "orpo": Method(losses.orpo, has_reference=False),
    "simpo": Method(losses.simpo, has_reference=False),
}
