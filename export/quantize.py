"""How few bits may a language model be stored in? Each way measured, the fastest faithful taken.

Fidelity is that of `export.parity`: next-token distributions along real prompts with real reports,
against the float32 model. A way that fails the gate is not chosen however fast it is.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Backend, Feed
from engine.backends.select import open_backend
from engine.bundle import Bundle, open_bundle
from engine.nets.load import LanguageModel, load_language_model
from engine.prompts import REPORT_INSTRUCTIONS
from engine.vqgan import codes_of_films
from export.bundle import FILES, entries, write_manifest
from export.errors import ExportError
from export.graph import SCHEMES, Precision
from export.language_model import language_model, save
from export.parity import MAX_KL, MIN_TOP1, bundle_logits, divergence, reference_logits

_STEPS, _REPEATS = 32, 5


@dataclass(frozen=True)
class Measured:
    """One way of storing a language model.

    ``kl`` [nats] and ``top1`` against float32; ``prefill_ms`` of a prompt, ``token_ms`` of a token
    after it, on the named backend.
    """

    precision: Precision
    backend: str
    num_bytes: int
    kl: float
    top1: float
    prefill_ms: float
    token_ms: float

    @property
    def is_faithful(self) -> bool:
        """Tell whether it may be shipped."""
        return self.kl <= MAX_KL and self.top1 >= MIN_TOP1

    @property
    def draft_ms(self) -> float:
        """How long a prompt and a hundred tokens take."""
        return self.prefill_ms + 100 * self.token_ms

    def as_json(self) -> dict[str, Any]:
        """Return the figures and the verdict."""
        return {**asdict(self), "is_faithful": self.is_faithful}


@dataclass(frozen=True)
class Judged:
    """A prompt on a film with its true report: token ids, and where the report starts."""

    ids: list[int]
    start: int
    wanted: NDArray[np.float32]


def measure(
    run_dir: Path,
    bundle_dir: Path,
    images: NDArray[np.float32],
    reports: Sequence[str],
    precisions: Iterable[Precision] = tuple(SCHEMES),
    stage: str | None = None,
) -> list[Measured]:
    """Measure ways of storing a run's language model inside a bundle, on films and their reports.

    Parameters
    ----------
    images
        Films float32 [N, 1, 256, 256] in [-1, 1].
    stage
        Whose language model it is; None: the last of the run.
    """
    model, bundle = load_language_model(run_dir, stage), open_bundle(bundle_dir)
    judged = _judged(model, open_backend(bundle), images, reports)
    found = []
    for precision in precisions:
        with tempfile.TemporaryDirectory() as folder:
            made = restored(model, bundle, precision, Path(folder) / "bundle")
            found.append(_measured(made, precision, judged))
    return found


def choose(measured: Iterable[Measured]) -> Measured:
    """Return the fastest of those that are faithful.

    Raises
    ------
    ExportError
        None is.
    """
    faithful = [one for one in measured if one.is_faithful]
    if not faithful:
        raise ExportError(f"none keeps KL <= {MAX_KL} and top-1 >= {MIN_TOP1}")
    return min(faithful, key=lambda one: one.draft_ms)


def restored(model: LanguageModel, bundle: Bundle, precision: Precision, target: Path) -> Bundle:
    """Write a bundle anew with its language model stored in another way."""
    shutil.copytree(bundle.directory, target)
    graph = language_model(model.model, bundle.cache.max_length, precision)
    save(graph, target / FILES["language_model"])
    files = bundle.manifest["files"] | entries(target)
    write_manifest(target, bundle.manifest | {"precision": precision, "files": files})
    return open_bundle(target)


def _judged(
    model: LanguageModel, backend: Backend, images: NDArray[np.float32], reports: Sequence[str]
) -> list[Judged]:
    found = []
    for codes, text in zip(codes_of_films(backend, images).tolist(), reports, strict=True):
        prompt = model.prompts.about_image(REPORT_INSTRUCTIONS[0], codes)
        ids = [*prompt, *model.prompts.text_ids(text), model.prompts.vocabulary.end_id]
        wanted = reference_logits(model.model, ids)[len(prompt) - 1 : -1]
        found.append(Judged(ids, len(prompt), wanted))
    return found


def _measured(bundle: Bundle, precision: Precision, judged: Sequence[Judged]) -> Measured:
    backend = open_backend(bundle)
    rows = range(judged[0].wanted.shape[-1])
    found = [bundle_logits(backend, one.ids, one.start, rows) for one in judged]
    pairs = list(zip(judged, found, strict=True))
    first = [one.wanted.argmax(-1) == logits.argmax(-1) for one, logits in pairs]
    prefill_ms, token_ms = _speed(backend, judged[0], bundle.vocabulary.text_range)
    return Measured(
        precision=precision,
        backend=backend.name,
        num_bytes=bundle.path("language_model").stat().st_size,
        kl=float(np.concatenate([divergence(one.wanted, logits) for one, logits in pairs]).mean()),
        top1=float(np.concatenate(first).mean()),
        prefill_ms=prefill_ms,
        token_ms=token_ms,
    )


def _speed(backend: Backend, judged: Judged, rows: range) -> tuple[float, float]:
    """Return the median milliseconds of a prompt, and of a token after it."""
    prefills, tokens = [], []
    slot = backend.open_slot()
    for _ in range(_REPEATS):
        slot.rewind(0)
        began = time.perf_counter()
        backend.forward([Feed(slot, judged.ids[: judged.start], rows)])
        read = time.perf_counter()
        for _ in range(_STEPS):
            backend.forward([Feed(slot, [judged.ids[-2]], rows)])
        prefills.append(read - began)
        tokens.append((time.perf_counter() - read) / _STEPS)
    return 1000 * statistics.median(prefills), 1000 * statistics.median(tokens)
