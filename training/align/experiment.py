"""What preference tuning brought: aligned bundles beside the one that they started from.

Every bundle drafts one film a validation study, greedily. Half of the studies choose (the best
length-controlled score), the other half tell what the choice is worth; figures stand for all, with
95 % intervals over patients, and each bundle's gain in label F1 is paired with the start's reports.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.pipeline import Engine
from training import parquet
from training.errors import PreferenceError
from training.evaluate import finding_errors, label_scores
from training.evaluate.bootstrap import Figure, PatientResamples
from training.evaluate.report_metrics import (
    Pair,
    error_figures,
    label_rows,
    measure,
    quotient,
)
from training.evaluate.reports import Predicted, drafts, one_a_study, paired
from training.stages import Run
from training.vqa.phrasings import digest

SECTION, REFERENCE = "report", "cleaned"
START = "start"
VERBOSITY, GAIN = "verbosity", "f1 micro, gain"
CHOOSING, HELD = "length-controlled, choosing half", "length-controlled, other half"
COLUMNS: Mapping[str, str] = {
    finding_errors.NAME: "score",
    finding_errors.LENGTH_CONTROLLED: "length-controlled",
    CHOOSING: "of the choosing half",
    HELD: "of the other half",
    "f1 micro": "label F1",
    GAIN: "gain over the start",
    "bleu-4": "BLEU-4",
    "rouge-l": "ROUGE-L",
    "length ratio": "words / reference",
    VERBOSITY: "words / start",
}
MAX_VERBOSITY = 1.15
"""Reports more than 15 % longer than the start's are no better reports, whatever their score."""


@dataclass(frozen=True)
class Experiment:
    """Bundles by name, the start first, and their figures."""

    figures: Mapping[str, Mapping[str, Figure]]

    @property
    def chosen(self) -> str:
        """The bundle that the choosing half prefers, the start included."""
        return max(self.figures, key=lambda name: self.figures[name][CHOOSING].value)

    @property
    def ships(self) -> bool:
        """Tell whether the chosen one beats the start in label F1 and is not longer by 15 %.

        It does where the interval of its gain, both on the same resamples, is above zero.
        """
        found = self.figures[self.chosen]
        gained = self.chosen != START and found[GAIN].low > 0
        return gained and found[VERBOSITY].value <= MAX_VERBOSITY


def evaluate_alignment(run: Run, start: Path | None, bundles: Sequence[Path]) -> Experiment:
    """Draft with every bundle and compare; writes predictions, figures and a table.

    Raises
    ------
    PreferenceError
        Two bundles have the same name.
    """
    output = run.run_dir / "evaluate" / "alignment"
    output.mkdir(parents=True, exist_ok=True)
    named = {START: start} | {path.name: path for path in bundles}
    if len(named) != 1 + len(bundles):
        raise PreferenceError("two bundles lie in folders of the same name", hint="rename one")
    predicted = {name: predictions(run, path, name, output) for name, path in named.items()}
    experiment = Experiment(compare(run, predicted))
    stored = {
        name: {what: asdict(figure) for what, figure in found.items()}
        for name, found in experiment.figures.items()
    }
    values = {"chosen": experiment.chosen, "ships": experiment.ships, "figures": stored}
    text = json.dumps(values, indent=1) + "\n"
    (output / "metrics.json").write_text(text, encoding="utf-8")
    (output / "table.md").write_text(markdown(experiment), encoding="utf-8")
    return experiment


def predictions(run: Run, bundle_dir: Path | None, name: str, output: Path) -> list[Predicted]:
    """Return a bundle's drafts, from the file where it has been asked before."""
    engine = Engine.load(bundle_dir)
    path = output / f"{engine.digest[:16]}.parquet"
    if not path.is_file():
        films = run.catalog.films
        rows = one_a_study(films, run.reported("val"))
        found = zip(rows.tolist(), drafts(run, engine, rows, hinted=True), strict=True)
        made = [
            Predicted(
                films[row].image_id,
                films[row].patient_id,
                films[row].study_id,
                name,
                report.findings,
                report.impression,
            )
            for row, report in found
        ]
        parquet.store([asdict(one) for one in made], path)
    rows_read = pq.read_table(path).to_pylist()
    return [Predicted(**{**row, "system": name}) for row in rows_read]


def compare(run: Run, predicted: Mapping[str, Sequence[Predicted]]) -> dict[str, dict[str, Figure]]:
    """Return the figures of `COLUMNS` for every bundle."""
    films = {film.image_id: film for film in run.catalog.films}
    every = [one for found in predicted.values() for one in found]
    pairs = paired(every, films, SECTION, REFERENCE)
    start = pairs[START]
    labels = label_rows(start)
    choosing = np.asarray([digest(pair.patient_id, "choosing") % 2 == 0 for pair in start])
    return {name: figures_of(found, start, labels, choosing) for name, found in pairs.items()}


def figures_of(
    found: Sequence[Pair],
    start: Sequence[Pair],
    labels: NDArray[np.float64],
    choosing: NDArray[np.bool_],
) -> dict[str, Figure]:
    """Return the figures of one bundle's reports beside the start's on the same films.

    ``labels`` are the start's label tables (`label_rows`).
    """
    overall = measure(found).overall
    resamples = PatientResamples([pair.patient_id for pair in found])
    lengths = [
        [float(len(one.predicted.split())), float(len(other.predicted.split()))]
        for one, other in zip(found, start, strict=True)
    ]
    halves = {
        name: controlled([pair for pair, own in zip(found, part, strict=True) if own])
        for name, part in ((CHOOSING, choosing), (HELD, ~choosing))
    }
    told = {
        VERBOSITY: resamples.figure(np.asarray(lengths), quotient),
        GAIN: gain(label_rows(found), labels, resamples),
        **halves,
    }
    return {name: told[name] if name in told else overall[name] for name in COLUMNS}


def controlled(pairs: Sequence[Pair]) -> Figure:
    """Return the length-controlled score of some reports alone."""
    errors = [finding_errors.compare(pair.predicted, pair.reference) for pair in pairs]
    resamples = PatientResamples([pair.patient_id for pair in pairs])
    return error_figures(pairs, errors, resamples)[finding_errors.LENGTH_CONTROLLED]


def gain(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], resamples: PatientResamples
) -> Figure:
    """Return by how much the micro F1 of label tables is higher, both on the same resamples."""
    f1 = label_scores.averaged("f1", "micro")
    width = ours.shape[1]
    return resamples.figure(
        np.concatenate([ours, theirs], axis=1),
        lambda sums: f1(sums[:, :width]) - f1(sums[:, width:]),
    )


def markdown(experiment: Experiment) -> str:
    """Return the table: a line a bundle, the best score of the choosing half in bold."""
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "| --- " * (1 + len(COLUMNS)) + "|"]
    for name, found in experiment.figures.items():
        shown = f"**{name}**" if name == experiment.chosen else name
        cells = [cell(found[column], spread=column == GAIN) for column in COLUMNS]
        lines.append("| " + " | ".join([shown, *cells]) + " |")
    verdict = "ships" if experiment.ships else "does not ship"
    return "\n".join([*lines, "", f"chosen: {experiment.chosen}; it {verdict}"]) + "\n"


def cell(figure: Figure, *, spread: bool) -> str:
    """Return a value, with its interval where that decides something."""
    if not spread:
        return f"{figure.value:.3f}"
    return f"{figure.value:+.3f} ({figure.low:+.3f} … {figure.high:+.3f})"
