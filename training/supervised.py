"""A causal language model with its loss inside, so that wrappers see one forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.vocabulary import Vocabulary
from training.instructions import IGNORED
from training.mixture import Packed


class Supervised(nn.Module):
    """Sum of weighted cross-entropies over the response tokens of packed rows."""

    def __init__(self, causal: Any, vocabulary: Vocabulary, image_weight: float) -> None:
        super().__init__()
        self.causal = causal
        self.num_text, self.image_weight = vocabulary.num_text, image_weight

    @property
    def plain(self) -> Any:
        """The model without adapters around it."""
        unwrap = getattr(self.causal, "get_base_model", None)
        return unwrap() if unwrap is not None else self.causal

    def forward(self, input_ids: Tensor, labels: Tensor, positions: Tensor | None) -> Tensor:
        """Return the loss sum [nats] of ids and labels [B, T].

        Logits are computed only where a label stands. Packed rows attend only to themselves:
        positions that restart at zero give the model a block-diagonal mask. A row alone on its line
        needs none but the causal one, padding being on the right, and that path is several times
        faster.
        """
        decoder = self.plain.base_model
        hidden = decoder(
            input_ids=input_ids, position_ids=positions, use_cache=False
        ).last_hidden_state
        wanted = labels[:, 1:]
        taken = wanted != IGNORED
        targets = wanted[taken]
        logits = self.plain.get_output_embeddings()(hidden[:, :-1][taken])
        losses = F.cross_entropy(logits.float(), targets, reduction="none")
        return (losses * self.weights(targets)).sum()

    def weights(self, targets: Tensor) -> Tensor:
        """Return the weight of each target: image codes may count less than words."""
        return torch.where(targets >= self.num_text, self.image_weight, 1.0)

    def weight_of(self, labels: Tensor) -> Tensor:
        """Return the summed weight of the labels [B, T] that carry loss, a scalar."""
        wanted = labels[:, 1:]
        return self.weights(wanted[wanted != IGNORED]).sum()


def tensors(batch: Packed, where: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return ids, labels and, for packed lines, positions of a batch on a device."""
    ids, labels, positions = (
        torch.from_numpy(part).to(where)
        for part in (batch.input_ids, batch.labels, batch.position_ids)
    )
    return ids, labels, positions if batch.is_packed else None
