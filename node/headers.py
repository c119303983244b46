"""The headers of a study's images, read from the spool: what films and rules are chosen by."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from node.attributes import Attributes
from node.errors import DraftRefused
from node.records import StoredInstance
from node.rules import InstanceFacts
from node.spool import Spool


def read_facts(spool: Spool, instances: Sequence[StoredInstance]) -> list[InstanceFacts]:
    """Return what the header of each image says.

    Raises
    ------
    DraftRefused
        A stored image cannot be read back.
    """
    return [_read(spool, instance) for instance in instances]


def _read(spool: Spool, instance: StoredInstance) -> InstanceFacts:
    path = spool.path(instance.path)
    try:
        ds = dcmread(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise DraftRefused("a stored image cannot be read back") from error
    return InstanceFacts(
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        series_instance_uid=instance.series_uid,
        image_type=tuple(map(str, ds.get("ImageType") or ())),
        rows=int(ds.get("Rows") or 0),
        columns=int(ds.get("Columns") or 0),
        path=path,
        **texts_of(ds),
    )


def texts_of(ds: Attributes) -> dict[str, str]:
    """Return the texts of a header that films and rules are chosen by."""
    keywords = {
        "modality": "Modality",
        "view_position": "ViewPosition",
        "body_part": "BodyPartExamined",
        "institution": "InstitutionName",
        "station": "StationName",
    }
    return {name: str(ds.get(keyword) or "") for name, keyword in keywords.items()}
