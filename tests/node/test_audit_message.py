"""Audit messages obey the schema and the tables of PS3.15 section A.5, whatever is in them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from node import audit_message as atna
from node.audit_message import Message, Origin, Outcome, Participant, StudyObjects
from node.audit_xml import to_xml

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))
AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
ORIGIN = Origin("CXRDRAFT", "General Hospital")
NODE = Participant("CXRDRAFT", ae_title="CXRDRAFT")
PACS = Participant("PACS", ae_title="PACS", address="10.0.0.5")
CR = "1.2.840.10008.5.1.4.1.1.1"
OBJECTS = StudyObjects("1.2.3", "MRN-1", {CR: 2}, ("ACC1",))

MESSAGES: dict[str, Message] = {
    "start": atna.application_activity(AT, NODE, starts=True),
    "stop": atna.application_activity(AT, NODE, starts=False),
    "begin": atna.begin_transferring(AT, NODE, PACS, OBJECTS),
    "received": atna.instances_transferred(AT, PACS, NODE, OBJECTS, action="C"),
    "given up": atna.instances_transferred(
        AT, NODE, PACS, OBJECTS, action="R", outcome=Outcome.SERIOUS_FAILURE, description="0xA900"
    ),
    "query": atna.query(
        AT,
        NODE,
        PACS,
        sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        identifier=b"\x10\x00\x20\x00<&>",
    ),
    "export": atna.data_export(AT, NODE, Participant("file:///media/cd"), [OBJECTS]),
    "alert": atna.security_alert(
        AT, atna.NODE_AUTHENTICATION, NODE, "who is it", other=PACS, subject_id="CXRDRAFT"
    ),
    "settings": atna.security_alert(
        AT, atna.SECURITY_CONFIGURATION, NODE, "tls", subject_id="CXRDRAFT", outcome=Outcome.SUCCESS
    ),
}


def _parsed(message: Message) -> Any:
    root = etree.fromstring(to_xml(message, ORIGIN))
    SCHEMA.assertValid(root)
    return root


def _roles(root: Any) -> list[tuple[str, str, str]]:
    return [
        (one.get("UserID"), one[0].get("csd-code") if len(one) else "", one.get("UserIsRequestor"))
        for one in root.findall("ActiveParticipant")
    ]


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_obeys_the_schema(name: str) -> None:
    _parsed(MESSAGES[name])


@pytest.mark.parametrize(
    ("name", "event", "kind", "action", "outcome"),
    [
        ("start", "110100", "110120", "E", "0"),
        ("stop", "110100", "110121", "E", "0"),
        ("begin", "110102", None, "E", "0"),
        ("received", "110104", None, "C", "0"),
        ("given up", "110104", None, "R", "8"),
        ("query", "110112", None, "E", "0"),
        ("export", "110106", None, "R", "0"),
        ("alert", "110113", "110126", "E", "4"),
        ("settings", "110113", "110129", "E", "0"),
    ],
)
def test_events_have_the_codes_of_their_tables(
    name: str, event: str, kind: str | None, action: str, outcome: str
) -> None:
    identification = _parsed(MESSAGES[name]).find("EventIdentification")
    assert identification.find("EventID").get("csd-code") == event
    types = [one.get("csd-code") for one in identification.findall("EventTypeCode")]
    assert types == ([kind] if kind else [])
    assert identification.get("EventActionCode") == action
    assert identification.get("EventOutcomeIndicator") == outcome
    assert identification.get("EventDateTime") == "2026-11-22T10:00:00.000+00:00"


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("start", [("CXRDRAFT", "110150", "false")]),
        ("begin", [("CXRDRAFT", "110153", "true"), ("PACS", "110152", "false")]),
        ("received", [("PACS", "110153", "true"), ("CXRDRAFT", "110152", "false")]),
        ("query", [("CXRDRAFT", "110153", "true"), ("PACS", "110152", "false")]),
        ("export", [("CXRDRAFT", "110153", "true"), ("file:///media/cd", "110154", "false")]),
        ("alert", [("CXRDRAFT", "110150", "true"), ("PACS", "", "false")]),
    ],
)
def test_participants_have_the_roles_of_their_tables(
    name: str, roles: list[tuple[str, str, str]]
) -> None:
    assert _roles(_parsed(MESSAGES[name])) == roles


def test_a_transfer_names_study_patient_and_classes_and_not_the_patients_name() -> None:
    study, patient = _parsed(MESSAGES["received"]).findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert study.find("ParticipantObjectIDTypeCode").get("csd-code") == "110180"
    described = study.find("ParticipantObjectDescription")
    assert described.find("Accession").get("Number") == "ACC1"
    assert dict(described.find("SOPClass").attrib) == {"UID": CR, "NumberOfInstances": "2"}
    assert patient.get("ParticipantObjectID") == "MRN-1"
    assert patient.find("ParticipantObjectIDTypeCode").get("codeSystemName") == "RFC-3881"
    assert not patient.find("ParticipantObjectName").text


def test_a_query_is_kept_byte_for_byte() -> None:
    (asked,) = _parsed(MESSAGES["query"]).findall("ParticipantObjectIdentification")
    encoded = asked.find("ParticipantObjectQuery").text
    assert base64.b64decode(encoded) == b"\x10\x00\x20\x00<&>"


def test_an_alert_says_what_happened() -> None:
    (subject,) = _parsed(MESSAGES["alert"]).findall("ParticipantObjectIdentification")
    detail = subject.find("ParticipantObjectDetail")
    assert detail.get("type") == "Alert Description"
    assert base64.b64decode(detail.get("value")) == b"who is it"


@pytest.mark.parametrize(("address", "kind"), [("10.0.0.5", "2"), ("::1", "2"), ("pacs.lan", "1")])
def test_an_address_is_told_from_a_name(address: str, kind: str) -> None:
    other = Participant("X", address=address)
    message = atna.begin_transferring(AT, NODE, other, OBJECTS)
    assert _parsed(message)[2].get("NetworkAccessPointTypeCode") == kind


@given(text=st.text(), title=st.text(max_size=16))
def test_any_text_makes_a_valid_message_on_one_line(text: str, title: str) -> None:
    objects = StudyObjects(text, text, {text: 1}, (text,))
    other = Participant(text, ae_title=title, address=text)
    message = atna.instances_transferred(AT, other, NODE, objects, action="C", description=text)
    assert "\n" not in to_xml(message, Origin(text, text))
    SCHEMA.assertValid(etree.fromstring(to_xml(message, Origin(text, text))))


def test_the_schema_refuses_what_is_not_in_it() -> None:
    root = etree.fromstring(to_xml(MESSAGES["received"], ORIGIN))
    root.find("EventIdentification").set("EventOutcomeIndicator", "1")
    assert not SCHEMA.validate(root)
    root = etree.fromstring(to_xml(MESSAGES["received"], ORIGIN))
    root.remove(root.find("AuditSourceIdentification"))
    assert not SCHEMA.validate(root)
