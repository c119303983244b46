"""The findings as a measurement report for machines: TID 1500, all fourteen, absent ones included.

The content comes from highdicom's templates; header and status are those of every report of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom import sr
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from engine.assessment import Assessment, disagreement
from node import codes
from node.codes import Code
from node.config_outputs import FindingsSettings
from node.copied import own_text
from node.finding_codes import (
    CERTAINTY,
    FINDING_CODES,
    HILUM,
    LATERALITIES,
    LUNG,
    PERCENT,
    PRESENCE,
    PRESENCES,
    REGIONS,
    UNPAIRED,
    finding_code,
)
from node.outputs import FINDINGS, OutputIdentity
from node.sr_document import BANNER, Basis, DocumentStyle, new_document
from node.sr_review import restate
from node.uids import MANUFACTURER, derive_uid

_FIRST = "No Finding"
"""The group that opens the report carries the warning for all of them."""

PROFILES = {"comprehensive": ComprehensiveSRStorage, "air": Comprehensive3DSRStorage}


def build_findings_sr(
    basis: Basis,
    assessments: Sequence[Assessment],
    text: str,
    identity: OutputIdentity,
    settings: FindingsSettings,
    *,
    is_edited: bool = False,
) -> Dataset:
    """Return the assessments as a Comprehensive SR object (profile `air`: Comprehensive 3D).

    Parameters
    ----------
    is_edited
        The text is no longer the software's: the warning says so.

    References
    ----------
    PS3.3 A.35.3, A.35.13; PS3.16 TID 1500, 1501, 4019.
    """
    style = DocumentStyle(
        FINDINGS,
        PROFILES[settings.profile],
        settings.series_number,
        settings.series_description,
        settings.completion_flag,
        settings.completion_flag_description,
    )
    ds = new_document(basis, identity, style)
    report = sr.MeasurementReport(
        observation_context=_context(ds, identity),
        procedure_reported=_coded(codes.IMAGING_PROCEDURE),
        imaging_measurements=[
            _group(ds, basis, assessment, text, identity) for assessment in assessments
        ],
    )
    ds.update(report[0])
    if is_edited:
        restate(ds)
    return ds


def _context(ds: Dataset, identity: OutputIdentity) -> sr.ObservationContext:
    """Return who observed: the model, a device (PS3.16 TID 1004)."""
    place = " ".join(filter(None, (identity.institution, identity.station_name)))
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=identity.device_uid,
        name=own_text(ds, identity.algorithm_name),
        manufacturer_name=MANUFACTURER,
        model_name=own_text(ds, identity.algorithm_version),
        serial_number=identity.bundle_digest[:16],
        physical_location=own_text(ds, place) or None,
    )
    observer = sr.ObserverContext(_coded(codes.DEVICE), device)
    return sr.ObservationContext(observer_device_context=observer)


def _group(
    ds: Dataset, basis: Basis, assessment: Assessment, text: str, identity: OutputIdentity
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return one finding: what, where, whether, how sure and by what (PS3.16 TID 1501)."""
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=_tracking_uid(assessment, identity), identifier=assessment.finding
        ),
        finding_type=_coded(_code_of(assessment, text)),
        algorithm_id=_algorithm(ds, basis, identity),
        finding_sites=list(_sites(assessment)),
        measurements=list(_certainty(assessment)),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(_coded(PRESENCE), _coded(PRESENCES[assessment.presence]))
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)
            for image in basis.images
        ],
    )
    group[0].ContentSequence.extend(_comments(ds, assessment))
    return group


def _code_of(assessment: Assessment, text: str) -> Code:
    """Return what a group is about: a device of some kind is present, none of any is absent."""
    return finding_code(assessment.finding, "" if assessment.presence == "absent" else text)


def _tracking_uid(assessment: Assessment, identity: OutputIdentity) -> str:
    """Return the UID of a finding in a study: the same for every generation of its draft."""
    return derive_uid("finding", identity.study_instance_uid, assessment.finding)


def _algorithm(ds: Dataset, basis: Basis, identity: OutputIdentity) -> sr.AlgorithmIdentification:
    """Return what found it, so exactly that it can be found again (PS3.16 TID 4019)."""
    made = basis.provenance
    seed = "none, greedy" if made.seed is None else str(made.seed)
    return sr.AlgorithmIdentification(
        name=own_text(ds, identity.algorithm_name),
        version=own_text(ds, identity.algorithm_version),
        parameters=[
            f"bundle sha256 {made.bundle_digest}",
            f"prompt version {made.prompt_version}",
            f"seed {seed}",
            f"backend {made.backend}",
        ],
        family=_coded(codes.ARTIFICIAL_INTELLIGENCE),
    )


def _sites(assessment: Assessment) -> Iterator[sr.FindingSite]:
    """Yield where the finding lies: its site, and side and region where the draft says them.

    Of what the classifier calls absent the site alone: absent on the side that the draft names
    would leave the other side open.
    """
    site = FINDING_CODES[assessment.finding].site
    if assessment.presence == "absent":
        yield sr.FindingSite(anatomic_location=_coded(site))
        return
    side = None if site in UNPAIRED else LATERALITIES.get(assessment.side or "")
    places = [region for region in assessment.regions if region in REGIONS]
    if site == LUNG and "perihilar" in assessment.regions:
        site = HILUM
    for place in places or [""]:
        yield sr.FindingSite(
            anatomic_location=_coded(site),
            laterality=side and _coded(side),
            topographical_modifier=_coded(REGIONS[place]) if place else None,
        )


def _certainty(assessment: Assessment) -> Iterator[sr.Measurement]:
    """Yield the calibrated probability in percent, where there is one."""
    if assessment.certainty is not None:
        percent = round(100 * assessment.certainty, 1)
        yield sr.Measurement(name=_coded(CERTAINTY), value=percent, unit=_coded(PERCENT))


def _comments(ds: Dataset, assessment: Assessment) -> Iterator[Dataset]:
    """Yield what a reader must know of this finding beside its codes."""
    unproven = "The classifier was not shown to tell this finding; the draft alone speaks of it."
    sure = "Certainty is that of the finding being there, not of its absence."
    notes = (
        BANNER if assessment.finding == _FIRST else "",
        f"Drafted text: {assessment.text}.",
        sure if assessment.presence == "absent" else "",
        disagreement(assessment),
        unproven if assessment.certainty is None else "",
    )
    for note in filter(None, notes):
        yield sr.TextContentItem(
            name=_coded(codes.COMMENT),
            value=own_text(ds, note),
            relationship_type=sr.RelationshipTypeValues.CONTAINS,
        )


def _coded(code: Code) -> CodedConcept:
    return CodedConcept(code.value, code.scheme, code.meaning)
