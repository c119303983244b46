"""The fourteen findings in codes: what is said, where it lies, on which side.

Literal on purpose. Traps that are kept out, each of them met in public code: 287272002 is called
cardiomegaly in DICOM's CID 12248 and means an enlarged septal foramen; 32381004 is called hilar in
CID 2 and means portal; 111286 (no abnormality) belongs to mammography; 267038008 is oedema of any
part, not of the lung; 111047 is the probability of cancer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from engine.labeler import mentions
from engine.labels.patterns import ABSENT
from node.codes import Code

PRESENCE = Code("705057003", "SCT", "Presence")
PRESENCES: Final[dict[str, Code]] = {
    "present": Code("52101004", "SCT", "Present"),
    "absent": Code("272519000", "SCT", "Absent"),
    "undetermined": Code("373068000", "SCT", "Undetermined"),
}
"""CID 240."""

CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
PERCENT = Code("%", "UCUM", "Percent")

LATERALITIES: Final[dict[str, Code]] = {
    "left": Code("7771000", "SCT", "Left"),
    "right": Code("24028007", "SCT", "Right"),
    "bilateral": Code("51440002", "SCT", "Bilateral"),
}
"""CID 244."""

LUNG = Code("39607008", "SCT", "Lung")
PLEURA = Code("3120008", "SCT", "Pleura")
HEART = Code("80891009", "SCT", "Heart")
MEDIASTINUM = Code("72410000", "SCT", "Mediastinum")
BONE = Code("272673000", "SCT", "Bone")
HILUM = Code("46750007", "SCT", "Hilum of lung")
THORAX = Code("51185008", "SCT", "Thorax")

UNPAIRED: Final = (HEART, MEDIASTINUM)
"""Sites that have no left and right one."""

REGIONS: Final[dict[str, Code]] = {
    "apex": Code("43674008", "SCT", "Apical"),
    "base": Code("57195005", "SCT", "Basal"),
    "upper": Code("264217000", "SCT", "Superior"),
    "lower": Code("261089000", "SCT", "Inferior"),
}
"""CID 2, for the regions that `engine.labels.attributes` tells apart and that have a modifier."""


@dataclass(frozen=True)
class FindingCode:
    """How one finding is said: the code, and the site where it always lies."""

    finding: Code
    site: Code


FINDING_CODES: Final[dict[str, FindingCode]] = {
    "No Finding": FindingCode(Code("17621005", "SCT", "Normal"), THORAX),
    "Enlarged Cardiomediastinum": FindingCode(Code("260376009", "SCT", "Enlarged"), MEDIASTINUM),
    "Cardiomegaly": FindingCode(Code("8186001", "SCT", "Cardiomegaly"), HEART),
    "Lung Lesion": FindingCode(Code("309529002", "SCT", "Lung mass"), LUNG),
    "Lung Opacity": FindingCode(Code("112001", "DCM", "Opacity"), LUNG),
    "Edema": FindingCode(Code("19242006", "SCT", "Pulmonary edema"), LUNG),
    "Consolidation": FindingCode(Code("95436008", "SCT", "Lung consolidation"), LUNG),
    "Pneumonia": FindingCode(Code("233604007", "SCT", "Pneumonia"), LUNG),
    "Atelectasis": FindingCode(Code("46621007", "SCT", "Atelectasis"), LUNG),
    "Pneumothorax": FindingCode(Code("36118008", "SCT", "Pneumothorax"), PLEURA),
    "Pleural Effusion": FindingCode(Code("60046008", "SCT", "Pleural effusion"), PLEURA),
    "Pleural Other": FindingCode(Code("263654008", "SCT", "Abnormal"), PLEURA),
    "Fracture": FindingCode(Code("125605004", "SCT", "Fracture of bone"), BONE),
    "Support Devices": FindingCode(Code("49062001", "SCT", "Device"), THORAX),
}
"""By the names of `engine.findings.FINDINGS`; the two without a code of their own (enlarged
cardiomediastinum, other pleural findings) are said by a quality and their site."""

_DEVICES: Final[tuple[tuple[str, Code], ...]] = (
    (r"endotracheal|et tube", Code("26412008", "SCT", "Endotracheal tube")),
    (r"chest tube|thoracostomy", Code("112173", "DCM", "Chest tube")),
    (
        r"central (?:venous )?(?:line|catheter)|picc|port-?a-?cath|port catheter",
        Code("112174", "DCM", "Central line"),
    ),
    (r"pacemaker|pacer", Code("14106009", "SCT", "Cardiac pacemaker")),
    (
        r"feeding tube|(?:naso|oro)gastric|dobhoff|enteric tube",
        Code("25062003", "SCT", "Feeding tube"),
    ),
    (
        r"(?:prosthetic|artificial) valve|valve (?:replacement|prosthesis)",
        Code("25510005", "SCT", "Heart valve prosthesis"),
    ),
)
"""CID 6138."""


def finding_code(finding: str, text: str) -> Code:
    """Return the code of a finding; of a device the kind that the draft names, if only one.

    A device that the draft says is not there, or not any more, names nothing.
    """
    if finding == "Support Devices":
        there = " ".join(
            mention.sentence
            for mention in mentions(text)
            if mention.finding == finding and mention.state != ABSENT
        )
        named = [code for words, code in _DEVICES if re.search(rf"\b(?:{words})", there, re.I)]
        if len(named) == 1:
            return named[0]
    return FINDING_CODES[finding].finding
