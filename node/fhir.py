"""The draft as a FHIR transaction, R4 or R5, and nothing in it that looks verified. Pure.

The report is `partial` ("may be incomplete or unverified") and its observations `preliminary`: for
a report, `preliminary` would say that results are verified. Each entry is created only where the
server does not have it yet, so a transaction that is sent again makes nothing twice.
"""

from __future__ import annotations

import base64
import html
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from pydicom.dataset import Dataset

from node.authored import provenance_line
from node.codes import TITLES, Code
from node.config_outputs import FhirSettings
from node.copied import text_of
from node.drafted_text import DRAFTED, IMPRESSION, Part, banner_of, parts_of
from node.made import Made
from node.outputs import REPORT, OutputIdentity
from node.sr_document import Basis
from node.sr_narrative import Words
from node.uids import IMPLEMENTATION_VERSION_NAME, MANUFACTURER, MODEL_NAME, derive_uid

REPORT_STATUS: Final[Literal["partial"]] = "partial"
OBSERVATION_STATUS: Final[Literal["preliminary"]] = "preliminary"
KIND: Final = "fhir"

_LOINC: Final = "http://loinc.org"
_UID_SYSTEM: Final = "urn:dicom:uid"
_HL7: Final = "http://terminology.hl7.org/CodeSystem/"
_AI_ASSERTED: Final = {"system": f"{_HL7}v3-ObservationValue", "code": "AIAST"}
"""Artificial Intelligence asserted: a security label of HL7."""

Resource = dict[str, Any]


@dataclass(frozen=True)
class _Draft:
    """All that the resources are made from."""

    basis: Basis
    parts: tuple[Part, ...]
    banner: str
    identity: OutputIdentity
    settings: FhirSettings
    title: Code

    @property
    def source(self) -> Dataset:
        return self.basis.source

    @property
    def is_r5(self) -> bool:
        return self.settings.version == "R5"


def build_bundle(
    basis: Basis,
    words: Words,
    identity: OutputIdentity,
    settings: FhirSettings,
    title: str,
) -> Made:
    """Return the draft as a transaction, JSON in UTF-8.

    Parameters
    ----------
    basis
        The source names patient, order and study.
    title
        LOINC code of the kind of report.

    References
    ----------
    https://hl7.org/fhir/R4/http.html#transaction; R5 alike.
    """
    known = _Draft(basis, parts_of(words), banner_of(words), identity, settings, TITLES[title])
    entries = [_entry(uid, one) for uid, one in _resources(known)]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    content = json.dumps(bundle, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Made(identity.sop_instance_uid(KIND), "", content.encode("utf-8"), ".json")


def _resources(known: _Draft) -> Iterator[tuple[str, Resource]]:
    """Yield the resources in the order in which they refer to each other."""
    identity = known.identity
    yield identity.device_uid, _device(known)
    yield identity.study_instance_uid, _imaging_study(known)
    observations = list(_observations(known))
    yield from observations
    yield identity.sop_instance_uid(REPORT), _report(known, [uid for uid, _ in observations])


def _entry(uid: str, resource: Resource) -> Resource:
    """Return a conditional create: what has this identifier already stays as it is."""
    identifier = f"identifier={_UID_SYSTEM}|urn:oid:{uid}"
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": identifier}
    resource["identifier"] = [_identifier(uid)]
    return {"fullUrl": _full_url(uid), "resource": resource, "request": request}


def _full_url(uid: str) -> str:
    """Return the name by which entries refer to each other: the UUID of a UID of PS3.5 B.2."""
    return f"urn:uuid:{uuid.UUID(int=int(derive_uid('fhir', uid).removeprefix('2.25.')))}"


def _identifier(uid: str) -> Resource:
    return {"system": _UID_SYSTEM, "value": f"urn:oid:{uid}"}


def _reference(uid: str) -> Resource:
    return {"reference": _full_url(uid)}


def _concept(code: Code) -> Resource:
    """Return a code with our words as text: the display of a code belongs to its system."""
    coding = {"system": _LOINC, "code": code.value}
    return {"coding": [coding], "text": code.meaning}


def _meta() -> Resource:
    """Return the label that says who asserts this: no person."""
    return {"security": [_AI_ASSERTED]}


def _subject(known: _Draft) -> Resource:
    """Return the patient by identifier: the server knows which resource that is.

    Without a number there is no identifier: a made-up one would bring everybody who has none
    together as one patient.
    """
    number, issuer = (text_of(known.source, name) for name in ("PatientID", "IssuerOfPatientID"))
    if not number:
        return {"type": "Patient", "display": "not identified"}
    system = known.settings.patient_id_system
    identifier: Resource = {"value": number} | ({"system": system} if system else {})
    if issuer:
        identifier["assigner"] = {"display": issuer}
    return {"type": "Patient", "identifier": identifier}


def _order(known: _Draft) -> Resource:
    """Return the order by accession number, nothing where there is none."""
    accession = text_of(known.source, "AccessionNumber")
    if not accession:
        return {}
    kind = {"coding": [{"system": f"{_HL7}v2-0203", "code": "ACSN"}]}
    identifier = {"type": kind, "value": accession}
    return {"basedOn": [{"type": "ServiceRequest", "identifier": identifier}]}


def _device(known: _Draft) -> Resource:
    """Return the model that drafted."""
    identity = known.identity
    name: Resource
    if known.is_r5:
        name = {"name": [{"value": identity.algorithm_name, "type": "registered-name"}]}
    else:
        name = {"deviceName": [{"name": identity.algorithm_name, "type": "model-name"}]}
    return {
        "resourceType": "Device",
        "status": "active",
        "manufacturer": MANUFACTURER,
        "modelNumber": MODEL_NAME,
        "serialNumber": identity.bundle_digest,
        "version": [{"value": identity.algorithm_version}, {"value": IMPLEMENTATION_VERSION_NAME}],
        **name,
    }


def _imaging_study(known: _Draft) -> Resource:
    """Return the study as far as one instance of it tells."""
    started = _started(known.source)
    return {
        "resourceType": "ImagingStudy",
        "status": "available",
        "subject": _subject(known),
        **_order(known),
        **({"started": started} if started else {}),
    }


def _started(source: Dataset) -> str:
    """Return when the study began; a time needs its zone, else the date stands alone.

    What is no instant of the calendar is left out: a server refuses the whole bundle for it.
    """
    day = text_of(source, "StudyDate")
    if not re.fullmatch(r"\d{8}", day, re.ASCII):
        return ""
    time, zone = text_of(source, "StudyTime")[:6], text_of(source, "TimezoneOffsetFromUTC")
    if re.fullmatch(r"\d{6}", time, re.ASCII) and re.fullmatch(r"[+-]\d{4}", zone, re.ASCII):
        whole = _parsed(day, time, zone)
        if whole is not None:
            return whole.isoformat()
    date = _parsed(day, "000000", "+0000")
    return "" if date is None else date.date().isoformat()


def _parsed(day: str, time: str, zone: str) -> datetime | None:
    """Return an instant of the calendar, None where there is no such one."""
    try:
        return datetime.strptime(f"{day} {time} {zone}", "%Y%m%d %H%M%S %z")
    except ValueError:
        return None


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _observations(known: _Draft) -> Iterator[tuple[str, Resource]]:
    """Yield an observation a sentence."""
    base = known.identity.sop_instance_uid(KIND)
    for part in known.parts:
        if part.code not in DRAFTED:
            continue
        for number, sentence in enumerate(part.sentences, 1):
            uid = derive_uid("observation", base, part.heading, str(number))
            yield uid, _observation(known, part, sentence)


def _observation(known: _Draft, part: Part, sentence: str) -> Resource:
    category = {"system": f"{_HL7}observation-category", "code": "imaging"}
    return {
        "resourceType": "Observation",
        "meta": _meta(),
        "status": OBSERVATION_STATUS,
        "category": [{"coding": [category]}],
        "code": _concept(part.code),
        "subject": _subject(known),
        "issued": _instant(known.identity.created_at),
        "valueString": sentence,
        "note": [{"text": known.banner}],
        "device": _reference(known.identity.device_uid),
        "derivedFrom": [_reference(known.identity.study_instance_uid)],
    }


def _report(known: _Draft, observation_uids: list[str]) -> Resource:
    """Return the report; `imagingStudy` is called `study` in R5."""
    parts = known.parts
    study = "study" if known.is_r5 else "imagingStudy"
    results = [_reference(uid) for uid in observation_uids]
    impression = [one for part in parts if part.code == IMPRESSION for one in part.sentences]
    return {
        "resourceType": "DiagnosticReport",
        "meta": _meta(),
        "text": {"status": "generated", "div": _narrative(known)},
        "status": REPORT_STATUS,
        **_order(known),
        "category": [{"coding": [{"system": f"{_HL7}v2-0074", "code": "RAD"}]}],
        "code": _concept(known.title),
        "subject": _subject(known),
        "issued": _instant(known.identity.created_at),
        **({"result": results} if results else {}),  # JSON of FHIR knows no empty list
        study: [_reference(known.identity.study_instance_uid)],
        "conclusion": " ".join((known.banner, *impression)),
        "presentedForm": [_as_text(known)],
    }


def _narrative(known: _Draft) -> str:
    """Return the report as XHTML, the warning on top."""
    sections = "".join(
        f"<h2>{part.heading}</h2>" + "".join(f"<p>{html.escape(s)}</p>" for s in part.sentences)
        for part in known.parts
    )
    warning = f"<p><b>{html.escape(known.banner)}</b></p>"
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{warning}{sections}</div>'


def _as_text(known: _Draft) -> Resource:
    """Return the report as plain text, the warning first and where it came from last."""
    lines = [known.banner]
    for part in known.parts:
        lines += ["", part.heading.upper(), *part.sentences]
    lines += ["", provenance_line(known.basis.provenance)]
    return {
        "contentType": "text/plain; charset=utf-8",
        "data": base64.b64encode("\n".join(lines).encode("utf-8")).decode("ascii"),
        "title": "AI DRAFT - UNVERIFIED",
    }
