"""The identity of what the node makes: UIDs and times that a retry repeats exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from node.uids import derive_uid

REPORT: Final = "report"
BASIC_TEXT: Final = "basic_text"
FINDINGS: Final = "findings"
HEATMAP: Final = "heatmap"
COUNTERFACTUAL: Final = "counterfactual"
SYNTHETIC: Final = "synthetic"


@dataclass(frozen=True)
class OutputIdentity:
    """Everything outside the picture and the text that an output object depends on.

    ``created_at`` is the instant at which the study became ready, in the time zone that the
    dates of the object are to be written in; it must be aware. ``previous_bundle_digest`` names
    the model that made the generation before, where it was another one;
    ``has_predecessor`` is False where that generation ended without a report.
    """

    study_instance_uid: str
    generation: int
    bundle_digest: str
    device_uid: str
    algorithm_name: str
    algorithm_version: str
    created_at: datetime
    institution: str = ""
    station_name: str = ""
    previous_bundle_digest: str = ""
    has_predecessor: bool = True

    def __post_init__(self) -> None:
        """Refuse a time whose zone is unknown."""
        if self.created_at.utcoffset() is None:
            raise ValueError("created_at must say its time zone")

    def sop_instance_uid(self, kind: str) -> str:
        """Return the SOP Instance UID of this study's output of one kind."""
        return self._derive("instance", kind)

    def series_instance_uid(self, kind: str) -> str:
        """Return the Series Instance UID: one series an object, as viewers show only the first."""
        return self._derive("series", kind)

    def research_study_uid(self) -> str:
        """Return the study that takes this study's synthetic images, whatever the generation."""
        return derive_uid("research study", self.study_instance_uid)

    def predecessor(self) -> OutputIdentity | None:
        """Return the identity of the generation before, or None where there was no report."""
        if self.generation <= 1 or not self.has_predecessor:
            return None
        digest = self.previous_bundle_digest or self.bundle_digest
        return replace(self, generation=self.generation - 1, bundle_digest=digest)

    def _derive(self, level: str, kind: str) -> str:
        return derive_uid(
            level, self.study_instance_uid, str(self.generation), self.bundle_digest, kind
        )
