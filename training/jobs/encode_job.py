"""Films to codes in chunks: rendered from their files and encoded, by as many actors as there are.

The chunks render the films themselves, so a cluster needs no array of pixels: only the folder of
films and the run directory, at the same paths on every node. A film goes through the very transform
and, in groups of the same size and order, through the very network that `encode_images.encode`
uses, so the codes are the same.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.nets.checkpoints import complete
from engine.nets.load import TOKENIZER, load_tokenizer
from engine.pixels import Transform, render_file, to_uint8
from engine.vocabulary import CODES_PER_IMAGE
from training import device, encode_images
from training.catalog import Film
from training.jobs.cluster import Chunk, Cluster, Stage, objects, run_job
from training.jobs.parts import Parts

Codes = NDArray[np.int16]

FILMS_PER_CHUNK = 16 * encode_images.BATCH
SCHEMA = pa.schema([("row", pa.int64()), ("codes", pa.list_(pa.int16(), CODES_PER_IMAGE))])


class EncodeFilms:
    """Stage: chunks of film files in, their codes as Parquet out."""

    def __init__(self, run_dir: str, transform: Transform, num_threads: int = 2) -> None:
        self.model = load_tokenizer(Path(run_dir)).to(device.best())
        self.transform, self.num_threads = transform, num_threads

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Encode chunks: columns ``chunk``, ``rows`` and ``paths`` give ``chunk`` and ``part``."""
        pairs = zip(batch["rows"], batch["paths"], strict=True)
        parts = [self.encode(list(rows), list(paths)) for rows, paths in pairs]
        return {"chunk": batch["chunk"], "part": objects(parts)}

    def encode(self, rows: list[int], paths: list[str]) -> bytes:
        """Return a Parquet file with the codes of films, int16 [256] each."""
        with ThreadPoolExecutor(self.num_threads) as readers:
            films = np.stack(list(readers.map(self.render, paths)))
        codes = encode_images.codes_of(self.model, films)
        flat = pa.array(codes.reshape(-1), pa.int16())
        column = pa.FixedSizeListArray.from_arrays(flat, CODES_PER_IMAGE)
        table = pa.table([pa.array(rows, pa.int64()), column], schema=SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        part: bytes = sink.getvalue().to_pybytes()
        return part

    def render(self, path: str) -> NDArray[np.uint8]:
        """Return one film as uint8 [256, 256]."""
        return to_uint8(render_file(Path(path), self.transform))


@dataclass(frozen=True)
class EncodeJob:
    """The codes of some rows of a catalog by the run's newest tokenizer."""

    run_dir: Path
    films: list[Film]
    rows: NDArray[np.int64]
    transform: Transform
    films_per_chunk: int = FILMS_PER_CHUNK

    def digest(self) -> str:
        """Name the job by what its codes depend on: films, transform and tokenizer weights."""
        weights = complete(self.run_dir / TOKENIZER)[-1:]
        named = [
            [[int(row), self.films[row].path] for row in self.rows],
            repr(self.transform),
            self.films_per_chunk,
            [hash_of(checkpoint) for checkpoint in weights],
        ]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()

    def chunks(self) -> list[Chunk]:
        """Return the rows in chunks of whole encoder batches, the last one apart."""
        starts = range(0, len(self.rows), self.films_per_chunk)
        return [
            Chunk(number, self.columns(self.rows[start : start + self.films_per_chunk].tolist()))
            for number, start in enumerate(starts)
        ]

    def columns(self, rows: list[int]) -> dict[str, Any]:
        """Return what the stage reads of some rows."""
        return {"rows": rows, "paths": [self.films[row].path for row in rows]}

    def run(self, path: Path, cluster: Cluster) -> Codes:
        """Encode on a cluster what is not encoded yet; write ``codes.npy``."""
        chunks = self.chunks()
        parts = Parts(self.run_dir / "parts", "encode", self.digest(), len(chunks), "parquet")
        stage = Stage(EncodeFilms, (str(self.run_dir.resolve()), self.transform))
        run_job(parts, chunks, stage, cluster)
        return gather(parts, len(self.films), path)


def hash_of(checkpoint: Path) -> str:
    """Return a sha256 over the files of a checkpoint."""
    found = hashlib.sha256()
    for file in sorted(checkpoint.rglob("*")):
        if file.is_file():
            found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


def gather(parts: Parts, num_films: int, path: Path) -> Codes:
    """Lay the chunks of a sealed job out as codes int16 [N, 256] in catalog order; -1: no codes."""
    codes = np.full((num_films, CODES_PER_IMAGE), -1, dtype=np.int16)
    for part in parts.read():
        table = pq.read_table(pa.BufferReader(part))
        flat = table["codes"].combine_chunks().flatten().to_numpy()
        codes[table["row"].to_numpy()] = flat.reshape(-1, CODES_PER_IMAGE)
    encode_images.write(codes, path)
    return codes
