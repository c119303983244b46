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
def codes_of(model: Vqgan, films: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the codes int16 [N, 256] of films uint8 [N, 256, 256], in float32, batch by batch.

    Runs where the model lies. Batches start at the first film, so the same films in the same order
    meet the same kernels, whoever calls.
    """
    device = next(model.parameters()).device
    codes = np.empty((len(films), CODES_PER_IMAGE), dtype=np.int16)
    for start in range(0, len(films), BATCH):
        tensors = film_tensor(np.asarray(films[start : start + BATCH])).to(device)
        found = model.encode(tensors.expand(-1, model.config.in_channels, -1, -1))
        codes[start : start + BATCH] = found.cpu().numpy().astype(np.int16)
    return codes


def encode(
    model: Vqgan, images: NDArray[np.uint8], rows: NDArray[np.int64], path: Path
) -> NDArray[np.int16]:
    """Encode the films ``images[rows]`` (uint8) in float32 and write all codes to ``path``."""
    codes = np.full((len(images), CODES_PER_IMAGE), -1, dtype=np.int16)
    with bar("encode", len(rows)) as progress:
        for start in range(0, len(rows), BATCH):
            picked = rows[start : start + BATCH]
            codes[picked] = codes_of(model, images[picked])
            progress.advance(progress.task_ids[0], len(picked))
    write(codes, path)
    return codes


def write(codes: NDArray[np.int16], path: Path) -> None:
    """Write the codes of a catalog aside and rename them."""
    partial = path.with_suffix(".partial.npy")
    np.save(partial, codes)
    partial.replace(path)


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
