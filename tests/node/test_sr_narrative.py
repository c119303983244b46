"""The draft SR says what was drafted, whose it is, and in every place that it is a draft."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

import node.sr_narrative
from node.codes import TITLES
from node.config_outputs import ReportSettings
from node.copied import clean
from node.outputs import REPORT
from node.sr_document import BANNER, VERIFICATION_FLAG
from tests.films import SHARED, phantom
from tests.node.outputs_made import draft, draft_sr, encoded, identity, read_back

ROOT = Path(node.sr_narrative.__file__).parents[1]
CHARSETS = {
    "ISO_IR 100": "Müller^Jürgen",
    "ISO_IR 144": "\u041b\u044e\u043a",
    "ISO_IR 192": "Wang^XiaoDong=王^小東=",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 138": "שרון^דבורה",
    "GB18030": "Wang^XiaoDong=王^小东=",
    "ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "ISO_IR 166": "ชาย^ไทย",
}


def items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", []):
        yield item
        yield from items(item)


def section(ds: Dataset, heading: str) -> Dataset:
    return next(item for item in items(ds) if meaning(item) == heading)


def meaning(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeMeaning


def texts(container: Dataset) -> list[str]:
    return [item.TextValue for item in container.ContentSequence]


def test_every_flag_says_draft():
    ds = draft_sr()
    assert (ds.PreliminaryFlag, ds.CompletionFlag, ds.VerificationFlag) == (
        "PRELIMINARY",
        "PARTIAL",
        "UNVERIFIED",
    )
    assert "UNVERIFIED" in ds.SeriesDescription
    assert ds.ContentQualification == "RESEARCH"
    assert "VerifyingObserverSequence" not in ds


def test_no_source_file_can_write_a_verified_flag():
    assert VERIFICATION_FLAG == "UNVERIFIED"
    for path in [*(ROOT / "node").rglob("*.py"), *(ROOT / "engine").rglob("*.py")]:
        constants = (
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant)
        )
        assert "VERIFIED" not in constants, path
        assert "VerifyingObserverSequence" not in path.read_text(), path


@pytest.mark.parametrize("heading", ["Findings", "Impressions"])
def test_each_section_opens_with_the_warning_and_holds_one_sentence_an_item(heading):
    written = texts(section(draft_sr(), heading))
    assert written[0] == BANNER
    drafted = {"Findings": draft().findings, "Impressions": draft().impression}
    assert tuple(written[1:]) == drafted[heading]


def test_every_content_item_has_a_concept_name():
    assert all(item.ConceptNameCodeSequence[0].CodeMeaning for item in items(draft_sr()))


def test_each_sentence_points_at_the_film_it_was_inferred_from():
    source = phantom()
    images = [item for item in items(draft_sr(source)) if item.ValueType == "IMAGE"]
    assert len(images) == 3
    referenced = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images}
    assert referenced == {source.SOPInstanceUID}


@pytest.mark.parametrize("title", TITLES)
def test_the_title_is_the_configured_loinc_code(title):
    ds = draft_sr(settings=ReportSettings(title=title))
    name = ds.ConceptNameCodeSequence[0]
    assert (name.CodeValue, name.CodingSchemeDesignator) == (title, "LN")
    assert ds.ContentTemplateSequence[0].TemplateIdentifier == "2000"


def test_the_author_is_a_device_that_names_its_model():
    author = draft_sr().AuthorObserverSequence[0]
    assert (author.ObserverType, author.DeviceUID) == ("DEV", "2.25.77")
    equipment = draft_sr().ContributingEquipmentSequence[0]
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert "ab" * 32 in equipment.ContributionDescription


def test_the_evidence_is_grouped_by_series_and_names_each_image_once():
    one, two = phantom("a"), phantom("b")
    two.StudyInstanceUID = one.StudyInstanceUID
    evidence = draft_sr(one, images=[one, two, one]).CurrentRequestedProcedureEvidenceSequence
    assert [len(study.ReferencedSeriesSequence) for study in evidence] == [2]
    named = [
        sop.ReferencedSOPInstanceUID
        for series in evidence[0].ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    ]
    assert sorted(named) == sorted({one.SOPInstanceUID, two.SOPInstanceUID})


def test_a_later_generation_names_its_predecessor():
    first, second = identity(), identity(generation=2)
    assert "PredecessorDocumentsSequence" not in draft_sr(identity=first)
    before = draft_sr(identity=second).PredecessorDocumentsSequence[0]
    reference = before.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == first.sop_instance_uid(REPORT)


def test_the_request_of_the_source_is_answered():
    source = phantom(AccessionNumber="A123")
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP7", "S1"
    source.RequestAttributesSequence = [request]
    answered = draft_sr(source).ReferencedRequestSequence[0]
    assert (answered.AccessionNumber, answered.RequestedProcedureID) == ("A123", "RP7")


def test_a_request_is_not_invented():
    assert "ReferencedRequestSequence" not in draft_sr(phantom(AccessionNumber=""))


@pytest.mark.filterwarnings("ignore")
def test_an_accession_number_too_long_for_its_vr_is_kept_as_the_filler_order_number():
    ds = draft_sr(phantom(AccessionNumber="ACCESSION-2026-0000123"))
    request = ds.ReferencedRequestSequence[0]
    assert request.FillerOrderNumberImagingServiceRequest == "ACCESSION-2026-0000123"
    assert ds.AccessionNumber == ""


@pytest.mark.parametrize("charset", CHARSETS)
def test_a_name_of_any_character_set_is_the_same_name_in_the_draft(charset):
    source = read_back(phantom(SpecificCharacterSet=charset, PatientName=CHARSETS[charset]))
    ds = read_back(draft_sr(source))
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert str(ds.PatientName) == str(source.PatientName) == CHARSETS[charset].rstrip("=")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("charset", "own"), [("ISO_IR 192", "Ünlikely"), ("ISO_IR 999", "Unlikely")]
)
def test_a_name_that_cannot_be_decoded_keeps_its_bytes_and_its_character_set(charset, own):
    source = phantom(SpecificCharacterSet=charset, PatientName="Muller^Jurgen")
    raw = encoded(source).replace(b"Muller^Jurgen", b"M\xfcller^J\xfcrgen")
    ds = draft_sr(dcmread(io.BytesIO(raw)), draft=draft(findings=("Ünlikely.",)))
    written = encoded(ds)
    assert ds.SpecificCharacterSet == charset
    assert b"M\xfcller^J\xfcrgen" in written
    assert own.encode() in written


def test_undeclared_latin_text_is_the_same_text_in_the_draft():
    source = phantom(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    del source.SpecificCharacterSet
    stream = encoded(source)
    assert str(read_back(draft_sr(dcmread(io.BytesIO(stream)))).PatientName) == ("Müller^Jürgen")


@settings(max_examples=60, deadline=None)
@given(sentences=st.lists(st.text(), max_size=4))
def test_any_text_survives_the_round_trip_as_one_line(sentences):
    ds = read_back(draft_sr(draft=draft(findings=tuple(sentences))))
    assert texts(section(ds, "Findings"))[1:] == [clean(text) for text in sentences if clean(text)]


def test_identifiers_are_copied_and_never_blanked():
    source = phantom(AccessionNumber="A1", StudyID="S1", PatientID="P1", StudyDate="20260102")
    ds = draft_sr(source)
    for keyword in ("AccessionNumber", "StudyID", "PatientID", "StudyDate", "StudyInstanceUID"):
        assert ds[keyword].value == source[keyword].value


def test_the_same_draft_is_the_same_file_however_long_it_took():
    slow = draft_sr(draft=draft(milliseconds=9999.0))
    assert encoded(draft_sr()) == encoded(slow)


def test_times_are_written_in_the_zone_of_the_source():
    ds = draft_sr(phantom(TimezoneOffsetFromUTC="+0530"))
    assert (ds.TimezoneOffsetFromUTC, ds.ContentTime) == ("+0530", "140015.250000")


def test_the_draft_of_a_synthetic_film_is_marked_synthetic():
    assert "SyntheticData" not in draft_sr()
    assert draft_sr(phantom(SyntheticData="YES")).SyntheticData == "YES"
    assert draft_sr(settings=ReportSettings(synthetic_data_mark=True)).SyntheticData == "YES"


def test_an_empty_draft_still_warns():
    ds = draft_sr(draft=draft((), ()))
    assert texts(section(ds, "Findings")) == texts(section(ds, "Impressions")) == [BANNER]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder is not here")
@pytest.mark.filterwarnings("ignore")
def test_every_shared_name_reads_the_same_in_the_draft():
    for line in (SHARED / "dicom" / "manifest.jsonl").read_text().splitlines():
        path = SHARED / "dicom" / json.loads(line)["file"]
        source = dcmread(path, force=True)
        if "PatientName" not in source or "StudyInstanceUID" not in source:
            continue
        ds = read_back(draft_sr(source, images=[], identity=identity()))
        expected = clean(str(dcmread(path, force=True).PatientName).replace("\x1b$)A", ""))
        assert clean(str(ds.PatientName)) == expected, path.name
