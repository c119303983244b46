"""Audit messages (PS3.15 section A.5.3): what each audited event says, a builder a table. Pure.

Patients are named by their Patient ID alone: the name is optional in these tables, so it stays out.
`node.audit_xml` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum


@dataclass(frozen=True)
class Code:
    """A coded value of the schema."""

    value: str
    meaning: str
    scheme: str = "DCM"


APPLICATION_ACTIVITY = Code("110100", "Application Activity")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
EXPORT = Code("110106", "Export")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")
"""Event IDs (CID 400)."""

APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
LOGIN = Code("110122", "Login")
LOGOUT = Code("110123", "Logout")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
SECURITY_CONFIGURATION = Code("110129", "Security Configuration")
SOFTWARE_CONFIGURATION = Code("110131", "Software Configuration")
USE_OF_RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
USER_ATTRIBUTES_CHANGED = Code("110137", "User Security Attributes Changed")
"""Event types (CID 401 and CID 403)."""

APPLICATION = Code("110150", "Application")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
DESTINATION_MEDIA = Code("110154", "Destination Media")
"""Roles (CID 402)."""

STUDY_UID = Code("110180", "Study Instance UID")
CLASS_UID = Code("110181", "SOP Class UID")
NODE_ID = Code("110182", "Node ID")
PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
"""What an object is identified by (CID 404, section A.5.1.2.4)."""


class Outcome(IntEnum):
    """Event Outcome Indicator (table A.5.2-1)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8


@dataclass(frozen=True)
class Participant:
    """A process that took part."""

    user_id: str
    role: Code | None = None
    ae_title: str = ""
    address: str = ""
    is_requestor: bool = False


@dataclass(frozen=True)
class Subject:
    """An object that the event is about."""

    id: str
    id_type: Code
    kind: str
    role: str
    name: str = ""
    query: bytes | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    accession_numbers: Sequence[str] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    """Number of instances for each SOP Class UID."""


@dataclass(frozen=True)
class Message:
    """One audited event."""

    event: Code
    action: str
    at: datetime
    participants: tuple[Participant, ...]
    subjects: tuple[Subject, ...] = ()
    types: tuple[Code, ...] = ()
    outcome: Outcome = Outcome.SUCCESS
    description: str = ""


@dataclass(frozen=True)
class Origin:
    """Who reports: the Audit Source."""

    source_id: str
    site: str = ""


@dataclass(frozen=True)
class StudyObjects:
    """Instances of one patient's study."""

    study_uid: str
    patient_id: str
    classes: Mapping[str, int]
    accession_numbers: Sequence[str] = ()

    def subjects(self) -> tuple[Subject, ...]:
        """Return study and patient as the tables of section A.5.3 want them."""
        study = Subject(
            self.study_uid,
            STUDY_UID,
            kind="2",
            role="3",
            accession_numbers=self.accession_numbers,
            classes=self.classes,
        )
        return study, Subject(self.patient_id, PATIENT_NUMBER, kind="1", role="1")


def application_activity(at: datetime, node: Participant, *, starts: bool) -> Message:
    """Return the message for a start or a stop of the node (section A.5.3.1)."""
    kind = APPLICATION_START if starts else APPLICATION_STOP
    return Message(APPLICATION_ACTIVITY, "E", at, (_as(node, APPLICATION),), types=(kind,))


def begin_transferring(
    at: datetime, source: Participant, destination: Participant, objects: StudyObjects
) -> Message:
    """Return the message for objects that go on their way (section A.5.3.3)."""
    both = (_as(source, SOURCE, requests=True), _as(destination, DESTINATION))
    return Message(BEGIN_TRANSFERRING, "E", at, both, objects.subjects())


def instances_transferred(
    at: datetime,
    source: Participant,
    destination: Participant,
    objects: StudyObjects,
    *,
    action: str,
    outcome: Outcome = Outcome.SUCCESS,
    description: str = "",
) -> Message:
    """Return the message for a transfer that ended (section A.5.3.7).

    Parameters
    ----------
    action
        C where the receiver had none of the objects before, else R.
    """
    return Message(
        INSTANCES_TRANSFERRED,
        action,
        at,
        (_as(source, SOURCE, requests=True), _as(destination, DESTINATION)),
        objects.subjects(),
        outcome=outcome,
        description=description,
    )


def query(
    at: datetime,
    asking: Participant,
    answering: Participant,
    *,
    sop_class_uid: str,
    transfer_syntax_uid: str,
    identifier: bytes,
) -> Message:
    """Return the message for a C-FIND (section A.5.3.10).

    Parameters
    ----------
    identifier
        The encoded query; it may name a patient.
    """
    subject = Subject(
        sop_class_uid,
        CLASS_UID,
        kind="2",
        role="3",
        query=identifier,
        details={"TransferSyntax": transfer_syntax_uid},
    )
    both = (_as(asking, SOURCE, requests=True), _as(answering, DESTINATION))
    return Message(QUERY, "E", at, both, (subject,))


def data_export(
    at: datetime, exporting: Participant, media: Participant, objects: Sequence[StudyObjects]
) -> Message:
    """Return the message for objects that leave the security domain (section A.5.3.4)."""
    both = (_as(exporting, SOURCE, requests=True), _as(media, DESTINATION_MEDIA))
    subjects = tuple(subject for one in objects for subject in one.subjects())
    return Message(EXPORT, "R", at, both, subjects)


def instances_accessed(
    at: datetime, node: Participant, person: Participant, objects: StudyObjects, *, action: str
) -> Message:
    """Return the message for a person who looked at a study, or changed what there is of it.

    Parameters
    ----------
    action
        R for reading, U for an update (section A.5.3.6).
    """
    both = (_as(node, APPLICATION), _asking(person))
    return Message(INSTANCES_ACCESSED, action, at, both, objects.subjects())


def user_authentication(
    at: datetime, kind: Code, node: Participant, person: Participant, outcome: Outcome
) -> Message:
    """Return the message for a login or a logout, or one that was refused (section A.5.3.12)."""
    both = (_as(node, APPLICATION), _asking(person))
    return Message(USER_AUTHENTICATION, "E", at, both, types=(kind,), outcome=outcome)


def security_alert(
    at: datetime,
    kind: Code,
    node: Participant,
    description: str,
    *,
    other: Participant | None = None,
    subject_id: str,
    outcome: Outcome = Outcome.MINOR_FAILURE,
) -> Message:
    """Return the message for something that a security officer should see (section A.5.3.11).

    Parameters
    ----------
    other
        Who caused it.
    subject_id
        The node or setting that it is about.
    """
    subject = Subject(
        subject_id, NODE_ID, kind="2", role="13", details={"Alert Description": description}
    )
    others = () if other is None else (other,)
    participants = (_as(node, APPLICATION, requests=True), *others)
    return Message(SECURITY_ALERT, "E", at, participants, (subject,), (kind,), outcome)


def _asking(person: Participant) -> Participant:
    """Return a person as the one who asked."""
    return replace(person, is_requestor=True)


def _as(participant: Participant, role: Code, *, requests: bool = False) -> Participant:
    """Return a participant in a role."""
    return Participant(
        participant.user_id, role, participant.ae_title, participant.address, requests
    )
