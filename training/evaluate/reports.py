"""Generated reports of val films beside two baselines, section by section.

Predictions are written first, so that metrics can be computed again without generating again. One
frontal film a study, with the parts of the study that the bundle reads, greedy. Two references:
``cleaned`` (`training.sections`: sentences that are redacted or compare with an earlier film are
left out, since one film cannot tell them) and ``written`` (the report as it stands, redaction marks
removed).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.pipeline import Engine
from training import parquet
from training.catalog import Film
from training.evaluate import report_metrics
from training.evaluate.baselines import MOST_FREQUENT, NEAREST, most_frequent_normal, neighbours
from training.evaluate.figure_table import METRICS
from training.evaluate.published_metrics import Published, published_metrics
from training.evaluate.report_metrics import Pair, ReportFigures
from training.evaluate.subgroups import subgroups
from training.progress import bar
from training.sections import REDACTION, Report
from training.side_by_side import side_by_side
from training.stages import Run

Rows = NDArray[np.int64]
MODEL, UNHINTED = "model", "model, image codes alone"
FRONTAL_FILM = "model, frontal film alone"
SECTIONS = ("findings", "report")
REFERENCES = ("cleaned", "written")
PREDICTIONS = "predictions.parquet"
MICRO_F1 = "f1 micro"
BY_FINDING = ("findings", "positives", "errors")
"""What is stored apart, in ``findings.json``: too much for a bundle's manifest."""


@dataclass(frozen=True)
class Predicted:
    """What one system wrote about one film."""

    image_id: str
    patient_id: str
    study_id: str
    system: str
    findings: str
    impression: str


def one_a_study(films: list[Film], rows: Rows) -> Rows:
    """Return one row a study, PA before others, in catalog order."""
    chosen: dict[str, int] = {}
    for row in sorted(rows.tolist(), key=lambda row: (films[row].projection != "PA", row)):
        chosen.setdefault(films[row].study_id, row)
    return np.asarray(sorted(chosen.values()), np.int64)


def drafts(
    run: Run, engine: Engine, rows: Rows, *, hinted: bool, inputs: Collection[str] = ()
) -> Iterator[Report]:
    """Yield the engine's draft for each film and these parts of its study."""

    def draft(row: int) -> Report:
        made = engine.report(run.film(row), hinted=hinted, **run.beside(row, inputs))
        return Report(" ".join(made.findings), " ".join(made.impression))

    with bar("reports", len(rows)) as progress:
        for report in side_by_side(draft, rows.tolist(), engine.backend.max_batch):
            yield report
            progress.advance(progress.task_ids[0])


def predict(run: Run, engine: Engine, rows: Rows) -> list[Predicted]:
    """Return what the model and the baselines write about each film."""
    normal = most_frequent_normal([f for f in run.catalog.films if f.split == "train"])
    systems = {
        MODEL: list(drafts(run, engine, rows, hinted=True, inputs=engine.inputs)),
        MOST_FREQUENT: [normal] * len(rows),
        NEAREST: neighbours(run, rows),
    }
    if len(engine.inputs) > 1:
        systems[FRONTAL_FILM] = list(drafts(run, engine, rows, hinted=True))
    if engine.hint_thresholds:
        systems[UNHINTED] = list(drafts(run, engine, rows, hinted=False))
    return [
        Predicted(f.image_id, f.patient_id, f.study_id, name, text.findings, text.impression)
        for name, texts in systems.items()
        for f, text in zip((run.catalog.films[row] for row in rows), texts, strict=True)
    ]


def written(film: Film) -> Report:
    """Return a film's report as it stands, redaction marks removed."""
    sections = (film.written_findings, film.written_impression)
    return Report(*(REDACTION.sub("", text).strip() for text in sections))


def reference(film: Film, kind: str) -> Report:
    """Return the report that a prediction is measured against."""
    return written(film) if kind == "written" else Report(film.findings, film.impression)


def section_of(report: Report | Predicted, section: str) -> str:
    """Return the findings, or findings and impression as one text."""
    if section == "findings":
        return report.findings
    return f"{report.findings} {report.impression}".strip()


def paired(
    predicted: list[Predicted], films: Mapping[str, Film], section: str, kind: str
) -> dict[str, list[Pair]]:
    """Return every system's reports beside the reference, where this has the section."""
    pairs: dict[str, list[Pair]] = {}
    for one in predicted:
        wanted = section_of(reference(films[one.image_id], kind), section)
        if wanted:
            pair = Pair(one.patient_id, section_of(one, section), wanted)
            pairs.setdefault(one.system, []).append(pair)
    return pairs


def score(
    predicted: list[Predicted], films: Mapping[str, Film], section: str, kind: str
) -> dict[str, ReportFigures]:
    """Return the figures of every system on the films whose reference has the section."""
    pairs = paired(predicted, films, section, kind)
    return {system: report_metrics.measure(found) for system, found in pairs.items()}


def by_subgroup(predicted: list[Predicted], films: Mapping[str, Film]) -> dict[str, Any]:
    """Return the model's label micro-F1 on whole written reports for parts of val."""
    ours = [one for one in predicted if one.system == MODEL]
    groups = subgroups([films[one.image_id] for one in ours])
    found = {}
    for name, places in groups.items():
        figures = score([ours[place] for place in places], films, "report", "written")[MODEL]
        found[name] = asdict(figures.overall[MICRO_F1])
    return found


def evaluate_reports(
    run: Run, bundle_dir: Path | None, limit: int = 0
) -> dict[tuple[str, str], dict[str, ReportFigures]]:
    """Write predictions, then figures by section and reference; return the figures."""
    output = run.run_dir / "evaluate" / "reports"
    output.mkdir(parents=True, exist_ok=True)
    engine = Engine.load(bundle_dir)
    rows = one_a_study(run.catalog.films, run.reported("val"))[: limit or None]
    predicted = predict(run, engine, rows)
    parquet.store([asdict(one) for one in predicted], output / PREDICTIONS)
    return rescore(run, output, engine.digest)


def read_predictions(output: Path) -> list[Predicted]:
    """Return the predictions that were written."""
    return [Predicted(**row) for row in pq.read_table(output / PREDICTIONS).to_pylist()]


def score_published(run: Run, judges: Path | None, python: Path | None) -> Published:
    """Score written predictions (findings, cleaned reference) by published metrics; store these."""
    output = run.run_dir / "evaluate" / "reports"
    films = {film.image_id: film for film in run.catalog.films}
    pairs = paired(read_predictions(output), films, "findings", "cleaned")
    found = published_metrics(pairs, judges, python)
    (output / "published.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def rescore(
    run: Run, output: Path, bundle_digest: str
) -> dict[tuple[str, str], dict[str, ReportFigures]]:
    """Compute the figures of written predictions and store them beside these."""
    predicted = read_predictions(output)
    films = {film.image_id: film for film in run.catalog.films}
    found = {
        (section, kind): score(predicted, films, section, kind)
        for section in SECTIONS
        for kind in REFERENCES
    }
    values: dict[str, Any] = {
        "dataset": "val split, one frontal film a study, greedy",
        "bundle": bundle_digest,
        "definitions": report_metrics.DEFINITIONS,
    }
    values["subgroups"] = by_subgroup(predicted, films)
    by_finding: dict[str, Any] = {}
    for (section, kind), systems in found.items():
        stored = {name: asdict(figures) for name, figures in systems.items()}
        by_finding[f"{section}, {kind}"] = {
            name: {part: one.pop(part) for part in BY_FINDING} for name, one in stored.items()
        }
        values[f"{section}, {kind}"] = stored
    for file, content in ((METRICS, values), ("findings.json", by_finding)):
        (output / file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return found
