"""The draft report as a DICOM object: Enhanced SR, TID 2000, and nothing that looks signed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage

from engine.results import DraftReport
from node import codes, sr_items
from node.authored import (
    contributing_equipment,
    new_object,
    provenance_line,
    set_equipment,
    set_times,
)
from node.config_outputs import ReportSettings
from node.copied import copy_items, copy_patient_and_study, own_text, text_of
from node.outputs import REPORT, OutputIdentity
from node.uids import MANUFACTURER

Verification = Literal["UNVERIFIED"]
"""The only verification flag there is a way to write: a person's signature is a new object."""

VERIFICATION_FLAG: Final[Verification] = "UNVERIFIED"
BANNER: Final = "AI DRAFT - NOT VERIFIED. Written by software; no radiologist has read it."

_CODED = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_SOP = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
_STANDARD_STORAGE = "1.2.840.10008.5.1.4.1.1."
_MAX_SH = 16
_REQUEST_TYPE_2 = (
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)


def build_draft_sr(
    source: Dataset,
    images: Sequence[Dataset],
    draft: DraftReport,
    identity: OutputIdentity,
    settings: ReportSettings,
) -> Dataset:
    """Return the draft as an Enhanced SR object, ready to be written.

    Parameters
    ----------
    source
        The instance whose patient and study attributes are copied by value.
    images
        The instances that the draft was made from, the source normally among them.

    References
    ----------
    PS3.3 A.35.2 (Enhanced SR IOD), C.17 (SR modules), PS3.16 TID 2000.
    """
    ds = new_object(EnhancedSRStorage, identity.sop_instance_uid(REPORT))
    copy_patient_and_study(source, ds)
    ds.StudyInstanceUID = identity.study_instance_uid
    set_equipment(ds, identity)
    set_times(ds, identity.created_at, text_of(source, "TimezoneOffsetFromUTC"))
    _set_series(ds, source, identity, settings)
    _set_document(ds, source, draft, identity, settings)
    _set_relations(ds, source, images, identity)
    _set_content(ds, images, draft, identity, settings)
    return ds


def _set_series(
    ds: Dataset, source: Dataset, identity: OutputIdentity, settings: ReportSettings
) -> None:
    """Write the SR Document Series module (PS3.3 C.17.1)."""
    ds.Modality = "SR"
    ds.SeriesInstanceUID = identity.series_instance_uid(REPORT)
    ds.SeriesNumber = settings.series_number
    ds.SeriesDescription = own_text(ds, settings.series_description)
    ds.ReferencedPerformedProcedureStepSequence = copy_items(
        source, "ReferencedPerformedProcedureStepSequence", _SOP
    )[:1]


def _set_document(
    ds: Dataset,
    source: Dataset,
    draft: DraftReport,
    identity: OutputIdentity,
    settings: ReportSettings,
) -> None:
    """Write the SR Document General module: what the document is, and that it is a draft."""
    ds.InstanceNumber = identity.generation
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.CompletionFlag = settings.completion_flag
    ds.CompletionFlagDescription = own_text(ds, settings.completion_flag_description)
    ds.VerificationFlag = VERIFICATION_FLAG
    ds.ContentQualification = "RESEARCH"
    ds.AuthorObserverSequence = [_author(ds, identity)]
    equipment = contributing_equipment(
        identity, codes.PROCESSING_EQUIPMENT, provenance_line(draft.provenance)
    )
    ds.ContributingEquipmentSequence = [equipment]
    if settings.synthetic_data_mark or source.get("SyntheticData") == "YES":
        ds.SyntheticData = "YES"


def _author(ds: Dataset, identity: OutputIdentity) -> Dataset:
    """Return the author: a device, not a person (PS3.3 table C.17-3b)."""
    author = Dataset()
    author.ObserverType = "DEV"
    author.Manufacturer = MANUFACTURER
    author.ManufacturerModelName = own_text(ds, identity.algorithm_name)[:64]
    author.DeviceUID = identity.device_uid
    author.StationName = own_text(ds, identity.station_name)
    author.InstitutionName = own_text(ds, identity.institution)
    author.InstitutionCodeSequence = []
    return author


def _set_relations(
    ds: Dataset, source: Dataset, images: Sequence[Dataset], identity: OutputIdentity
) -> None:
    """Write what the document is about and what it replaces (PS3.3 C.17.2)."""
    ds.PerformedProcedureCodeSequence = copy_items(source, "ProcedureCodeSequence", _CODED)
    requests = _requests(source, identity)
    if requests:
        ds.ReferencedRequestSequence = requests
    if images:
        ds.CurrentRequestedProcedureEvidenceSequence = _evidence(images)
    before = identity.predecessor()
    if before is not None:
        ds.PredecessorDocumentsSequence = [_predecessor(before)]


def _requests(source: Dataset, identity: OutputIdentity) -> list[Dataset]:
    """Return the requests that the source answers, if it names any (PS3.3 C.17.2)."""
    items = copy_items(source, "RequestAttributesSequence", ("RequestedProcedureID",))
    if not items and not text_of(source, "AccessionNumber"):
        return []
    return [_request(source, item, identity) for item in items or [Dataset()]]


def _request(source: Dataset, attributes: Dataset, identity: OutputIdentity) -> Dataset:
    """Return one Referenced Request; what the source does not say stays empty.

    An accession number longer than its VR allows is kept as Filler Order Number, which holds 64
    characters and is the same number seen from the order (PS3.3 C.4.13).
    """
    request = Dataset()
    request.StudyInstanceUID = identity.study_instance_uid
    request.ReferencedStudySequence = []
    request.RequestedProcedureCodeSequence = [
        item
        for item in attributes.get("RequestedProcedureCodeSequence", [])
        if all(item.get(name) for name in _CODED)
    ]
    for keyword in _REQUEST_TYPE_2:
        own = attributes.get(keyword)
        setattr(request, keyword, text_of(source, keyword) if own is None else own)
    accession = attributes.get("AccessionNumber") or text_of(source, "AccessionNumber")
    fits = len(accession) <= _MAX_SH
    request.AccessionNumber = accession if fits else ""
    if not fits and not request.FillerOrderNumberImagingServiceRequest:
        request.FillerOrderNumberImagingServiceRequest = accession[:64]
    return request


def _evidence(images: Iterable[Dataset]) -> list[Dataset]:
    """Return the images grouped by study and series, each once (PS3.3 C.17.2.3).

    A viewer refuses a report whose evidence is missing or names an instance twice.
    """
    grouped: dict[str, dict[str, dict[str, Dataset]]] = {}
    for image in images:
        series = grouped.setdefault(image.StudyInstanceUID, {})
        instances = series.setdefault(image.SeriesInstanceUID, {})
        instances.setdefault(image.SOPInstanceUID, sr_items.sop_reference(image))
    return [_evidence_item(study, series) for study, series in grouped.items()]


def _evidence_item(study_uid: str, series: dict[str, dict[str, Dataset]]) -> Dataset:
    """Return the Hierarchical SOP Instance Reference of one study (PS3.3 C.17.2.1)."""
    item = Dataset()
    item.StudyInstanceUID = study_uid
    item.ReferencedSeriesSequence = []
    for series_uid, instances in series.items():
        part = Dataset()
        part.SeriesInstanceUID = series_uid
        part.ReferencedSOPSequence = list(instances.values())
        item.ReferencedSeriesSequence.append(part)
    return item


def _predecessor(before: OutputIdentity) -> Dataset:
    """Return the reference to the draft that this one replaces."""
    document = Dataset()
    document.SOPClassUID = EnhancedSRStorage
    document.SOPInstanceUID = before.sop_instance_uid(REPORT)
    reference = {before.series_instance_uid(REPORT): {"": sr_items.sop_reference(document)}}
    return _evidence_item(before.study_instance_uid, reference)


def _set_content(
    ds: Dataset,
    images: Sequence[Dataset],
    draft: DraftReport,
    identity: OutputIdentity,
    settings: ReportSettings,
) -> None:
    """Write the content tree (PS3.16 TID 2000)."""
    sections = (
        (codes.FINDINGS, codes.FINDING, draft.findings),
        (codes.IMPRESSIONS, codes.IMPRESSION, draft.impression),
    )
    root = sr_items.container(
        "CONTAINS",
        codes.TITLES[settings.title],
        [
            sr_items.code("HAS CONCEPT MOD", codes.LANGUAGE, codes.ENGLISH),
            *_observer(ds, identity),
            sr_items.code("HAS CONCEPT MOD", codes.PROCEDURE_REPORTED, codes.IMAGING_PROCEDURE),
            *(
                sr_items.container("CONTAINS", heading, _sentences(ds, name, sentences, images))
                for heading, name, sentences in sections
            ),
        ],
    )
    del root.RelationshipType
    root.ContentTemplateSequence = [_template()]
    ds.update(root)


def _template() -> Dataset:
    """Return the name of the template (PS3.3 C.18.8.1.2)."""
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "2000"
    return template


def _observer(ds: Dataset, identity: OutputIdentity) -> list[Dataset]:
    """Return the observation context: a device observer (PS3.16 TID 1004)."""
    place = own_text(ds, " ".join(filter(None, (identity.institution, identity.station_name))))
    named = (
        (codes.DEVICE_OBSERVER_NAME, own_text(ds, identity.algorithm_name)),
        (codes.DEVICE_OBSERVER_MANUFACTURER, MANUFACTURER),
        (codes.DEVICE_OBSERVER_MODEL_NAME, own_text(ds, identity.algorithm_version)),
        (codes.DEVICE_OBSERVER_SERIAL_NUMBER, identity.bundle_digest[:16]),
        (codes.DEVICE_OBSERVER_LOCATION, place),
    )
    return [
        sr_items.code("HAS OBS CONTEXT", codes.OBSERVER_TYPE, codes.DEVICE),
        sr_items.uid_reference("HAS OBS CONTEXT", codes.DEVICE_OBSERVER_UID, identity.device_uid),
        *(sr_items.text("HAS OBS CONTEXT", name, value) for name, value in named if value),
    ]


def _sentences(
    ds: Dataset, name: codes.Code, sentences: Iterable[str], images: Sequence[Dataset]
) -> list[Dataset]:
    """Return a section: the warning first, then one sentence an item with its images."""
    written = (own_text(ds, sentence) for sentence in sentences)
    return [
        sr_items.text("CONTAINS", name, BANNER),
        *(
            sr_items.text("CONTAINS", name, sentence, _sources(images))
            for sentence in written
            if sentence
        ),
    ]


def _sources(images: Sequence[Dataset]) -> list[Dataset]:
    """Return what a sentence was inferred from; each item named, as viewers fall over others.

    An instance of a private class stays evidence: no reader would take it for an image.
    """
    return [sr_items.image("INFERRED FROM", codes.SOURCE_OF_MEASUREMENT, image) for image in images]
