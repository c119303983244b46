"""Preferences as trees of token ids: the words of a table in the tokenizer of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.prompts import PromptBuilder
from training.align.branches import Branch, Role, Tree
from training.align.methods import Method
from training.errors import PreferenceError
from training.preferences import table
from training.preferences.pairs import Pair, Single


@dataclass(frozen=True)
class TreeBuilder:
    """Knows the films' codes and the model's prompts.

    ``codes`` are int16 [N, 256], ``rows`` the place of each film among them.
    """

    prompts: PromptBuilder
    codes: NDArray[np.int16]
    rows: Mapping[str, int]
    max_length: int

    def prompt(self, of: Pair | Single) -> list[int]:
        """Return the prompt of a preference."""
        if of.image_id not in self.rows:
            raise PreferenceError(
                f"preferences name {of.image_id}, which is no film of this run",
                hint="align on the run that the preferences were built on",
            )
        codes = self.codes[self.rows[of.image_id]].tolist()
        return self.prompts.about_image(of.instruction, codes, of.context)

    def answer(self, text: str, role: Role, *, ended: bool = True) -> Branch:
        """Return a text as an answer, with its end mark where the text has come to its end."""
        ids = self.prompts.text_ids(text)
        return Branch([*ids, self.prompts.vocabulary.end_id] if ended else ids, role)

    def of_pair(self, pair: Pair) -> Tree:
        """Return the tree of a pair."""
        branches = [
            self.answer(pair.chosen, Role.CHOSEN),
            self.answer(pair.rejected, Role.REJECTED, ended=pair.rejected_ended),
        ]
        return self.checked(Tree(self.prompt(pair), branches))

    def of_singles(self, singles: Sequence[Single]) -> Tree:
        """Return the tree of all single answers to one prompt."""
        branches = [
            self.answer(one.text, Role.CHOSEN if one.desirable else Role.REJECTED, ended=one.ended)
            for one in singles
        ]
        return self.checked(Tree(self.prompt(singles[0]), branches))

    def checked(self, tree: Tree) -> Tree:
        """Refuse a tree that is too long: nothing is cut silently."""
        if len(tree) > self.max_length:
            raise PreferenceError(
                f"a prompt with its answers has {len(tree)} tokens, align.max_length is "
                f"{self.max_length}",
                hint="raise align.max_length",
            )
        return tree


def by_prompt(singles: Sequence[Single]) -> list[list[Single]]:
    """Return single answers grouped by prompt, in order."""
    found: dict[tuple[str, str, str], list[Single]] = {}
    for one in singles:
        found.setdefault((one.image_id, one.instruction, one.context), []).append(one)
    return list(found.values())


def with_others(trees: Sequence[Tree]) -> list[Tree]:
    """Add to every tree the first answer of the next: an answer to another film."""
    nexts = [*trees[1:], *trees[:1]]
    return [
        replace(tree, branches=[*tree.branches, replace(other.branches[0], role=Role.OTHER)])
        for tree, other in zip(trees, nexts, strict=True)
    ]


def read_trees(builder: TreeBuilder, method: Method, folder: Path) -> list[Tree]:
    """Return the trees that a method learns from.

    Raises
    ------
    PreferenceError
        There are no preferences, or fewer than two prompts.
    """
    if method.is_paired:
        trees = [builder.of_pair(pair) for pair in table.read_pairs(folder)]
    else:
        groups = by_prompt(table.read_singles(folder))
        trees = [builder.of_singles(group) for group in groups]
    if len(trees) < 2:
        raise PreferenceError(f"{folder} holds {len(trees)} prompts with preferences")
    return with_others(trees) if method.wants_others else trees
