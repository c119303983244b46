"""A prompt with several answers in one row: the film is read once, however many answers follow.

Two answers to a film share some 330 tokens of prompt, three quarters of what there is to compute.
Each answer sees the prompt and itself, at the positions that it would have alone, so its
log-probability is what a row of its own would give. Only answers are scored: prompts and their
image codes carry no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH_STEP = 64
PADDING, PROMPT = -1, 0


class Role(IntEnum):
    """What an answer is to its prompt."""

    CHOSEN = 0
    REJECTED = 1
    OTHER = 2


@dataclass(frozen=True)
class Branch:
    """One answer: its token ids and its role."""

    ids: list[int]
    role: Role


@dataclass(frozen=True)
class Tree:
    """A prompt and the answers to it."""

    prompt: list[int]
    branches: list[Branch]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.prompt) + sum(len(branch.ids) for branch in self.branches)


@dataclass(frozen=True)
class Forest:
    """Trees as tensors.

    ``input_ids`` and ``positions`` [B, T]; ``owners`` [B, T]: 0 for the prompt, k for answer k, -1
    for padding. The scored tokens, N of the whole batch: ``sources`` [N] are the places, in the
    flattened batch, whose output predicts them, ``targets`` [N] their ids, ``answers`` [N] the
    number of the answer that they belong to. ``roles`` and ``lengths`` [K] describe the answers.
    """

    input_ids: Tensor
    positions: Tensor
    owners: Tensor
    sources: Tensor
    targets: Tensor
    answers: Tensor
    roles: Tensor
    lengths: Tensor

    def to(self, where: torch.device) -> Forest:
        """Return the same on a device."""
        return Forest(*(getattr(self, each.name).to(where) for each in fields(self)))


def plant(trees: Sequence[Tree]) -> Forest:
    """Lay trees out, a row each, padded on the right to a multiple of 64."""
    width = -(-max(map(len, trees)) // WIDTH_STEP) * WIDTH_STEP
    shape = (len(trees), width)
    ids, positions = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    owners = torch.full(shape, PADDING, dtype=torch.int64)
    sources: list[int] = []
    targets: list[int] = []
    answers: list[int] = []
    branches = [branch for tree in trees for branch in tree.branches]
    number = 0
    for row, tree in enumerate(trees):
        start = len(tree.prompt)
        ids[row, :start] = torch.tensor(tree.prompt)
        positions[row, :start] = torch.arange(start)
        owners[row, :start] = PROMPT
        for owner, branch in enumerate(tree.branches, start=1):
            stop = start + len(branch.ids)
            ids[row, start:stop] = torch.tensor(branch.ids)
            positions[row, start:stop] = len(tree.prompt) + torch.arange(len(branch.ids))
            owners[row, start:stop] = owner
            first = row * width
            sources += [first + len(tree.prompt) - 1, *range(first + start, first + stop - 1)]
            targets += branch.ids
            answers += [number] * len(branch.ids)
            start, number = stop, number + 1
    return Forest(
        ids,
        positions,
        owners,
        torch.tensor(sources),
        torch.tensor(targets),
        torch.tensor(answers),
        torch.tensor([branch.role for branch in branches]),
        torch.tensor([len(branch.ids) for branch in branches], dtype=torch.float32),
    )


def visible(owners: Tensor) -> Tensor:
    """Return what each token sees, bool [B, 1, T, T]: the prompt and its own answer, up to it."""
    asks, told = owners[:, :, None], owners[:, None, :]
    past = torch.ones(owners.shape[1], owners.shape[1], dtype=torch.bool, device=owners.device)
    return ((told == PROMPT) | (told == asks)).logical_and(past.tril())[:, None]


class Scored(nn.Module):
    """A causal model that tells how likely it holds the answers of a forest."""

    def __init__(self, causal: Any) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, forest: Forest) -> Tensor:
        """Return the summed log-probability [nats] of every answer [K]."""
        hidden = self.causal.base_model(
            input_ids=forest.input_ids,
            position_ids=forest.positions,
            attention_mask=visible(forest.owners),
            use_cache=False,
        ).last_hidden_state
        logits = self.causal.get_output_embeddings()(hidden.flatten(0, 1)[forest.sources])
        scores = -F.cross_entropy(logits.float(), forest.targets, reduction="none")
        return torch.zeros_like(forest.lengths).index_add(0, forest.answers, scores)
