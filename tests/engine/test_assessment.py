"""Classifier and text are two witnesses: what each says is kept, and a contradiction is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.assessment import Assessment, Bands, assess, disagreement
from engine.counterfactual import without
from engine.findings import FINDINGS
from engine.labeler import label

EVERY = frozenset(FINDINGS)


def one(finding: str, chance: float, text: str, *, proven: frozenset[str] = EVERY) -> Assessment:
    chances = dict.fromkeys(FINDINGS, 0.3) | {finding: chance}
    return assess(chances, proven, text, Bands())[FINDINGS.index(finding)]


@pytest.mark.parametrize(
    ("chance", "presence"),
    [
        (0.99, "present"),
        (0.5, "present"),
        (0.49, "undetermined"),
        (0.1, "undetermined"),
        (0.09, "absent"),
    ],
)
def test_a_calibrated_probability_has_three_bands(chance, presence):
    assert one("Edema", chance, "").presence == presence


def test_a_finding_the_classifier_was_never_shown_to_tell_is_undetermined_and_has_no_certainty():
    found = one("Fracture", 0.99, "Rib fracture.", proven=frozenset({"Edema"}))
    assert (found.presence, found.certainty, found.text) == ("undetermined", None, "present")
    assert disagreement(found) == ""


@pytest.mark.parametrize(
    ("chance", "text", "told"),
    [
        (0.95, "No pneumothorax.", "says absent, the classifier gives it a probability of 95 %"),
        (0.02, "Large right pneumothorax.", "says present, the classifier gives it a probability"),
        (0.95, "Large right pneumothorax.", ""),
        (0.02, "No pneumothorax.", ""),
        (0.30, "No pneumothorax.", ""),
        (0.02, "Possible pneumothorax.", ""),
        (0.95, "Heart size is normal.", "Not mentioned: pneumothorax; the classifier gives it"),
        (0.30, "Heart size is normal.", ""),
    ],
)
def test_only_a_contradiction_or_an_omission_is_told(chance, text, told):
    sentence = disagreement(one("Pneumothorax", chance, text))
    assert told in sentence
    assert bool(told) == bool(sentence)


def test_side_and_region_come_from_the_text_and_only_from_what_it_says_is_there():
    text = "Small left basilar pleural effusion. No right apical pneumothorax."
    effusion = one("Pleural Effusion", 0.9, text)
    assert (effusion.side, effusion.regions) == ("left", ("base",))
    assert one("Pneumothorax", 0.9, text).side is None


def test_both_sides_in_two_sentences_are_bilateral():
    text = "Small left pleural effusion. Moderate right pleural effusion."
    assert one("Pleural Effusion", 0.9, text).side == "bilateral"


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        ("Pleural Effusion", "Shift of the heart to the left by a large effusion on the right."),
        ("Lung Opacity", "Left upper lobe and right lower lobe opacities."),
    ],
)
def test_where_a_sentence_names_both_sides_no_side_is_coded(finding, text):
    found = one(finding, 0.9, text)
    assert (found.text, found.side, found.regions) == ("present", None, ())


def test_the_region_of_one_side_is_not_said_of_the_other():
    text = "Left upper lobe opacity. Right lower lobe opacity."
    assert one("Lung Opacity", 0.9, text).side == "bilateral"
    assert one("Lung Opacity", 0.9, text).regions == ()


@pytest.mark.parametrize(
    ("chance", "text", "told"),
    [
        (0.02, "Heart size is normal. Lungs are clear.", "names no finding"),
        (0.95, "Large right pneumothorax.", "names findings"),
    ],
)
def test_a_disagreement_on_normality_is_told_in_words_that_mean_it(chance, text, told):
    sentence = disagreement(one("No Finding", chance, text))
    assert f"the drafted text {told}, the classifier gives a normal film" in sentence
    assert "no finding:" not in sentence


@given(st.text(max_size=200), st.floats(0, 1))
def test_any_text_gets_fourteen_assessments_in_order(text, chance):
    found = assess(dict.fromkeys(FINDINGS, chance), EVERY, text, Bands())
    assert tuple(item.finding for item in found) == FINDINGS


def test_the_counterfactual_report_denies_the_finding_and_keeps_the_rest():
    text = "The heart is enlarged. Large left pleural effusion. No pneumothorax."
    changed = without(text, "Pleural Effusion")
    before, after = (dict(zip(FINDINGS, label(report), strict=True)) for report in (text, changed))
    assert (before["Pleural Effusion"], after["Pleural Effusion"]) == (1.0, 0.0)
    assert after["Cardiomegaly"] == before["Cardiomegaly"] == 1.0
    assert after["Pneumothorax"] == before["Pneumothorax"] == 0.0


@pytest.mark.parametrize(
    ("text", "finding", "changed"),
    [
        (
            "There is a 1.5 cm nodule in the right lung. Heart is normal.",
            "Lung Lesion",
            "Heart is normal. No lung lesion.",
        ),
        (
            "Endotracheal tube tip 4.2 cm above the carina. No pneumothorax.",
            "Support Devices",
            "No pneumothorax. No support devices.",
        ),
        ("Pulmonary edema. Effusions are present", "Edema", "Effusions are present. No edema."),
    ],
)
def test_a_counterfactual_report_leaves_no_half_a_sentence(text, finding, changed):
    assert without(text, finding) == changed


def test_what_is_not_stated_cannot_be_taken_away():
    assert without("No pleural effusion.", "Pleural Effusion") == ""
