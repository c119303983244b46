"""Films to codes: int16 [N, 256] in catalog order, written once, aside and renamed.

Films that no task uses are not encoded; their codes are -1, which the vocabulary refuses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.nets.classifier import film_tensor
from engine.nets.vqgan import Vqgan
from engine.vocabulary import CODES_PER_IMAGE
from training.errors import CatalogError
from training.progress import bar

BATCH = 32


@torch.no_grad()
def encode(
    model: Vqgan, images: NDArray[np.uint8], rows: NDArray[np.int64], path: Path
) -> NDArray[np.int16]:
    """Encode the films ``images[rows]`` (uint8) in float32 and write all codes to ``path``."""
    codes = np.full((len(images), CODES_PER_IMAGE), -1, dtype=np.int16)
    channels = model.config.in_channels
    with bar("encode", len(rows)) as progress:
        for start in range(0, len(rows), BATCH):
            picked = rows[start : start + BATCH]
            films = film_tensor(np.asarray(images[picked]))
            found = model.encode(films.expand(-1, channels, -1, -1))
            codes[picked] = found.numpy().astype(np.int16)
            progress.advance(progress.task_ids[0], len(picked))
    partial = path.with_suffix(".partial.npy")
    np.save(partial, codes)
    partial.replace(path)
    return codes


def read(path: Path, num_films: int) -> NDArray[np.int16]:
    """Read the codes of a catalog.

    Raises
    ------
    CatalogError
        There are none, or they belong to another catalog.
    """
    if not path.is_file():
        raise CatalogError(f"no codes at {path}", hint="run `cxr-train encode` first")
    codes: NDArray[np.int16] = np.load(path)
    if codes.shape != (num_films, CODES_PER_IMAGE):
        raise CatalogError(f"{path} holds codes of another catalog", hint="encode again")
    return codes
