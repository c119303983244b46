"""ReXrank's exchange format: studies in, the same studies with ``model_prediction`` out.

The input is one JSON object of studies, each with ``image_path`` (a list), and where known
``key_image_path``, ``frontal_lateral`` and ``context``; every field is handed through. A bundle
that reads them is given the first lateral film and the indication that the context holds. A study
that cannot be read keeps its place with an empty prediction, and its reason stands in
``<output>.failures.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Unpack

from rich.progress import track

from engine.errors import CxrError
from engine.pipeline import Engine
from engine.pixels import Transform, render_file
from engine.results import DraftReport, Image
from engine.study_input import Beside
from training.errors import TrainingError
from training.sections import clean_indication

Study = dict[str, Any]
_INDICATION = re.compile(
    r"\bindication:\s*(?P<text>.*?)\s*(?=\b(?:age|gender|sex|comparison|technique|history):|$)",
    re.IGNORECASE | re.DOTALL,
)
INCOMPLETE = 1
"""Exit code: some study has no prediction."""


class Model(Protocol):
    """What inference asks of a model; `engine.pipeline.Engine` is one."""

    @property
    def transform(self) -> Transform:
        """How a film becomes an image."""

    @property
    def inputs(self) -> Sequence[str]:
        """The parts of a study that the model was trained with."""

    def report(self, image: Image, **beside: Unpack[Beside]) -> DraftReport:
        """Draft a report from a film and what is known beside it."""


class StudyFault(CxrError):
    """The study cannot be read."""


def findings_text(draft: DraftReport) -> str:
    """Return the text of the findings track."""
    return " ".join(draft.findings)


def report_text(draft: DraftReport) -> str:
    """Return the text of the whole-report track, both headings written out."""
    parts = (("Findings", draft.findings), ("Impression", draft.impression))
    return " ".join(f"{name}: {' '.join(lines)}" for name, lines in parts if lines)


TRACKS: dict[str, Callable[[DraftReport], str]] = {
    "findings": findings_text,
    "report": report_text,
}


def read_studies(path: Path) -> dict[str, Study]:
    """Read the studies of an input file.

    Raises
    ------
    TrainingError
        The file is missing or is not a JSON object of objects.
    """
    hint = "expected one JSON object: study identifier to an object with image_path"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise TrainingError(
            f"cannot open {path}: {fault.strerror}", hint="check the path"
        ) from fault
    except ValueError as fault:
        raise TrainingError(f"{path} is not JSON in UTF-8: {fault}", hint=hint) from fault
    if not isinstance(stored, dict) or not all(isinstance(v, dict) for v in stored.values()):
        raise TrainingError(f"{path} does not hold studies", hint=hint)
    return stored


def key_image(study: Mapping[str, Any]) -> str:
    """Return the one image to report on: the key image, else the first frontal, else the first.

    Raises
    ------
    StudyFault
        The study names no image.
    """
    key = _texts(study.get("key_image_path"))
    paths = _texts(study.get("image_path"))
    chosen = next(iter([*key, *of_view(study, "front"), *paths]), None)
    if chosen is None:
        raise StudyFault("the study names no image")
    return chosen


def of_view(study: Mapping[str, Any], view: str) -> list[str]:
    """Return the images whose view begins so: front or lat."""
    paths, views = _texts(study.get("image_path")), _texts(study.get("frontal_lateral"))
    pairs = zip(paths, views, strict=False)
    return [path for path, stated in pairs if stated.lower().startswith(view)]


def indication_of(study: Mapping[str, Any]) -> str:
    """Return the indication that a context holds: ``Age:..Gender:..Indication:..Comparison:..``."""
    found = _INDICATION.search(" ".join(_texts(study.get("context"))))
    return clean_indication(found["text"]) if found else ""


def beside(study: Mapping[str, Any], root: Path, model: Model) -> Beside:
    """Return what a model that reads it is given beside the key image."""
    given = Beside()
    if "indication" in model.inputs:
        given["indication"] = indication_of(study)
    key = key_image(study)
    laterals = [path for path in of_view(study, "lat") if path != key]
    if "lateral" in model.inputs and laterals:
        given["lateral"] = render_file(locate(laterals[0], root), model.transform)
    return given


def _texts(value: object) -> list[str]:
    """Return a field that may be a text, a list of texts or absent as a list of texts."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one]


def locate(image: str, root: Path) -> Path:
    """Return the path of an image under the root.

    Raises
    ------
    StudyFault
        The path leads out of the root.
    """
    path = (root / image).resolve()
    if not path.is_relative_to(root.resolve()):
        raise StudyFault(f"{image} leads out of the image root")
    return path


def predict(
    studies: Mapping[str, Study], root: Path, model: Model, track_name: str
) -> tuple[dict[str, Study], dict[str, str]]:
    """Return the studies with ``model_prediction``, and the reason of each that has none."""
    predicted: dict[str, Study] = {}
    failures: dict[str, str] = {}
    for name, study in track(studies.items(), description="reports", total=len(studies)):
        try:
            with warnings.catch_warnings(action="ignore"):
                image = render_file(locate(key_image(study), root), model.transform)
                given = beside(study, root, model)
            text = TRACKS[track_name](model.report(image, **given))
        except CxrError as fault:
            text, failures[name] = "", str(fault)
        predicted[name] = {**study, "model_prediction": text}
    return predicted, failures


def write(path: Path, content: object) -> None:
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    partial.replace(path)


def failures_path(output: Path) -> Path:
    """Return where the reasons of failed studies stand."""
    return output.with_name(f"{output.name}.failures.json")


def infer(options: argparse.Namespace) -> int:
    """Run ``cxr-train inference``; return its exit code."""
    studies = read_studies(options.input_json)
    model = Engine.load(options.bundle, num_threads=options.threads)
    predicted, failures = predict(studies, options.image_root, model, options.track)
    write(options.output_json, predicted)
    sidecar = failures_path(options.output_json)
    sidecar.unlink(missing_ok=True)
    if not failures:
        return 0
    write(sidecar, failures)
    for name, reason in failures.items():
        sys.stderr.write(f"no prediction for {name}: {reason}\n")
    return INCOMPLETE


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Add the options of ``cxr-train inference``."""
    paths = (
        ("--input-json", "studies in ReXrank's format"),
        ("--output-json", "file to write: the studies with model_prediction"),
        ("--image-root", "folder that the image paths are relative to"),
    )
    for name, meaning in paths:
        verb.add_argument(name, type=Path, required=True, metavar="PATH", help=meaning)
    verb.add_argument("--bundle", type=Path, help="model bundle (default: demo)")
    verb.add_argument("--track", choices=sorted(TRACKS), default="findings")
    verb.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
