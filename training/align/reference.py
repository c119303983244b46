"""What the frozen start says of every answer, computed once and kept beside the preferences.

The reference is the very checkpoint that tuning starts from, asked through the very code that
tuning asks: no second model is loaded, so none can be loaded wrong (a model that was resized in
memory has a published trainer reload the one that was not).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training import device
from training.align.branches import Scored, Tree, plant
from training.config import Precision
from training.progress import bar

Floats = NDArray[np.float32]
TREES_A_CALL = 8
KEY_DIGITS = 16


def digest_of(causal: Any, asked: object, precision: Precision) -> str:
    """Return what a model's answers depend on: its weights, what it is asked, and the precision."""
    found = hashlib.sha256(precision.encode())
    for name, weights in sorted(causal.state_dict().items()):
        found.update(name.encode())
        found.update(weights.detach().contiguous().cpu().numpy().tobytes())
    found.update(repr(asked).encode())
    return found.hexdigest()[:KEY_DIGITS]


@torch.no_grad()
def score(
    net: Scored, trees: Sequence[Tree], where: torch.device, precision: Precision
) -> list[Floats]:
    """Return the log-probabilities of each tree's answers; trees of like length together."""
    order = sorted(range(len(trees)), key=lambda place: len(trees[place]))
    found: list[Floats] = [np.zeros(0, np.float32)] * len(trees)
    with bar("reference", len(trees)) as progress:
        for start in range(0, len(order), TREES_A_CALL):
            places = order[start : start + TREES_A_CALL]
            forest = plant([trees[place] for place in places]).to(where)
            with device.autocast(where, precision):
                scores = net(forest).float().cpu().numpy()
            bounds = np.cumsum([len(trees[place].branches) for place in places])[:-1]
            for place, own in zip(places, np.split(scores, bounds), strict=True):
                found[place] = own
            progress.advance(progress.task_ids[0], len(places))
    return found


def remembered(
    net: Scored, trees: Sequence[Tree], where: torch.device, precision: Precision, folder: Path
) -> list[Floats]:
    """Return `score`'s answer, from ``folder`` where it has been asked before."""
    asked = [(tree.prompt, [branch.ids for branch in tree.branches]) for tree in trees]
    path = folder / f"reference-{digest_of(net.causal, asked, precision)}.npz"
    sizes = [len(tree.branches) for tree in trees]
    if not path.is_file():
        found = score(net, trees, where, precision)
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, scores=np.concatenate(found))
        partial.replace(path)
    with np.load(path) as stored:
        return list(np.split(stored["scores"], np.cumsum(sizes)[:-1]))
