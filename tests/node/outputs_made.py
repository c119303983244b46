"""Outputs as the node makes them, for the tests of objects."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from engine.assessment import Assessment, Bands, assess
from engine.findings import FINDINGS
from engine.results import DraftReport, Drawing, Inspection, Provenance
from node.config_outputs import (
    FindingsSettings,
    HeatmapSettings,
    PdfSettings,
    ReportSettings,
    SyntheticSettings,
)
from node.drafted import Film
from node.heatmap import build_heatmap
from node.outputs import OutputIdentity
from node.pdf import build_pdf
from node.records import Review
from node.sc import build_synthetic_sc
from node.sr_document import Basis
from node.sr_findings import build_findings_sr
from node.sr_narrative import Words, build_draft_sr, words_of
from node.sr_review import add_review
from tests.films import phantom

PROVENANCE = Provenance("demo", "0.1.0", "ab" * 32, "1", "onnx_cpu", None, 812.5)
SENTENCES = ("Heart size is normal.", "No pneumothorax or pleural effusion.")
IMPRESSION = ("No acute disease.",)


def identity(**changes: Any) -> OutputIdentity:
    known = {
        "study_instance_uid": "1.2.826.0.1.3680043.8.498.1",
        "generation": 1,
        "bundle_digest": "ab" * 32,
        "device_uid": "2.25.77",
        "algorithm_name": "LLM-CXR demo",
        "algorithm_version": "0.1.0",
        "created_at": datetime(2026, 11, 22, 8, 30, 15, 250_000, tzinfo=UTC),
        "institution": "General Hospital",
        "station_name": "CXR1",
    }
    return OutputIdentity(**{**known, **changes})


def draft(
    findings: tuple[str, ...] = SENTENCES,
    impression: tuple[str, ...] = IMPRESSION,
    milliseconds: float = 1.0,
) -> DraftReport:
    made = replace(PROVENANCE, milliseconds=milliseconds)
    return DraftReport(findings, impression, " ".join(findings + impression), made)


def drawing(seed: int = 7) -> Drawing:
    image = np.random.default_rng(seed).uniform(-1, 1, (1, 256, 256)).astype(np.float32)
    made = replace(PROVENANCE, seed=seed)
    return Drawing("No acute disease.", image, tuple(range(256)), made)


def draft_sr(source: Dataset | None = None, **changes: Any) -> Dataset:
    source = phantom() if source is None else source
    own = identity(study_instance_uid=str(source.StudyInstanceUID))
    made = changes.get("draft", draft())
    basis = Basis(
        source, changes.get("images", [source]), made.provenance, changes.get("other", ())
    )
    words = words_of(
        basis, made, remarks=changes.get("remarks", ()), prior_date=changes.get("prior_date", "")
    )
    return build_draft_sr(
        basis, words, changes.get("identity", own), changes.get("settings", ReportSettings())
    )


def told(source: Dataset, **changes: Any) -> tuple[Basis, Words, OutputIdentity]:
    """Return what every form of a draft is built from."""
    made = changes.get("draft", draft())
    basis = Basis(source, [source], made.provenance)
    words = words_of(basis, made, remarks=changes.get("remarks", ()))
    words = replace(words, addendum=changes.get("addendum", ()))
    own = identity(study_instance_uid=str(source.StudyInstanceUID))
    return basis, words, changes.get("identity", own)


def pdf(source: Dataset | None = None, **changes: Any) -> Dataset:
    source = phantom("pdf") if source is None else source
    settings = changes.get("settings", PdfSettings())
    return build_pdf(*told(source, **changes), settings, "18748-4")


def assessments() -> list[Assessment]:
    """Return one assessment of every kind that there is, all fourteen findings."""
    text = "Heart size is normal. No pneumothorax. Small left basilar pleural effusion."
    chances = dict.fromkeys(FINDINGS, 0.02) | {
        "Cardiomegaly": 0.91,
        "Pleural Effusion": 0.03,
        "Edema": 0.3,
    }
    return list(assess(chances, set(FINDINGS) - {"Pleural Other"}, text, Bands()))


def findings_sr(source: Dataset | None = None, **changes: Any) -> Dataset:
    source = phantom() if source is None else source
    own = identity(study_instance_uid=str(source.StudyInstanceUID))
    return build_findings_sr(
        Basis(source, [source], PROVENANCE),
        changes.get("assessments", assessments()),
        changes.get("text", "Pacemaker in place."),
        changes.get("identity", own),
        changes.get("settings", FindingsSettings()),
    )


def heatmap(source: Dataset | None = None) -> Dataset:
    source = phantom() if source is None else source
    film = Film(source, drawing().image, Inspection(True, "frontal", ()))
    evidence = {"Cardiomegaly": np.eye(8, dtype=np.float32)}
    own = identity(study_instance_uid=str(source.StudyInstanceUID))
    ds = build_heatmap(film, assessments(), evidence, PROVENANCE, own, HeatmapSettings())
    assert ds is not None
    return ds


def reviewed_sr(source: Dataset | None = None, **changes: Any) -> Dataset:
    """Return a draft that a person edited and asked about."""
    ds = draft_sr(source, **changes)
    add_review(ds, Review(True, (("Is it large?", "The heart is enlarged."), ("Why?", ""))))
    return ds


def synthetic_sc(source: Dataset | None = None, **changes: Any) -> Dataset:
    arguments = {
        "drawing": drawing(),
        "identity": identity(),
        "settings": SyntheticSettings(enabled=True),
    }
    return build_synthetic_sc(source, **{**arguments, **changes})


def encoded(ds: Dataset) -> bytes:
    """Return the bytes of the file that an object becomes."""
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def read_back(ds: Dataset) -> Dataset:
    return dcmread(io.BytesIO(encoded(ds)))
