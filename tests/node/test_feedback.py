"""The feedback form: what it takes, what it refuses, and what training gets to see."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.feedback import REASONS, Feedback, FeedbackRefused, read_form, sentences, training_row

CONTENT: dict[str, Any] = {
    "source": "1.2.3",
    "findings": ["The heart is large.", "No effusion."],
    "impression": ["Cardiomegaly."],
    "report": {"bundle_digest": "ab" * 32, "prompt_version": "1"},
}


def read(**form: Any) -> Feedback:
    lists = {name: value if isinstance(value, list) else [value] for name, value in form.items()}
    return read_form(lists, CONTENT, study_uid="1.2", generation=1, by="reader", now=1000.0)


def test_an_edit_is_kept_sentence_by_sentence() -> None:
    kept = read(verdict="edit", reason=["style"], findings=" One.\r\n\r\nTwo. ", impression="")
    assert kept.findings == ("One.", "Two.")
    assert kept.impression == ()


def test_a_section_that_the_form_leaves_out_stays_as_drafted() -> None:
    kept = read(verdict="edit", reason=["style"], findings="One.")
    assert (kept.findings, kept.impression) == (("One.",), ("Cardiomegaly.",))


def test_reasons_are_kept_in_their_own_order_and_no_others() -> None:
    kept = read(verdict="reject", reason=["style", "omission", "<script>"])
    assert kept.reasons == ("omission", "style")


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({}, "no verdict"),
        ({"verdict": "verify"}, "no verdict"),
        ({"verdict": "reject"}, "no reason"),
        ({"verdict": "edit", "findings": "X."}, "no reason"),
        ({"verdict": "edit", "reason": "style"}, "as it was"),
        ({"verdict": "edit", "reason": "style", "findings": "", "impression": ""}, "is empty"),
        (
            {
                "verdict": "edit",
                "reason": "style",
                "findings": "The heart is large.\nNo effusion.",
                "impression": " Cardiomegaly. ",
            },
            "as it was",
        ),
        ({"verdict": "accept", "findings": "Something else."}, "was changed"),
        ({"verdict": "edit", "reason": "style", "findings": "x" * 1001}, "too long"),
        ({"verdict": "edit", "reason": "style", "findings": "x\n" * 61}, "too long"),
    ],
)
def test_a_form_that_contradicts_itself_is_refused(form: dict[str, Any], reason: str) -> None:
    with pytest.raises(FeedbackRefused, match=reason) as refused:
        read(**form)
    assert refused.value.hint


def test_the_draft_as_it_was_may_be_accepted() -> None:
    sections = {"findings": "The heart is large.\r\nNo effusion.", "impression": "Cardiomegaly."}
    assert read(verdict="accept", **sections).findings is None


@pytest.mark.parametrize(
    ("opened_at", "seconds"), [("940", 60.0), ("2000", None), ("x", None), ("nan", None)]
)
def test_the_time_is_kept_as_far_as_it_can_be_believed(
    opened_at: str, seconds: float | None
) -> None:
    assert read(verdict="accept", opened_at=opened_at).seconds == seconds


@pytest.mark.parametrize(("grade", "kept"), [("1", 1), ("5", 5), ("6", None), ("-1", None)])
def test_grades_are_one_to_five(grade: str, kept: int | None) -> None:
    assert read(verdict="accept", saves_time=grade).saves_time == kept


@given(st.text(max_size=300))
def test_sentences_are_printable_lines_and_reading_them_again_changes_nothing(text: str) -> None:
    lines = sentences(text)
    assert all(line.isprintable() and line == " ".join(line.split()) for line in lines)
    assert sentences("\n".join(lines)) == lines


@given(
    form=st.dictionaries(
        st.sampled_from(["verdict", "reason", "findings", "impression", "saves_time", "opened_at"]),
        st.lists(st.sampled_from([*REASONS, "accept", "edit", "reject", "1", "9", "", "Text."])),
    )
)
def test_every_form_is_taken_or_refused(form: dict[str, list[str]]) -> None:
    with suppress(FeedbackRefused):
        kept = read(**form)
        assert (kept.findings is None) == (kept.verdict != "edit")


def test_training_sees_neither_patient_nor_reader() -> None:
    kept = read(verdict="edit", reason="style", findings="New.", note="Doe is my neighbour")
    row = training_row(vars(kept), CONTENT)
    text = json.dumps(row)
    assert row["edited"] == {"findings": ("New.",), "impression": ("Cardiomegaly.",)}
    assert row["draft"]["impression"] == ["Cardiomegaly."]
    assert not [name for name in ("Doe", "reader", "1.2.3", '"1.2"') if name in text]
