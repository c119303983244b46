"""Every report keeps the viewers' rules, and each rule notices what breaks it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset

from node.viewer_rules import RULES, broken_rules, crowded_series
from tests.node.outputs_made import draft_sr
from tests.node.reports_made import reports, source

REPORTS = reports(source())


@pytest.mark.parametrize("form", REPORTS)
def test_every_report_keeps_every_rule(form):
    assert broken_rules(REPORTS[form]) == ()


def test_every_report_has_a_series_of_its_own():
    assert crowded_series(list(REPORTS.values())) == ()
    assert crowded_series([draft_sr(), draft_sr()]) == (str(draft_sr().SeriesInstanceUID),)


def section(ds: Dataset) -> Dataset:
    return next(item for item in ds.ContentSequence if item.ValueType == "CONTAINER")


def _unname(ds: Dataset) -> None:
    del section(ds).ContentSequence[1].ContentSequence[0].ConceptNameCodeSequence


def _retitle(ds: Dataset) -> None:
    ds.ConceptNameCodeSequence[0].CodeValue = "126000"


def _nest(ds: Dataset) -> None:
    sentence = section(ds).ContentSequence[1]
    sentence.ContentSequence.append(section(ds).ContentSequence[0])


def _drop_warning(ds: Dataset) -> None:
    section(ds).ContentSequence.pop(0)


def _break_line(ds: Dataset) -> None:
    section(ds).ContentSequence[1].TextValue = "one\ntwo"


def _double_evidence(ds: Dataset) -> None:
    series = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    series.ReferencedSOPSequence.append(series.ReferencedSOPSequence[0])


def _empty_measurements(ds: Dataset) -> None:
    ds.ContentTemplateSequence[0].TemplateIdentifier = "1500"
    _retitle(ds)


def _set(keyword: str, value: str) -> Callable[[Dataset], None]:
    return lambda ds: setattr(ds, keyword, value)


BREAKS = {
    "modality": _set("Modality", "DOC"),
    "concept name": _unname,
    "go together": _retitle,
    "without measurements": _empty_measurements,
    "series does not say": _set("SeriesDescription", "AI REPORT"),
    "completion flag description": _set("CompletionFlagDescription", ""),
    "not UNVERIFIED": _set("VerificationFlag", "SIGNED"),
    "not the warning": _drop_warning,
    "hangs below": _nest,
    "several lines": _break_line,
    "evidence": _double_evidence,
}


@pytest.mark.parametrize("part", BREAKS)
def test_what_breaks_a_rule_is_noticed(part):
    ds = draft_sr()
    BREAKS[part](ds)
    assert any(part in rule for rule in broken_rules(ds))


def test_every_rule_has_its_negative_control():
    assert all(any(part in rule for part in BREAKS) for rule in RULES)
