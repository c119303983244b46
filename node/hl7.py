"""The draft as an HL7 version 2 message: ORU^R01, and nothing in it that looks verified. Pure.

The result status is R, "results stored; not yet verified" (tables 0123 and 0085), and there is no
way to write another. P would be wrong: it says that a person has verified an early result, and
dcm4chee files it as VERIFIED. The names in OBX-3 are those that dcm4chee and IHE RAD-28 read.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, Literal

from pydicom.dataset import Dataset

from node.authored import provenance_line
from node.codes import TITLES
from node.config_outputs import Hl7Settings
from node.copied import copy_items, text_of
from node.drafted_text import banner_of, parts_of
from node.made import Made
from node.outputs import REPORT, OutputIdentity
from node.sr_document import Basis
from node.sr_narrative import Words

ResultStatus = Literal["R"]
RESULT_STATUS: Final[ResultStatus] = "R"
KIND: Final = "hl7"
VERSION: Final = "2.5.1"

_SEGMENT_END: Final = "\r"
_ESCAPES: Final = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_SPECIAL: Final = re.compile(r"[\\|^&~]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_BREAK: Final = re.compile(r"\r\n|[\r\n\u2028\u2029]")
_CODED: Final = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_HEADINGS: Final = {"Indication": "History", "Impression": "Conclusions"}
"""How dcm4chee and RAD-28 recognise a section: by the first word of its text."""


def build_oru(
    basis: Basis,
    words: Words,
    identity: OutputIdentity,
    settings: Hl7Settings,
    title: str,
) -> Made:
    """Return the draft as a message.

    Parameters
    ----------
    basis
        The source names patient and order.
    title
        LOINC code of the kind of report.

    References
    ----------
    HL7 2.5.1 chapters 2 (control) and 7 (observation reporting); IHE RAD TF-2 4.28.
    """
    uid, source = identity.sop_instance_uid(KIND), basis.source
    segments = (
        _msh(uid, identity, settings),
        _pid(source),
        ("ORC", "RE", *_orders(source)),
        _obr(source, identity, title),
        *_observations(basis, words, identity),
    )
    text = "".join("|".join(_trimmed(fields)) + _SEGMENT_END for fields in segments)
    return Made(uid, "", text.encode("utf-8"), ".hl7")


def escape(text: str) -> str:
    """Return text as one component of a field: delimiters escaped, on one line (section 2.7)."""
    line = _CONTROL.sub(" ", _BREAK.sub(" ", text)).strip()
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], line)


def escape_lines(text: str) -> str:
    """Return text of several lines as one field of type TX: a line break is `.br`."""
    return "\\.br\\".join(escape(line) for line in _BREAK.split(text))


def control_id(uid: str) -> str:
    """Return MSH-10, 20 characters that belong to a message: a retry is the same message."""
    return base64.b32encode(hashlib.sha256(uid.encode()).digest()).decode()[:20]


def _msh(uid: str, identity: OutputIdentity, settings: Hl7Settings) -> tuple[str, ...]:
    """Return the message header; MSH-18 says UTF-8 (table 0211)."""
    ends = (
        settings.sending_application,
        settings.sending_facility or identity.institution,
        settings.receiving_application,
        settings.receiving_facility,
    )
    at = _timestamp(identity.created_at)
    kind = ("", "ORU^R01^ORU_R01", control_id(uid), "P", VERSION)
    return ("MSH", "^~\\&", *map(escape, ends), at, *kind, *[""] * 5, "UNICODE UTF-8")


def _timestamp(at: datetime) -> str:
    return f"{at:%Y%m%d%H%M%S}.{at.microsecond // 1000:03d}{at:%z}"[:23]


def _pid(source: Dataset) -> tuple[str, ...]:
    """Return the patient: identifier with its issuer, names, birth date, sex."""
    issuer = escape(text_of(source, "IssuerOfPatientID"))
    number = escape(text_of(source, "PatientID"))
    birth, sex = text_of(source, "PatientBirthDate"), text_of(source, "PatientSex")
    return (
        "PID",
        "1",
        "",
        f"{number}^^^{issuer}^PI" if issuer else f"{number}^^^^PI",
        "",
        _person_name(text_of(source, "PatientName")),
        "",
        birth if re.fullmatch(r"\d{8}", birth) else "",
        sex if sex in ("M", "F", "O") else "",
    )


def _person_name(name: str) -> str:
    """Return a name of PS3.5 6.2.1 as XPN: a repetition for each of its writings.

    Prefix and suffix change places; the eighth component says which writing it is (table 0465).
    A name that cannot be decoded is left out, never changed: the identifier stands beside it.
    """
    repetitions = []
    for letters, group in zip("AIP", name.split("="), strict=False):
        family, given, middle, prefix, suffix = (*group.split("^"), *[""] * 5)[:5]
        parts = [escape(part) for part in (family, given, middle, suffix, prefix)]
        if any(parts):
            repetitions.append("^".join((*parts, "", "L", letters)))
    return "~".join(repetitions)


def _orders(source: Dataset) -> tuple[str, str]:
    """Return placer and filler order number; without a filler's the accession number is it."""
    request = _request(source)
    placer, filler = (
        str(request.get(name) or "") or text_of(source, name)
        for name in (
            "PlacerOrderNumberImagingServiceRequest",
            "FillerOrderNumberImagingServiceRequest",
        )
    )
    return escape(placer), escape(filler or text_of(source, "AccessionNumber"))


def _request(source: Dataset) -> Dataset:
    """Return the first request that the source answers, if it names one."""
    items = copy_items(source, "RequestAttributesSequence", ("RequestedProcedureID",))
    return items[0] if items else Dataset()


def _obr(source: Dataset, identity: OutputIdentity, title: str) -> tuple[str, ...]:
    """Return the order that the results belong to; OBR-25 says that nobody has verified them."""
    placer, filler = _orders(source)
    request = _request(source)
    procedure_id = str(request.get("RequestedProcedureID") or "") or text_of(
        source, "RequestedProcedureID"
    )
    accession = text_of(source, "AccessionNumber")
    known = {
        1: "1",
        2: placer,
        3: filler,
        4: _procedure(source, request, title),
        7: _observed_at(source, identity),
        18: escape(accession),
        19: escape(procedure_id),
        22: _timestamp(identity.created_at),
        24: "RAD",
        25: RESULT_STATUS,
    }
    return ("OBR", *(known.get(number, "") for number in range(1, 26)))


def _procedure(source: Dataset, request: Dataset, title: str) -> str:
    """Return what was done as CE: its code, else the kind of report."""
    asked = [
        item
        for item in request.get("RequestedProcedureCodeSequence") or ()
        if all(item.get(name) for name in _CODED)
    ]
    codes = asked or copy_items(source, "ProcedureCodeSequence", _CODED)
    if not codes:
        code = TITLES[title]
        return _coded(code.value, code.meaning, code.scheme)
    first = codes[0]
    return _coded(first.CodeValue, first.CodeMeaning, first.CodingSchemeDesignator)


def _coded(value: object, meaning: object, scheme: object) -> str:
    return "^".join(escape(str(part)) for part in (value, meaning, scheme))


def _observed_at(source: Dataset, identity: OutputIdentity) -> str:
    """Return when the study was made, else when its draft was."""
    date, time = text_of(source, "StudyDate"), text_of(source, "StudyTime")
    if not re.fullmatch(r"\d{8}", date):
        return _timestamp(identity.created_at)
    clock = re.match(r"\d{2}(?:\d{2}(?:\d{2})?)?", time)
    return date + (clock[0].ljust(6, "0") if clock else "")


def _observations(
    basis: Basis, words: Words, identity: OutputIdentity
) -> Iterator[tuple[str, ...]]:
    """Yield the OBX segments: the UIDs by which the report is known, then its text."""
    rows: Iterable[tuple[str, str, str]] = (
        ("HD", "SR Instance UID", identity.sop_instance_uid(REPORT)),
        ("HD", "Series Instance UID", identity.series_instance_uid(REPORT)),
        ("HD", "Study Instance UID", identity.study_instance_uid),
        ("TX", "SR Text", escape_lines(banner_of(words))),
        *(("TX", "SR Text", escape_lines(text)) for text in _texts(basis, words)),
    )
    for number, (kind, name, value) in enumerate(rows, 1):
        yield ("OBX", str(number), kind, f"^{name}", str(number), value, *[""] * 5, RESULT_STATUS)


def _texts(basis: Basis, words: Words) -> Iterator[str]:
    """Yield each section, the warning first, then where the draft came from."""
    for part in parts_of(words):
        heading = _HEADINGS.get(part.heading, part.heading)
        yield "\n".join((f"{heading}: {banner_of(words)}", *part.sentences))
    yield f"Provenance: {provenance_line(basis.provenance)}"


def _trimmed(fields: Iterable[str]) -> list[str]:
    """Return a segment without the empty fields at its end."""
    kept = list(fields)
    while kept and not kept[-1]:
        kept.pop()
    return kept
