"""The indication is read in one place, and reaches a prompt without what says whose film it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.indication import anonymous, indication_of, prompted_indication
from node.redact import without_identity


def header(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def item(**attributes: object) -> Dataset:
    return header(**attributes)


def test_every_attribute_of_a_reason_is_read_once() -> None:
    code = item(CodeValue="49727002", CodingSchemeDesignator="SCT", CodeMeaning="Cough")
    ds = header(
        ReasonForTheRequestedProcedure="Fever",
        ReasonForStudy="Dyspnea",
        ReasonForVisit="Fever",
        RequestAttributesSequence=[
            item(
                ReasonForTheRequestedProcedure="Fall",
                ReasonForRequestedProcedureCodeSequence=[code],
            )
        ],
    )
    assert indication_of(ds) == ("Fever", "Dyspnea", "Fall", "Cough")


@pytest.mark.parametrize(
    ("description", "counts"),
    [
        ("XR CHEST PA AND LATERAL", False),
        ("Chest 2 views", False),
        ("CHEST R/O PNEUMONIA", True),
        ("Thorax: pneumothorax?", True),
        ("CXR pre-op", True),
        ("Chest pain", True),
    ],
)
def test_a_description_counts_where_it_says_why(description: str, counts: bool) -> None:
    ds = header(StudyDescription=description)
    assert indication_of(ds) == ((description,) if counts else ())


PERSON = {
    "PatientName": "Müller^Hans-Peter^^Dr",
    "PatientID": "MRN-00 7",
    "AccessionNumber": "A77",
    "ReferringPhysicianName": "O'Brien^Sean",
}


@pytest.mark.parametrize(
    ("reason", "left"),
    [
        ("Hans Muller has a cough", "has a cough"),
        ("MÜLLER, Hans-Peter: fever since 3 days.", ": fever since 3 days."),
        ("Cough since 12.03.2024, see A77", "Cough since , see"),
        ("Fever (MRN-007) since March 3rd, 2024", "Fever since"),
        ("Call Dr. Weaver at 555-12345. Chest pain", "Call at . Chest pain"),
        ("seen 2024-03-12 14:30, known CHF", "seen , known CHF"),
        ("mail hans@example.org for results", "mail for results"),
        ("T4 tenderness, 3 rib fractures, SpO2 88 %", "T4 tenderness, 3 rib fractures, SpO2 88 %"),
        ("may represent pneumonia", "may represent pneumonia"),
        ("s/p fall?", "s/p fall?"),
    ],
)
def test_names_numbers_and_dates_are_taken_out(reason: str, left: str) -> None:
    ds = header(ReasonForTheRequestedProcedure=reason, **PERSON)
    found = prompted_indication(ds)
    assert re.sub(r"[\s,.:-]+", " ", found).strip() == re.sub(r"[\s,.:-]+", " ", left).strip()


def test_a_short_name_takes_its_sentence_along() -> None:
    """Without "No" the first sentence would say the opposite."""
    ds = header(PatientName="No^Min", ReasonForTheRequestedProcedure="No cough. Fever.")
    assert prompted_indication(ds) == "Fever"


def test_names_in_other_scripts_are_taken_out() -> None:
    ds = header(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう")
    assert anonymous("山田太郎 has cough; Yamada TAROU", ds) == "has cough;"


words = st.text(st.characters(categories=["Lu", "Ll"], codec="latin-1"), min_size=4, max_size=12)
WORDS = re.compile(r"[^\W\d_]+")


@given(
    name=st.lists(words, min_size=1, max_size=3),
    number=st.from_regex(r"[A-Z]{0,3}[0-9]{1,12}", fullmatch=True),
    text=st.lists(st.sampled_from(["cough", "fever?", "r/o", "No", "3", "days."]), max_size=6),
    place=st.integers(0, 6),
)
def test_no_name_and_no_number_of_the_header_is_left(
    name: list[str], number: str, text: list[str], place: int
) -> None:
    told = [*text[:place], *name, number, *text[place:]]
    left = without_identity(" ".join(told), ["^".join(name)], [number])
    kept = {word.casefold() for word in WORDS.findall(left)}
    assert not kept & ({one.casefold() for one in name} - {"cough", "fever", "days"})
    assert number not in left.split() or number in text


@given(text=st.text(max_size=80))
def test_what_is_left_is_a_line_whatever_it_was(text: str) -> None:
    left = without_identity(text, ["Doe^Jane"], ["12345"])
    assert left == " ".join(left.split())
    assert not re.search(r"\d{5}", left)
