"""What the ledger knows and the audit trail does not yet: its events and refusals, as messages.

Reads, and changes nothing. The marks say how far the trail has come; they are kept in the trail
itself, so a crash between the two loses no event.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine, Row

from node import audit_message as atna
from node.audit_message import Message, Outcome, Participant, StudyObjects
from node.clock import as_datetime
from node.config import PeerSettings, Settings
from node.config_kinds import WEB
from node.config_outputs import address_of
from node.query import STUDY_ROOT_FIND, patient_query
from node.schema import access, delivery, event, instance, output, rejection
from node.sop_classes import IMPLICIT_LITTLE
from node.transactions import reading

_BATCH = 500

Identify = Callable[[str], tuple[str, str]]
"""Returns Patient ID and Accession Number of a stored object, given its path."""
Marks = dict[str, int]

_ALERTS = {
    "association": atna.NODE_AUTHENTICATION,
    "tls": atna.NODE_AUTHENTICATION,
}
"""Who was turned away is a matter of authentication, what was is one of use."""


_AUTHENTICATION = {
    "login": (atna.LOGIN, Outcome.SUCCESS),
    "logout": (atna.LOGOUT, Outcome.SUCCESS),
    "refused": (atna.LOGIN, Outcome.MINOR_FAILURE),
    "locked out": (atna.LOGIN, Outcome.SERIOUS_FAILURE),
}
_HOUSEKEEPING = {
    "account made": (atna.USER_ATTRIBUTES_CHANGED, "an account was made"),
    "account changed": (atna.USER_ATTRIBUTES_CHANGED, "an account was changed"),
    "tried peer": (atna.USE_OF_RESTRICTED_FUNCTION, "a peer was tried out"),
}
"""What visits that concern no study are in the audit trail (`node.web.visits`)."""


@dataclass(frozen=True)
class _Sent:
    """An object that the ledger calls sent or given up, as its timeline tells it."""

    kind: str
    destination: str
    reason: str

    @classmethod
    def of(cls, detail: str) -> _Sent:
        """Read `report to pacs: reason` (`node.outbox`)."""
        what, _, reason = detail.partition(": ")
        kind, _, destination = what.partition(" to ")
        return cls(kind, destination, reason)


class AuditedEvents:
    """Turns rows of the ledger into audit messages.

    Parameters
    ----------
    settings
        The AE titles and addresses of ourselves and of the peers.
    identify
        Reads whose an object is.
    """

    def __init__(self, engine: Engine, settings: Settings, identify: Identify) -> None:
        self._engine = engine
        self._settings = settings
        self._peers: Mapping[str, PeerSettings] = settings.peers
        self._identify = identify
        title = settings.node.ae_title
        self.node = Participant(title, ae_title=title)

    def after(self, marks: Mapping[str, int]) -> tuple[list[Message], Marks]:
        """Return the messages for what came after the marks, and the marks after those."""
        events, last_event = self._rows(event, marks.get("event", 0))
        rejections, last_rejection = self._rows(rejection, marks.get("rejection", 0))
        messages = [*self._received(events), *self._delivered(events)]
        messages += self._turned_away(rejections, marks.get("rejection", 0))
        visits, last_access = self._rows(access, marks.get("access", 0))
        messages += self._visited(visits)
        last = {"event": last_event, "rejection": last_rejection}
        return messages, last | ({"access": last_access} if last_access else {})

    def _rows(self, table: sa.Table, mark: int) -> tuple[Sequence[Row[Any]], int]:
        """Return the next rows of a table; a ledger that was made anew begins at its start."""
        with reading(self._engine) as connection:
            newest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one() or 0
            start = mark if newest >= mark else 0
            query = sa.select(table).where(table.c.id > start).order_by(table.c.id).limit(_BATCH)
            rows = connection.execute(query).all()
        return rows, int(rows[-1].id) if rows else start

    def _received(self, events: Iterable[Row[Any]]) -> Iterator[Message]:
        """Yield a message for the images of each study, peer and patient (section A.5.3.7)."""
        arrivals: dict[tuple[str, int], set[float]] = defaultdict(set)
        for row in events:
            if row.name == "received":
                arrivals[row.study_uid, row.generation].add(row.at)
        for (study_uid, generation), instants in arrivals.items():
            groups = defaultdict(list)
            for row in self._instances(study_uid, generation, instants):
                groups[row.peer, row.patient_digest].append(row)
            for (peer, _), rows in groups.items():
                yield atna.instances_transferred(
                    as_datetime(max(row.received_at for row in rows)),
                    self._peer(peer),
                    self.node,
                    self._objects(study_uid, rows),
                    action="C",
                )

    def _instances(self, study_uid: str, generation: int, instants: set[float]) -> list[Row[Any]]:
        query = sa.select(instance).where(
            instance.c.study_uid == study_uid,
            instance.c.generation == generation,
            instance.c.received_at.between(min(instants), max(instants)),
        )
        with reading(self._engine) as connection:
            return [row for row in connection.execute(query) if row.received_at in instants]

    def _delivered(self, events: Iterable[Row[Any]]) -> Iterator[Message]:
        """Yield the messages for queries, and for objects on their way, arrived or given up."""
        for row in events:
            match row.name:
                case "delivering":
                    yield from self._setting_out(row)
                case "sent" | "parked":
                    yield from self._ended(row, _Sent.of(row.detail))
                case "queried":
                    yield self._queried(row)

    def _queried(self, row: Row[Any]) -> Message:
        """Return the message for a search for earlier films of a patient (section A.5.3.10)."""
        patient_id, _ = self._identify(self._film(row.study_uid))
        return atna.query(
            as_datetime(row.at),
            self.node,
            self._peer(row.detail),
            sop_class_uid=STUDY_ROOT_FIND,
            transfer_syntax_uid=IMPLICIT_LITTLE,
            identifier=patient_query(patient_id),
        )

    def _setting_out(self, row: Row[Any]) -> Iterator[Message]:
        by_destination = defaultdict(list)
        for made in self._outputs(row):
            by_destination[made.destination].append(made)
        for name, made_for in by_destination.items():
            objects = self._objects(row.study_uid, made_for)
            yield atna.begin_transferring(as_datetime(row.at), self.node, self._peer(name), objects)

    def _ended(self, row: Row[Any], sent: _Sent) -> Iterator[Message]:
        whole = (sent.kind, sent.destination)
        made = [one for one in self._outputs(row) if (one.kind, one.destination) == whole]
        if made:
            yield atna.instances_transferred(
                as_datetime(row.at),
                self.node,
                self._peer(sent.destination),
                self._objects(row.study_uid, made),
                action="R",
                outcome=Outcome.SUCCESS if row.name == "sent" else Outcome.SERIOUS_FAILURE,
                description=sent.reason,
            )

    def _outputs(self, row: Row[Any]) -> list[Row[Any]]:
        query = (
            sa.select(output.c.kind, output.c.sop_class_uid, output.c.path, delivery.c.destination)
            .join_from(output, delivery)
            .where(output.c.study_uid == row.study_uid, output.c.generation == row.generation)
            .order_by(delivery.c.destination, output.c.kind)
        )
        with reading(self._engine) as connection:
            return list(connection.execute(query))

    def _objects(self, study_uid: str, rows: Sequence[Row[Any]]) -> StudyObjects:
        paths = [row.path for row in rows if row.sop_class_uid]
        patient_id, accession_number = self._identify(paths[0] if paths else self._film(study_uid))
        classes = Counter(str(row.sop_class_uid) for row in rows if row.sop_class_uid)
        numbers = (accession_number,) if accession_number else ()
        return StudyObjects(study_uid, patient_id, classes, numbers)

    def _visited(self, visits: Iterable[Row[Any]]) -> Iterator[Message]:
        """Yield a message for what people did on the review page."""
        for row in visits:
            person = Participant(row.user or row.address or "?", address=row.address)
            at = as_datetime(row.at)
            if row.kind in _HOUSEKEEPING:
                kind, text = _HOUSEKEEPING[row.kind]
                yield atna.security_alert(
                    at,
                    kind,
                    self.node,
                    text,
                    other=person,
                    subject_id=self.node.ae_title,
                    outcome=Outcome.SUCCESS,
                )
            elif row.study_uid is None:
                kind, outcome = _AUTHENTICATION[row.kind]
                yield atna.user_authentication(at, kind, self.node, person, outcome)
            else:
                action = "R" if row.kind == "viewed" else "U"
                objects = self._held(row.study_uid)
                yield atna.instances_accessed(at, self.node, person, objects, action=action)

    def _held(self, study_uid: str) -> StudyObjects:
        """Return the images of a study that are here."""
        query = sa.select(instance.c.path, instance.c.sop_class_uid).where(
            instance.c.study_uid == study_uid
        )
        with reading(self._engine) as connection:
            rows: list[Row[Any]] = list(connection.execute(query))
        return self._objects(study_uid, rows) if rows else StudyObjects(study_uid, "unknown", {})

    def _film(self, study_uid: str) -> str:
        """Return the path of an image: a message is no DICOM object that names its patient."""
        query = sa.select(instance.c.path).where(instance.c.study_uid == study_uid).limit(1)
        with reading(self._engine) as connection:
            return str(connection.execute(query).scalar_one_or_none() or "")

    def _turned_away(self, rejections: Sequence[Row[Any]], mark: int) -> Iterator[Message]:
        """Yield an alert for each kind of refusal, however often it happened (section A.5.3.11)."""
        groups = defaultdict(list)
        for row in rejections:
            groups[row.kind, row.calling_aet, row.address, row.reason].append(row)
        for (kind, calling, address, reason), rows in groups.items():
            times = f" ({len(rows)} times)" if len(rows) > 1 else ""
            yield self._alert(kind, calling, address, f"{kind}: {reason}{times}", rows[-1].at)
        missed = rejections[0].id - mark - 1 if rejections and mark else 0
        if missed > 0:
            text = f"{missed} more refusals came faster than they could be audited"
            yield self._alert("", "", "", text, rejections[0].at)

    def _alert(self, kind: str, calling: str, address: str, text: str, at: float) -> Message:
        user = calling or address
        return atna.security_alert(
            as_datetime(at),
            _ALERTS.get(kind, atna.USE_OF_RESTRICTED_FUNCTION),
            self.node,
            text,
            other=Participant(user, ae_title=calling, address=address) if user else None,
            subject_id=self.node.ae_title,
        )

    def _peer(self, name: str) -> Participant:
        """Return a peer as a participant; one that left the configuration has only its name."""
        settings = self._peers.get(name)
        if settings is None:
            web = self._settings.node.priors_web.url if name == WEB else ""
            return Participant(name, address=web or address_of(self._settings.outputs, name))
        title = settings.ae_title
        return Participant(title, ae_title=title, address=settings.host)
