"""Why a film was asked for, as its header says: the one reading of it. Pure.

The reason has attributes of its own, in the header of the image and in the items of Request
Attributes Sequence (PS3.3 C.7.6.10, 10.6). A description of the study or of the procedure step
names what was done far more often than why; it counts where it speaks of a complaint or a question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset

from node.copied import clean, text_of
from node.redact import without_identity

REASONS: Final = ("ReasonForTheRequestedProcedure", "ReasonForStudy", "ReasonForVisit")
REASON_CODES: Final = ("ReasonForRequestedProcedureCodeSequence",)
DESCRIPTIONS: Final = ("StudyDescription", "PerformedProcedureStepDescription")
NAMES: Final = (
    "PatientName",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "ResponsiblePerson",
    "ReferringPhysicianName",
    "RequestingPhysician",
    "PhysiciansOfRecord",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
)
IDENTIFIERS: Final = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
    "RequestedProcedureID",
    "ScheduledProcedureStepID",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "PatientTelephoneNumbers",
)

_SAYS_WHY = re.compile(
    r"\?|\b(?:r/o|rule out|eval\w*|assess\w*|exclude|suspect\w*|concern|follow[- ]?up|f/u"
    r"|history of|h/o|hx|s/p|status post|pre-?op\w*|post-?op\w*|pain|cough|fever|dyspn\w+"
    r"|short(?:ness)? of breath|sob|hypoxi\w+|trauma|fall|wheez\w+|weakness|syncope|screening)\b",
    re.IGNORECASE,
)


def indication_of(source: Dataset) -> tuple[str, ...]:
    """Return why the film was asked for, each reason once, as the header has it."""
    return tuple(dict.fromkeys(text for text in _stated(source) if text))


def prompted_indication(source: Dataset) -> str:
    """Return the indication as a model may be told it: nothing in it says whose the film is."""
    return anonymous(". ".join(text.rstrip(". ") for text in indication_of(source)), source)


def anonymous(text: str, source: Dataset) -> str:
    """Return a text on a study without the names and numbers of its header, and without dates."""
    places = _places(source)
    names = [text_of(place, keyword) for place in places for keyword in NAMES]
    numbers = [text_of(place, keyword) for place in places for keyword in IDENTIFIERS]
    each = (one for number in numbers for one in number.split("\\"))
    return without_identity(clean(text), names, each)


def _places(source: Dataset) -> list[Dataset]:
    return [source, *(source.get("RequestAttributesSequence") or ())]


def _stated(source: Dataset) -> Iterator[str]:
    for place in _places(source):
        yield from (text_of(place, keyword) for keyword in REASONS)
        for keyword in REASON_CODES:
            yield from (text_of(item, "CodeMeaning") for item in place.get(keyword) or ())
    described = (text_of(source, keyword) for keyword in DESCRIPTIONS)
    yield from (text for text in described if _SAYS_WHY.search(text))
