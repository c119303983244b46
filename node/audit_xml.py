"""Audit messages as XML: order and attributes are those of the schema (PS3.15 section A.5.1)."""

from __future__ import annotations

import base64
from xml.etree import ElementTree as ET

from node.audit_message import Code, Message, Origin, Participant, Subject
from node.certificates import is_address

_APPLICATION_SERVER = "4"


def to_xml(message: Message, origin: Origin) -> str:
    """Return a message as XML (section A.5.1), on one line."""
    root = ET.Element("AuditMessage")
    _add_event(root, message)
    for participant in message.participants:
        _add_participant(root, participant)
    source = {"AuditSourceID": _token(origin.source_id)}
    if origin.site:
        source["AuditEnterpriseSiteID"] = _token(origin.site)
    identification = ET.SubElement(root, "AuditSourceIdentification", source)
    ET.SubElement(identification, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    for subject in message.subjects:
        _add_subject(root, subject)
    return ET.tostring(root, encoding="unicode")


def _add_event(root: ET.Element, message: Message) -> None:
    attributes = {
        "EventActionCode": message.action,
        "EventDateTime": message.at.isoformat(timespec="milliseconds"),
        "EventOutcomeIndicator": str(int(message.outcome)),
    }
    event = ET.SubElement(root, "EventIdentification", attributes)
    _add_code(event, "EventID", message.event)
    for kind in message.types:
        _add_code(event, "EventTypeCode", kind)
    if message.description:
        ET.SubElement(event, "EventOutcomeDescription").text = _token(message.description)


def _add_participant(root: ET.Element, participant: Participant) -> None:
    attributes = {
        "UserID": _token(participant.user_id),
        "UserIsRequestor": str(participant.is_requestor).lower(),
    }
    if participant.ae_title:
        attributes["AlternativeUserID"] = f"AETITLES={_token(participant.ae_title)}"
    if participant.address:
        attributes |= _access_point(participant.address)
    element = ET.SubElement(root, "ActiveParticipant", attributes)
    if participant.role is not None:
        _add_code(element, "RoleIDCode", participant.role)


def _access_point(address: str) -> dict[str, str]:
    """Return a network access point: 2 is an IP address, 1 a machine's name."""
    kind = "2" if is_address(address) else "1"
    return {"NetworkAccessPointID": _token(address), "NetworkAccessPointTypeCode": kind}


def _add_subject(root: ET.Element, subject: Subject) -> None:
    attributes = {
        "ParticipantObjectID": _token(subject.id),
        "ParticipantObjectTypeCode": subject.kind,
        "ParticipantObjectTypeCodeRole": subject.role,
    }
    element = ET.SubElement(root, "ParticipantObjectIdentification", attributes)
    _add_code(element, "ParticipantObjectIDTypeCode", subject.id_type)
    if subject.query is not None:
        ET.SubElement(element, "ParticipantObjectQuery").text = _base64(subject.query)
    else:
        ET.SubElement(element, "ParticipantObjectName").text = _token(subject.name)
    for name, text in subject.details.items():
        pair = {"type": name, "value": _base64(text.encode())}
        ET.SubElement(element, "ParticipantObjectDetail", pair)
    if subject.classes or subject.accession_numbers:
        _add_description(element, subject)


def _add_description(element: ET.Element, subject: Subject) -> None:
    description = ET.SubElement(element, "ParticipantObjectDescription")
    for number in subject.accession_numbers:
        ET.SubElement(description, "Accession", {"Number": _token(number)})
    for uid, count in sorted(subject.classes.items()):
        attributes = {"UID": _token(uid), "NumberOfInstances": str(count)}
        ET.SubElement(description, "SOPClass", attributes)


def _add_code(parent: ET.Element, name: str, code: Code) -> None:
    attributes = {
        "csd-code": code.value,
        "codeSystemName": code.scheme,
        "originalText": code.meaning,
    }
    ET.SubElement(parent, name, attributes)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _token(text: str) -> str:
    """Return a text that XML 1.0 can hold, on one line; what it cannot hold is shown as `?`."""
    held = "".join(char if _is_held(char) else "?" for char in text)
    return " ".join(held.split())


def _is_held(char: str) -> bool:
    """Tell whether XML 1.0 can hold a character (section 2.2 there)."""
    point = ord(char)
    return (
        char in "\t\n\r" or 0x20 <= point <= 0xD7FF or 0xE000 <= point <= 0xFFFD or point >= 0x10000
    )
