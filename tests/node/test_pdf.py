"""The draft as a document: a warning on every page, the patient's name whole or said not to be."""

from __future__ import annotations

from typing import Any

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.authored import equipment_purposes
from node.config_outputs import PdfSettings
from node.pdf import build_pdf
from node.pdf_fonts import PLACEHOLDER
from node.send_guard import missing_in
from node.sr_document import BANNER
from tests.films import phantom
from tests.node.outputs_made import draft, draft_sr, encoded, identity, read_back, synthetic_sc


def pdf(source: Dataset | None = None, **changes: Any) -> Dataset:
    source = phantom("pdf") if source is None else source
    arguments = {
        "draft": draft(),
        "identity": identity(study_instance_uid=str(source.StudyInstanceUID)),
        "settings": PdfSettings(),
        "title": "18748-4",
    }
    return build_pdf(source, **{**arguments, **changes})


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


def test_each_class_is_held_to_its_own_marks() -> None:
    assert missing_in("report", draft_sr()) == ()
    assert missing_in("synthetic", synthetic_sc()) == ()
    signed, film = draft_sr(), phantom()
    signed.VerificationFlag = "VERIFIED"
    assert missing_in("report", signed) == ("VerificationFlag",)
    assert "SOPClassUID" in missing_in("report", film)
    disguised = synthetic_sc()
    disguised.Modality = "SR"
    assert missing_in("pdf", disguised) == ("Modality",)
