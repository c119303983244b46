"""The attributes that every object of ours carries: file meta, times, equipment, authorship."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from engine.results import Provenance
from node.attributes import Attributes
from node.codes import Code
from node.copied import clean, own_text
from node.outputs import OutputIdentity
from node.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    MANUFACTURER,
    MODEL_NAME,
)

_OFFSET = re.compile(r"[+-](?:0\d|1[0-4])[0-5]\d")


def new_object(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return an empty object with its File Meta Information (PS3.10 7.1)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.FileMetaInformationVersion = b"\x00\x01"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = UID(sop_class_uid)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID(sop_instance_uid)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return ds


def set_times(ds: Dataset, created_at: datetime, timezone: str = "") -> None:
    """Write when the object was made, in the time zone that its other dates are in.

    ``timezone`` is the source's Timezone Offset From UTC; without it the zone of `created_at`
    counts. The offset speaks for all dates of the object, the copied ones included (PS3.3 C.12.1).
    """
    local = created_at.astimezone(_zone(timezone)) if _OFFSET.fullmatch(timezone) else created_at
    date, time = local.strftime("%Y%m%d"), local.strftime("%H%M%S.%f")
    ds.TimezoneOffsetFromUTC = local.strftime("%z")[:5]
    for keyword in ("InstanceCreation", "Series", "Content"):
        setattr(ds, f"{keyword}Date", date)
        setattr(ds, f"{keyword}Time", time)


def _zone(offset: str) -> tzinfo | None:
    """Return the zone of an offset such as +0100."""
    return datetime.strptime(offset, "%z").tzinfo


def set_equipment(ds: Dataset, identity: OutputIdentity) -> None:
    """Write the General Equipment module: this node (PS3.3 C.7.5.1)."""
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MODEL_NAME
    ds.SoftwareVersions = [IMPLEMENTATION_VERSION_NAME, clean(identity.algorithm_version)]
    ds.DeviceSerialNumber = identity.bundle_digest[:16] or "unknown"
    ds.DeviceUID = identity.device_uid
    if identity.institution:
        ds.InstitutionName = own_text(ds, identity.institution)
    if identity.station_name:
        ds.StationName = own_text(ds, identity.station_name)


def contributing_equipment(identity: OutputIdentity, purpose: Code, description: str) -> Dataset:
    """Return the item that names the algorithm (PS3.3 C.12.1.1.5, IHE AIR: one an algorithm)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [purpose.item()]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = clean(identity.algorithm_name)[:64]
    item.SoftwareVersions = [clean(identity.algorithm_version), IMPLEMENTATION_VERSION_NAME]
    item.DeviceUID = identity.device_uid
    item.ContributionDateTime = identity.created_at.strftime("%Y%m%d%H%M%S.%f%z")[:26]
    item.ContributionDescription = clean(description)[:1024]
    return item


def equipment_purposes(ds: Attributes) -> frozenset[tuple[str, str]]:
    """Return value and scheme of every purpose that contributing equipment is named for."""
    return frozenset(
        (str(purpose.get("CodeValue", "")), str(purpose.get("CodingSchemeDesignator", "")))
        for equipment in ds.get("ContributingEquipmentSequence") or ()
        for purpose in equipment.get("PurposeOfReferenceCodeSequence") or ()
    )


def provenance_line(provenance: Provenance) -> str:
    """Return where an answer came from, without what differs from one run to the next."""
    seed = "greedy" if provenance.seed is None else f"seed {provenance.seed}"
    parts = "" if provenance.inputs in ((), ("frontal",)) else f", given {_listed(provenance)}"
    return (
        f"bundle {provenance.bundle_name} {provenance.bundle_version}, "
        f"sha256 {provenance.bundle_digest}, prompt {provenance.prompt_version}, "
        f"backend {provenance.backend}, {seed}{parts}"
    )


def _listed(provenance: Provenance) -> str:
    """Return the parts of the study that the model was given."""
    return " and ".join(part.replace("_", " ") for part in provenance.inputs)
