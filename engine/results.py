"""What the engine answers with: plain frozen records, safe to log and to store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""A rendered film: float32 [1, 256, 256] in [-1, 1], air dark, bone bright."""

Evidence = NDArray[np.float32]
"""Where on a film a finding's logit comes from: float32 [H, W], row 0 at the top."""

Codes = NDArray[np.int64]
"""VQ-GAN codes of one image: int64 [256], row-major over 16 x 16, each 0 … 1023."""


@dataclass(frozen=True)
class Provenance:
    """Where an answer came from, complete enough to make it again."""

    bundle_name: str
    bundle_version: str
    bundle_digest: str
    prompt_version: str
    backend: str
    seed: int | None
    milliseconds: float
    num_tokens: int = 0
    """Tokens that the model wrote; 0 in records of earlier versions."""
    inputs: tuple[str, ...] = ("frontal",)
    """Parts of the study in the prompt (`engine.study_input.Part`); earlier versions knew one."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a record, of an earlier version as well."""
        return cls(**{**values, "inputs": tuple(values.get("inputs", cls.inputs))})

    @property
    def bundle(self) -> str:
        """Return the bundle as people are told it."""
        return bundle_of(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return {**asdict(self), "inputs": list(self.inputs)}


def bundle_of(provenance: Mapping[str, Any]) -> str:
    """Return the bundle of a record as people are told it: name, version, start of its digest."""
    name, version = (provenance.get(f"bundle_{what}", "?") for what in ("name", "version"))
    return f"{name} {version} ({str(provenance.get('bundle_digest', '?'))[:12]})"


@dataclass(frozen=True)
class Inspection:
    """The guard's verdict on one film.

    ``reasons`` is empty exactly when the film may be drafted from; each reason is one
    sentence without any patient data.
    """

    accepted: bool
    view: str
    reasons: tuple[str, ...]
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DraftReport:
    """A drafted report, split into sections, one sentence an entry."""

    findings: tuple[str, ...]
    impression: tuple[str, ...]
    text: str
    provenance: Provenance


@dataclass(frozen=True)
class Answer:
    """The answer to one question on a film."""

    question: str
    text: str
    provenance: Provenance


@dataclass(frozen=True)
class Drawing:
    """A synthetic film. It shows no patient and must be marked wherever it goes."""

    prompt: str
    image: Image
    codes: tuple[int, ...]
    provenance: Provenance
