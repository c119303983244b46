"""The draft as a document: a warning on every page, the patient's name whole or said not to be."""

from __future__ import annotations

import numpy as np
import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.authored import equipment_purposes
from node.config_outputs import PdfSettings
from node.makers import MAKERS
from node.pdf_fonts import PLACEHOLDER
from node.send_guard import GUARDS, missing_in
from node.sr_document import BANNER
from node.sr_narrative import as_basic_text
from node.sr_review import EDITED
from tests.films import phantom
from tests.node.outputs_made import (
    draft,
    draft_sr,
    encoded,
    findings_sr,
    heatmap,
    pdf,
    read_back,
    synthetic_sc,
)


def pages(ds: Dataset) -> list[str]:
    """Return the text of each page as a reader of PDF finds it."""
    document = pypdfium2.PdfDocument(ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength])
    texts = [page.get_textpage().get_text_range() for page in document]
    document.close()
    return texts


def named(name: str) -> Dataset:
    source = phantom("pdf", SpecificCharacterSet="ISO_IR 192")
    source.PatientName = name
    return source


def test_the_document_holds_the_draft_and_where_it_came_from() -> None:
    source = phantom("pdf", PatientName="Doe^Jane", AccessionNumber="ACC-7", StudyDate="20260102")
    (text,) = pages(pdf(source))
    for wanted in ("Doe, Jane", "ACC-7", "2026-01-02", "Heart size is normal.", "UNVERIFIED"):
        assert wanted in text
    assert "sha256 abab" in text.replace("\r\n", "")


def test_every_page_has_the_banner_twice() -> None:
    long = draft(findings=tuple(f"Sentence {number} of many." for number in range(120)))
    texts = pages(pdf(draft=long))
    assert len(texts) > 2
    assert [text.count(BANNER) for text in texts] == [2] * len(texts)
    assert "".join(texts).count(" of many.") == 120


@pytest.mark.parametrize(
    "name",
    [
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "Hong^Gildong=洪^吉洞=홍^길동",
        "Wang^XiaoDong=王^小东",
        "Иванов^Пётр",
        "Παπαδόπουλος^Γιώργος",
        "Nguyễn^Thị",
    ],
)
def test_a_name_in_letters_that_the_fonts_have_is_whole(name: str) -> None:
    (text,) = pages(pdf(named(name)))
    for part in name.replace("=", "^").split("^"):
        assert part in text
    assert PLACEHOLDER not in text
    assert "cannot show" not in text


@pytest.mark.parametrize("name", ["قباني^لنزار", "כהן^דוד"])
def test_a_name_from_right_to_left_is_drawn_without_a_box(name: str) -> None:
    (text,) = pages(pdf(named(name)))
    assert PLACEHOLDER not in text
    assert "?" not in text


def test_letters_that_no_font_has_are_said_to_be_missing() -> None:
    (text,) = pages(pdf(named("शर्मा^राम")))
    assert PLACEHOLDER in text
    assert "?" not in text
    assert "Patient: this page cannot show" in text
    assert "U+0936" in text


def test_a_name_that_cannot_be_decoded_says_so() -> None:
    source = phantom("pdf", SpecificCharacterSet="ISO_IR 192")
    source.add_new("PatientName", "PN", "Doe\ufffd^Jane")
    (text,) = pages(pdf(source))
    assert "cannot be decoded" in text


@settings(deadline=None, max_examples=25)
@given(name=st.text(max_size=40), sentence=st.text(max_size=80))
def test_any_letters_make_a_document(name: str, sentence: str) -> None:
    source = phantom("pdf", SpecificCharacterSet="ISO_IR 192")
    source.add_new("PatientName", "PN", name)
    (text, *_) = pages(pdf(source, draft=draft(findings=(sentence, "Heart size is normal."))))
    assert BANNER in text


def test_a_page_that_a_person_edited_says_so_and_not_that_software_wrote_it() -> None:
    (text,) = pages(pdf(addendum=(EDITED,)))
    text = " ".join(text.split())
    assert text.count(EDITED) == 3  # top, bottom, addendum
    assert BANNER not in text


@pytest.mark.parametrize("addendum", [(), (EDITED,)])
def test_the_banner_is_on_red_at_the_top_and_at_the_bottom(addendum: tuple[str, ...]) -> None:
    document = pypdfium2.PdfDocument(pdf(addendum=addendum).EncapsulatedDocument)
    page = document[0].render().to_numpy()[..., :3].astype(int)
    document.close()
    is_red = (np.ptp(page, axis=2) > 100).any(axis=1)
    middle = len(is_red) // 2
    top, bottom = int(is_red[:middle].sum()), int(is_red[middle:].sum())
    assert abs(top - bottom) <= 1
    assert top > (25 if addendum else 12), "one line, or two"


def test_a_retry_is_the_same_bytes() -> None:
    assert encoded(pdf()) == encoded(pdf())


def test_the_header_says_draft_as_loudly_as_the_page() -> None:
    ds = read_back(pdf())
    assert ds.Modality == "DOC"
    assert ds.SeriesNumber == 9704
    assert ds.DocumentTitle == "AI DRAFT - UNVERIFIED: Diagnostic Imaging Report"
    assert ds.ConceptNameCodeSequence[0].CodeValue == "18748-4"
    assert (ds.BurnedInAnnotation, ds.VerificationFlag) == ("YES", "UNVERIFIED")
    assert ds.ContentQualification == "RESEARCH"
    assert equipment_purposes(ds) == {("109102", "DCM")}
    assert missing_in("pdf", ds) == ()


def test_the_series_says_unverified_whatever_the_settings_say() -> None:
    ds = pdf(settings=PdfSettings(series_description="Report"))
    assert ds.SeriesDescription == "UNVERIFIED - Report"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("VerificationFlag", "VERIFIED"), ("BurnedInAnnotation", "NO"), ("DocumentTitle", "Report")],
)
def test_a_document_without_its_marks_must_not_leave(keyword: str, value: str) -> None:
    ds = pdf()
    setattr(ds, keyword, value)
    assert missing_in("pdf", ds) == (keyword,)


MADE = {
    "report": draft_sr,
    "basic_text": lambda: as_basic_text(draft_sr()),
    "findings": findings_sr,
    "pdf": pdf,
    "heatmap": heatmap,
    "synthetic": synthetic_sc,
    "counterfactual": synthetic_sc,
}


def test_every_kind_of_object_has_its_guard() -> None:
    messages = {"hl7", "fhir"}
    assert MADE.keys() == GUARDS.keys() == (MAKERS.keys() - messages) | {"basic_text"}


@pytest.mark.parametrize("kind", MADE)
def test_an_object_passes_as_its_own_kind_and_as_no_other(kind: str) -> None:
    ds = MADE[kind]()
    assert missing_in(kind, ds) == ()
    for other, make in MADE.items():
        alike = {kind, other} <= {"report", "basic_text", "findings"} or make is MADE[kind]
        assert bool(missing_in(other, ds)) is not alike, other


def test_nothing_signed_and_no_film_of_a_patient_leaves() -> None:
    signed = draft_sr()
    signed.VerificationFlag = "VERIFIED"
    assert missing_in("report", signed) == ("VerificationFlag",)
    for kind in (*GUARDS, "unheard of"):
        assert "SOPClassUID" in missing_in(kind, phantom()) or kind == "heatmap"
        assert missing_in(kind, phantom())
