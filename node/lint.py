"""Reports on disk, held against the rules of viewers."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from node.errors import NodeError
from node.viewer_rules import broken_rules


class NotAReport(NodeError):
    """The file is no DICOM object that can be read."""

    default_hint = "name a structured report, as the node sends it"


def broken_in(path: Path) -> tuple[str, ...]:
    """Return the rules that a report in a file breaks.

    Raises
    ------
    NotAReport
        There is no such file, or it is no DICOM object.
    """
    try:
        return broken_rules(dcmread(path))
    except (OSError, InvalidDicomError) as error:
        raise NotAReport(f"cannot read {path}") from error
