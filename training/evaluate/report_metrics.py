"""Every figure of generated reports, with 95 % intervals over patients.

Each report becomes one row of numbers that only need adding up, so that a thousand resamples are
one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from engine import labeler
from engine.findings import FINDINGS
from training.errors import TrainingError
from training.evaluate import finding_errors, label_scores, overlap
from training.evaluate.bootstrap import Figure, PatientResamples

NUM_RESAMPLES = 1000
Floats = NDArray[np.float64]

DEFINITIONS: dict[str, str] = {
    "labels": f"{labeler.NAME} {labeler.VERSION}; {label_scores.DEFINITION}",
    "jaccard": label_scores.JACCARD_DEFINITION,
    "bleu": "corpus BLEU as in coco-caption, tokens as in R2Gen, one reference",
    "rouge-l": f"mean over reports of ROUGE-L, beta {overlap.BETA}, as in coco-caption",
    finding_errors.NAME: finding_errors.DEFINITION,
    finding_errors.LENGTH_CONTROLLED: finding_errors.LENGTH_DEFINITION,
}
"""What the figures mean; printed beside every table."""


@dataclass(frozen=True)
class Pair:
    """A generated report beside the one that a radiologist wrote."""

    patient_id: str
    predicted: str
    reference: str


@dataclass(frozen=True)
class ReportFigures:
    """Figures of one set of generated reports.

    ``overall`` by name; ``findings`` by finding, then measure (precision, recall, f1, auroc,
    jaccard-micro, jaccard-macro, jaccard-weighted); ``errors`` are counts by heading; ``positives``
    counts the reference's positive reports by finding.
    """

    overall: dict[str, Figure]
    findings: dict[str, dict[str, Figure]]
    positives: dict[str, int]
    errors: dict[str, int]
    num_reports: int
    num_distinct: int


def measure(
    pairs: Sequence[Pair], *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> ReportFigures:
    """Return every figure of generated reports; patients, not reports, are resampled.

    Raises
    ------
    TrainingError
        There is no pair to measure.
    """
    if not pairs:
        raise TrainingError("no generated reports to measure")
    resamples = PatientResamples([pair.patient_id for pair in pairs], seed, num_resamples)
    labels = label_rows(pairs)
    errors = [finding_errors.compare(pair.predicted, pair.reference) for pair in pairs]
    counts = label_scores.confusion(labels.sum(0, keepdims=True))[0]
    return ReportFigures(
        overall={
            **_overlap_figures(pairs, resamples),
            **_label_figures(labels, resamples),
            **error_figures(pairs, errors, resamples),
        },
        findings={name: _finding_figures(name, labels, resamples) for name in FINDINGS},
        positives={name: int(row[0] + row[2]) for name, row in zip(FINDINGS, counts, strict=True)},
        errors=_error_counts(errors),
        num_reports=len(pairs),
        num_distinct=len({" ".join(overlap.tokens(pair.predicted)) for pair in pairs}),
    )


def label_rows(pairs: Sequence[Pair]) -> Floats:
    """Return the label tables [N, 224] of pairs (`label_scores.contingency`)."""
    return label_scores.contingency(
        [labeler.label(pair.predicted) for pair in pairs],
        [labeler.label(pair.reference) for pair in pairs],
    )


def _overlap_figures(pairs: Sequence[Pair], resamples: PatientResamples) -> dict[str, Figure]:
    words = [(overlap.tokens(pair.predicted), overlap.tokens(pair.reference)) for pair in pairs]
    counts = np.array([overlap.bleu_counts(*each) for each in words])
    orders = range(1, overlap.ORDERS + 1)
    figures = {f"bleu-{n}": resamples.figure(counts, overlap.bleu(n)) for n in orders}
    figures["rouge-l"] = _mean_figure([overlap.rouge_l(*each) for each in words], resamples)
    lengths = [[float(len(found)), float(len(wanted))] for found, wanted in words]
    figures["length ratio"] = resamples.figure(np.array(lengths), quotient)
    return figures


def _label_figures(labels: Floats, resamples: PatientResamples) -> dict[str, Figure]:
    averages = label_scores.AVERAGES
    figures = {
        f"{name} {average}": resamples.figure(labels, label_scores.averaged(name, average))
        for name in label_scores.MEASURES
        for average in averages
    }
    for average in averages:
        figures[f"jaccard {average}"] = resamples.figure(labels, label_scores.jaccard(average))
    return figures


def _finding_figures(
    finding: str, labels: Floats, resamples: PatientResamples
) -> dict[str, Figure]:
    figures = {
        name: resamples.figure(labels, label_scores.of_finding(name, finding))
        for name in label_scores.MEASURES
    }
    for average in label_scores.AVERAGES:
        statistic = label_scores.jaccard(average, finding)
        figures[f"jaccard-{average}"] = resamples.figure(labels, statistic)
    return figures


def error_figures(
    pairs: Sequence[Pair], errors: Sequence[finding_errors.Errors], resamples: PatientResamples
) -> dict[str, Figure]:
    """Return the finding-error score of reports, plain and length-controlled."""
    scores = [each.score for each in errors]
    controlled = [
        None
        if score is None
        else finding_errors.length_controlled(score, pair.predicted, pair.reference)
        for score, pair in zip(scores, pairs, strict=True)
    ]
    return {
        finding_errors.NAME: _mean_figure(scores, resamples),
        finding_errors.LENGTH_CONTROLLED: _mean_figure(controlled, resamples),
    }


def _error_counts(errors: Sequence[finding_errors.Errors]) -> dict[str, int]:
    total = sum(errors, finding_errors.Errors())
    names = (field.name for field in fields(total))
    return dict(zip(names, astuple(total), strict=True))


def _mean_figure(values: Sequence[float | None], resamples: PatientResamples) -> Figure:
    """Return the mean over reports of a value that some reports do not have."""
    rows = [[0.0, 0.0] if value is None else [value, 1.0] for value in values]
    return resamples.figure(np.array(rows), quotient)


def quotient(sums: Floats) -> Floats:
    """Return first column over second [R], NaN where that is nothing."""
    top, bottom = sums[:, 0], sums[:, 1]
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
