"""What MPPS and IAN say of a study: which images it has, and whether those are all (PS3.4 F, R).

Pure: data sets in, values out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence

from node.errors import NodeError
from node.sop_classes import IMAGE_CLASSES

MPPS_CLASS = "1.2.840.10008.3.1.2.3.3"
"""Modality Performed Procedure Step."""
IAN_CLASS = "1.2.840.10008.5.1.4.33"
"""Instance Availability Notification."""


class StepStatus(StrEnum):
    """The status of a performed procedure step (PS3.3 section C.4.14)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


class AnnouncementInvalid(NodeError):
    """The notification cannot be understood."""


@dataclass(frozen=True)
class Notice:
    """What one message says: the studies, the status, and the images named so far."""

    study_uids: tuple[str, ...]
    status: StepStatus
    images: tuple[str, ...]


def step_created(ds: Dataset) -> Notice:
    """Read the N-CREATE of a performed procedure step (PS3.4 table F.7.2-1).

    Raises
    ------
    AnnouncementInvalid
        It names no study, or does not begin as IN PROGRESS.
    """
    scheduled = _items(ds, "ScheduledStepAttributesSequence")
    study_uids = [str(item.get("StudyInstanceUID") or "") for item in scheduled]
    if not any(study_uids):
        raise AnnouncementInvalid("the step names no study")
    if _status(ds) is not StepStatus.IN_PROGRESS:
        raise AnnouncementInvalid("a step begins IN PROGRESS")
    return Notice(tuple(dict.fromkeys(filter(None, study_uids))), StepStatus.IN_PROGRESS, ())


def step_changed(ds: Dataset) -> Notice:
    """Read the N-SET of a performed procedure step; it may leave the status out.

    Raises
    ------
    AnnouncementInvalid
        Its status is none that there is.
    """
    status = _status(ds) if "PerformedProcedureStepStatus" in ds else StepStatus.IN_PROGRESS
    performed = _items(ds, "PerformedSeriesSequence")
    return Notice((), status, _images(performed, "ReferencedImageSequence"))


def availability(ds: Dataset) -> Notice:
    """Read the N-CREATE of an instance availability notification (PS3.4 table R.3.2-1).

    Raises
    ------
    AnnouncementInvalid
        It names no study.
    """
    study_uid = str(ds.get("StudyInstanceUID") or "")
    if not study_uid:
        raise AnnouncementInvalid("the notification names no study")
    series = _items(ds, "ReferencedSeriesSequence")
    return Notice((study_uid,), StepStatus.COMPLETED, _images(series, "ReferencedSOPSequence"))


def _images(series: Iterable[Dataset], keyword: str) -> tuple[str, ...]:
    """Return the instances named below some series that are images of ours to take."""
    named = (item for one in series for item in _items(one, keyword))
    return tuple(
        dict.fromkeys(
            str(item.get("ReferencedSOPInstanceUID") or "")
            for item in named
            if str(item.get("ReferencedSOPClassUID") or "") in IMAGE_CLASSES
        )
    )


def _status(ds: Dataset) -> StepStatus:
    try:
        return StepStatus(str(ds.get("PerformedProcedureStepStatus") or ""))
    except ValueError:
        raise AnnouncementInvalid("the step has no status that there is") from None


def _items(ds: Dataset, keyword: str) -> Iterator[Dataset]:
    """Yield the items of a sequence; none where it is missing or something else."""
    items = ds.get(keyword)
    if isinstance(items, ItemSequence):
        yield from items
