"""The draft as an Encapsulated PDF, for viewers that show no SR. Pure.

The page itself carries the warning, as no viewer is sure to show a flag of the header.
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from node import codes, sr_items
from node.authored import (
    contributing_equipment,
    new_object,
    provenance_line,
    set_equipment,
    set_times,
)
from node.config_outputs import PdfSettings
from node.copied import clean, copy_patient_and_study, own_text, text_of
from node.drafted_text import banner_of, parts_of
from node.outputs import OutputIdentity
from node.pdf_page import Page, render_pdf
from node.rules import is_synthetic
from node.sop_classes import ENCAPSULATED_PDF
from node.sr_document import VERIFICATION_FLAG, Basis
from node.sr_narrative import Words

KIND: Final = "pdf"
_MARK: Final = "AI DRAFT - UNVERIFIED"
_UNREADABLE: Final = "(cannot be decoded; see the header of this DICOM object)"


def build_pdf(
    basis: Basis,
    words: Words,
    identity: OutputIdentity,
    settings: PdfSettings,
    title: str,
) -> Dataset:
    """Return the draft as an Encapsulated PDF object, ready to be written.

    Parameters
    ----------
    basis
        The source's patient and study attributes are copied by value.
    title
        LOINC code of the kind of report.

    References
    ----------
    PS3.3 A.45.1 (Encapsulated PDF IOD), C.24.1, C.24.2.
    """
    source = basis.source
    ds = new_object(ENCAPSULATED_PDF, identity.sop_instance_uid(KIND))
    copy_patient_and_study(source, ds)
    ds.StudyInstanceUID = identity.study_instance_uid
    set_equipment(ds, identity)
    set_times(ds, identity.created_at, text_of(source, "TimezoneOffsetFromUTC"))
    _set_series(ds, identity, settings)
    _set_document(ds, source, identity, codes.TITLES[title])
    equipment = contributing_equipment(
        identity, codes.PROCESSING_EQUIPMENT, provenance_line(basis.provenance)
    )
    ds.ContributingEquipmentSequence = [equipment]
    page = _page(basis, words, identity, codes.TITLES[title])
    _set_content(ds, render_pdf(page))
    return ds


def _set_series(ds: Dataset, identity: OutputIdentity, settings: PdfSettings) -> None:
    """Write the Encapsulated Document Series module (PS3.3 C.24.1)."""
    ds.Modality = "DOC"
    ds.SeriesInstanceUID = identity.series_instance_uid(KIND)
    ds.SeriesNumber = settings.series_number
    described = settings.series_description
    if "UNVERIFIED" not in described.upper():
        described = f"UNVERIFIED - {described}"[:64]
    ds.SeriesDescription = own_text(ds, described)
    ds.ConversionType = "WSD"


def _set_document(
    ds: Dataset, source: Dataset, identity: OutputIdentity, title: codes.Code
) -> None:
    """Write the Encapsulated Document module but for the document (PS3.3 C.24.2)."""
    ds.InstanceNumber = identity.generation
    ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    ds.DocumentTitle = f"{_MARK}: {title.meaning}"
    ds.ConceptNameCodeSequence = [title.item()]
    ds.VerificationFlag = VERIFICATION_FLAG
    ds.ContentQualification = "RESEARCH"
    ds.SourceInstanceSequence = [sr_items.sop_reference(source)]
    if is_synthetic(source):
        ds.SyntheticData = "YES"


def _set_content(ds: Dataset, document: bytes) -> None:
    """Put the document in, padded to an even length (PS3.5 section 8)."""
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(document)
    ds.EncapsulatedDocument = document + b"\0" * (len(document) % 2)


def _page(basis: Basis, words: Words, identity: OutputIdentity, title: codes.Code) -> Page:
    """Return what the pages say."""
    source = basis.source
    facts = (
        ("Patient", _name_of(source)),
        ("Patient ID", _fact(source, "PatientID")),
        ("Birth date", _date(text_of(source, "PatientBirthDate"))),
        ("Sex", text_of(source, "PatientSex")),
        ("Study date", _date(text_of(source, "StudyDate"))),
        ("Study", _fact(source, "StudyDescription")),
        ("Accession number", _fact(source, "AccessionNumber")),
        ("Study Instance UID", identity.study_instance_uid),
        ("Status", "PRELIMINARY, UNVERIFIED. Research use."),
        ("Drafted", f"{identity.created_at:%Y-%m-%d %H:%M %z}, draft {identity.generation}"),
    )
    sections = [(part.heading, part.sentences) for part in parts_of(words)]
    origin = f"{clean(identity.algorithm_name)} {clean(identity.algorithm_version)}. "
    return Page(
        banner_of(words),
        title.meaning,
        facts,
        sections,
        origin + provenance_line(basis.provenance),
        identity.created_at,
    )


def _name_of(source: Dataset) -> str:
    """Return the patient's name in each of its writings, a line each (PS3.5 section 6.2.1)."""
    groups = [group for group in text_of(source, "PatientName").split("=") if group.strip("^ ")]
    shown = [
        ", ".join(part for part in clean(group).split("^") if part.strip()) for group in groups
    ]
    return "\n".join(shown) or _fact(source, "PatientName")


def _fact(source: Dataset, keyword: str) -> str:
    """Return a text; one that is there and cannot be decoded says so."""
    text = clean(text_of(source, keyword))
    return text or (_UNREADABLE if source.get(keyword) else "")


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text
