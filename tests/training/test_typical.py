"""Typical reports: chosen within the same findings, by agreement with the rest."""

from dataclasses import replace

import pytest

from training.typical import KEPT, typical

USUAL = (
    "The lungs are clear. The heart is normal in size. There is no pneumothorax.",
    "The lungs are clear. The heart is normal in size. No pneumothorax or pleural effusion.",
    "The heart is normal in size. The lungs are clear. There is no pneumothorax.",
)
ODD = "Unremarkable examination without acute abnormality, as best one can tell."
EFFUSION = "There is a small left pleural effusion."


@pytest.fixture
def films(trained):
    """Forty normal films, every fourth worded oddly, and three with an effusion."""
    texts = [ODD if place % 4 == 0 else USUAL[place % 3] for place in range(40)] + [EFFUSION] * 3
    return [replace(trained.catalog.films[0], findings=text) for text in texts]


def test_odd_wordings_go_first(films):
    kept = typical(films, range(len(films)), "findings", 0.5, seed=1)
    normal = [row for row in kept if row < 40]
    assert len(normal) == 20
    assert ODD not in {films[row].findings for row in normal}


def test_rare_findings_are_kept_whole(films):
    kept = typical(films, range(len(films)), "findings", 0.01, seed=1)
    assert [row for row in kept if row >= 40] == [40, 41, 42]
    assert len(kept) == KEPT + 3


def test_rows_that_may_not_be_used_stay_out(films):
    assert set(typical(films, range(0, 40, 2), "findings", 0.5, seed=1)) <= set(range(0, 40, 2))


def test_a_stage_that_keeps_all_reports_changes_none(films):
    assert typical(films, range(len(films)), "findings", 1.0, seed=1) == list(range(len(films)))
