"""What every structured report of ours is before it says anything: whose, by what, and a draft."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydicom.dataset import Dataset

from engine.results import Provenance
from node import codes, sr_items
from node.authored import (
    contributing_equipment,
    new_object,
    provenance_line,
    set_equipment,
    set_times,
)
from node.copied import copy_items, copy_patient_and_study, own_text, text_of
from node.outputs import OutputIdentity
from node.rules import is_synthetic
from node.uids import MANUFACTURER

Verification = Literal["UNVERIFIED"]
"""The only verification flag there is a way to write: a person's signature is a new object."""

VERIFICATION_FLAG: Final[Verification] = "UNVERIFIED"
BANNER: Final = "AI DRAFT - NOT VERIFIED. Written by software; no radiologist has read it."

_CODED = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_SOP = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
_MAX_SH = 16
_REQUEST_TYPE_2 = (
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)


@dataclass(frozen=True)
class DocumentStyle:
    """What the site chose for one kind of report."""

    kind: str
    sop_class_uid: str
    series_number: int
    series_description: str
    completion_flag: Literal["PARTIAL", "COMPLETE"]
    completion_flag_description: str
    synthetic_data_mark: bool = False


@dataclass(frozen=True)
class Basis:
    """What a report rests on.

    ``source`` is the instance whose patient and study are copied by value; ``images`` are those
    that the draft was made from; ``other`` are references to earlier films that were found.
    """

    source: Dataset
    images: Sequence[Dataset]
    provenance: Provenance
    other: Sequence[Dataset] = ()


def new_document(basis: Basis, identity: OutputIdentity, style: DocumentStyle) -> Dataset:
    """Return a report without its content tree (PS3.3 C.17.1, C.17.2)."""
    source = basis.source
    ds = new_object(style.sop_class_uid, identity.sop_instance_uid(style.kind))
    copy_patient_and_study(source, ds)
    ds.StudyInstanceUID = identity.study_instance_uid
    set_equipment(ds, identity)
    set_times(ds, identity.created_at, text_of(source, "TimezoneOffsetFromUTC"))
    _set_series(ds, source, identity, style)
    _set_document(ds, basis, identity, style)
    _set_relations(ds, basis, identity, style)
    return ds


def _set_series(
    ds: Dataset, source: Dataset, identity: OutputIdentity, style: DocumentStyle
) -> None:
    """Write the SR Document Series module (PS3.3 C.17.1)."""
    ds.Modality = "SR"
    ds.SeriesInstanceUID = identity.series_instance_uid(style.kind)
    ds.SeriesNumber = style.series_number
    ds.SeriesDescription = own_text(ds, style.series_description)
    ds.ReferencedPerformedProcedureStepSequence = copy_items(
        source, "ReferencedPerformedProcedureStepSequence", _SOP
    )[:1]


def _set_document(
    ds: Dataset, basis: Basis, identity: OutputIdentity, style: DocumentStyle
) -> None:
    """Write the SR Document General module: what the document is, and that it is a draft."""
    ds.InstanceNumber = identity.generation
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.CompletionFlag = style.completion_flag
    ds.CompletionFlagDescription = own_text(ds, style.completion_flag_description)
    ds.VerificationFlag = VERIFICATION_FLAG
    ds.ContentQualification = "RESEARCH"
    ds.AuthorObserverSequence = [_author(ds, identity)]
    equipment = contributing_equipment(
        identity, codes.PROCESSING_EQUIPMENT, provenance_line(basis.provenance)
    )
    ds.ContributingEquipmentSequence = [equipment]
    if style.synthetic_data_mark or is_synthetic(basis.source):
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
    ds: Dataset, basis: Basis, identity: OutputIdentity, style: DocumentStyle
) -> None:
    """Write what the document is about, what it knew of and what it replaces (PS3.3 C.17.2)."""
    source = basis.source
    ds.PerformedProcedureCodeSequence = copy_items(source, "ProcedureCodeSequence", _CODED)
    requests = _requests(source, identity)
    if requests:
        ds.ReferencedRequestSequence = requests
    if basis.images:
        ds.CurrentRequestedProcedureEvidenceSequence = _evidence(basis.images)
    if basis.other:
        ds.PertinentOtherEvidenceSequence = _evidence(basis.other)
    before = identity.predecessor()
    if before is not None:
        ds.PredecessorDocumentsSequence = [_predecessor(before, style)]


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


def _predecessor(before: OutputIdentity, style: DocumentStyle) -> Dataset:
    """Return the reference to the draft that this one replaces."""
    document = Dataset()
    document.SOPClassUID = style.sop_class_uid
    document.SOPInstanceUID = before.sop_instance_uid(style.kind)
    reference = {before.series_instance_uid(style.kind): {"": sr_items.sop_reference(document)}}
    return _evidence_item(before.study_instance_uid, reference)


def template(identifier: str) -> Dataset:
    """Return the name of a template of PS3.16 (PS3.3 C.18.8.1.2)."""
    named = Dataset()
    named.MappingResource = "DCMR"
    named.TemplateIdentifier = identifier
    return named
