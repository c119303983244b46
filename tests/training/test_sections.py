import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.sections import clean_report, clean_section, is_redacted, mentions_prior, sentences


def test_a_redacted_sentence_is_dropped_and_its_neighbours_stay():
    assert (
        clean_section("Clear lungs. Normal chest x-XXXX. No effusion.")
        == "Clear lungs. No effusion."
    )


@pytest.mark.parametrize(
    "sentence",
    [
        "Compared to the prior exam, the effusion is larger.",
        "The opacity has resolved.",
        "No significant change.",
        "Interval removal of the tube.",
        "New opacity in the left base.",
    ],
)
def test_a_sentence_on_a_prior_examination_is_dropped(sentence):
    assert mentions_prior(sentence)
    assert clean_section(sentence) == ""


def test_stability_is_taken_out_of_a_sentence_that_stands_without_it():
    assert clean_section("Stable cardiomegaly.") == "Cardiomegaly."


def test_list_numbers_go():
    assert sentences("1. No effusion. 2. Clear lungs.") == ["No effusion.", "Clear lungs."]


def test_both_sections_stand_under_their_headings():
    report = clean_report("Clear lungs.", "Normal chest.")
    assert report.text == "Findings: Clear lungs.\nImpression: Normal chest."
    assert clean_report(None, "XXXX.").text == ""


@given(st.text())
def test_cleaning_is_idempotent_and_leaves_no_redaction(text):
    once = clean_section(text)
    assert clean_section(once) == once
    assert not is_redacted(once)
