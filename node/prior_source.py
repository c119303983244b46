"""One peer asked for earlier films of a patient: C-FIND level by level, then C-GET (PS3.4 annex C).

Every call has so many seconds; when they are up the connection is cut, whatever is under way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from node.config import PeerSettings
from node.encoded import DatasetWalk
from node.errors import CANNOT_UNDERSTAND, MISMATCH, OUT_OF_RESOURCES, IntakeRefused, PeerError
from node.intake import KEPT_TAGS, Command, examine, read_header
from node.prior_choice import (
    FilmFacts,
    SeriesFacts,
    StudyFacts,
    chest_series,
    frontal_films,
    why_not_used,
)
from node.query import STUDY_ROOT_FIND, find
from node.scu import Scu
from node.sop_classes import FILM_CLASSES

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
"""Study Root Query/Retrieve Information Model - GET."""
_SUCCESS = 0x0000
_UTF_8 = "ISO_IR 192"
MAX_SERIES = 10
MAX_TRIED = 4
_STUDY_KEYS = ("StudyInstanceUID", "StudyTime", "StudyDescription", "ModalitiesInStudy")
_SERIES_KEYS = ("SeriesInstanceUID", "Modality", "BodyPartExamined", "SeriesDescription")
_IMAGE_KEYS = ("SOPInstanceUID", "SOPClassUID", "ViewPosition")


@dataclass(frozen=True)
class FoundFilm:
    """A prior film; `encoded` is its data set where it was fetched."""

    study: StudyFacts
    command: Command
    encoded: memoryview | None = None


class PriorSource:
    """A peer that may hold earlier films.

    Parameters
    ----------
    name
        Its name in the configuration.
    max_bytes
        No larger object is taken.
    """

    def __init__(self, name: str, peer: PeerSettings, scu: Scu, max_bytes: int) -> None:
        self.name = name
        self._peer = peer
        self._scu = scu
        self._max_bytes = max_bytes

    def studies(self, current: StudyFacts, within_s: float) -> list[StudyFacts]:
        """Return what the peer answers when asked for the patient's studies up to this one's day.

        Raises
        ------
        PeerError
            It cannot be reached, refuses, or does not answer in time.
        """
        patient = current.patient
        query = _query("STUDY", _STUDY_KEYS)
        query.PatientID = patient.patient_id
        query.IssuerOfPatientID = patient.issuer
        query.PatientBirthDate = ""
        query.StudyDate = f"-{current.date}"
        if not f"{patient.patient_id}{patient.issuer}".isascii():
            query.SpecificCharacterSet = _UTF_8
        with self._calling([], within_s) as assoc:
            return [StudyFacts.of(ds, self.name) for ds in find(assoc, query)]

    def film(self, current: StudyFacts, study: StudyFacts, within_s: float) -> FoundFilm | None:
        """Return the frontal chest film of an earlier study, fetched where the peer is so set.

        Raises
        ------
        PeerError
            The peer fails, or does not deliver what it says it has.
        """
        fetches = self._peer.retrieve == "get"
        with self._calling(FILM_CLASSES if fetches else [], within_s) as assoc:
            films = frontal_films(_films(assoc, study))
            if not fetches:
                return FoundFilm(study, _command(films[0])) if films else None
            for film in films[:MAX_TRIED]:
                taker = _Taker(current, study, film, self._max_bytes)
                _get(assoc, study, film, taker)
                if taker.taken is not None:
                    return taker.taken
        return None

    @contextmanager
    def _calling(
        self, takes: tuple[str, ...] | list[str], within_s: float
    ) -> Iterator[Association]:
        if within_s <= 0:
            raise PeerError("no time was left to ask it")
        services = [STUDY_ROOT_FIND, STUDY_ROOT_GET] if takes else [STUDY_ROOT_FIND]
        with self._scu.association(
            self._peer, services, timeout_s=within_s, total_s=within_s, takes=takes
        ) as assoc:
            accepted = {context.abstract_syntax for context in assoc.accepted_contexts}
            for uid in services:
                if uid not in accepted:
                    hint = f"set `retrieve: none` at peer {self.name}" if takes else ""
                    raise PeerError(f"the peer does not offer {UID(uid).name}", hint=hint)
            yield assoc


class _Taker:
    """Takes the one film that was asked for, and nothing else that the peer may send."""

    def __init__(
        self, current: StudyFacts, study: StudyFacts, film: FilmFacts, max_bytes: int
    ) -> None:
        self._current = current
        self._study = study
        self._film = film
        self._max_bytes = max_bytes
        self.taken: FoundFilm | None = None
        self.was_sent = False

    def on_c_store(self, event: Event) -> int:
        """Answer the sub-operation (PS3.4 section C.4.3.3)."""
        self.was_sent = True
        request: Any = event.request
        command = Command(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(event.context.transfer_syntax),
        )
        try:
            self._take(command, request.DataSet)
        except IntakeRefused as refused:
            return refused.status
        return _SUCCESS

    def _take(self, command: Command, encoded: BytesIO | None) -> None:
        """Check an object whole, then keep its bytes."""
        if command.sop_instance_uid != self._film.sop_instance_uid:
            raise IntakeRefused(MISMATCH, "this object was not asked for")
        if encoded is None:
            raise IntakeRefused(CANNOT_UNDERSTAND, "the data set is missing")
        if len(encoded.getbuffer()) > self._max_bytes:
            raise IntakeRefused(OUT_OF_RESOURCES, "the object is too large")
        self.taken = checked_film(self._current, self._study, command, encoded)


def checked_film(
    current: StudyFacts, study: StudyFacts, command: Command, encoded: BytesIO
) -> FoundFilm:
    """Check a film that was fetched, the whole of it, and whose it is by its own header.

    Raises
    ------
    IntakeRefused
        It is not whole, not what it is said to be, or no prior of the study.
    """
    piece = encoded.getbuffer()
    walk = DatasetWalk.of(command.transfer_syntax_uid, KEPT_TAGS)
    walk.feed(piece)
    examine(command, walk, accept_synthetic=False)
    reason = why_not_used(current, study, read_header(encoded, command.transfer_syntax_uid))
    if reason:
        raise IntakeRefused(MISMATCH, reason)
    return FoundFilm(study, command, piece)


def _query(level: str, keys: tuple[str, ...]) -> Dataset:
    """Return a query that wants some attributes back."""
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword in keys:
        setattr(query, keyword, "")
    return query


def _command(film: FilmFacts) -> Command:
    return Command(film.sop_class_uid, film.sop_instance_uid, "")


def _films(assoc: Association, study: StudyFacts) -> Iterator[FilmFacts]:
    """Ask for the images of the series that are of the chest."""
    query = _query("SERIES", _SERIES_KEYS)
    query.StudyInstanceUID = study.study_uid
    series = chest_series(study, map(SeriesFacts.of, find(assoc, query)))
    for one in series[:MAX_SERIES]:
        query = _query("IMAGE", _IMAGE_KEYS)
        query.StudyInstanceUID, query.SeriesInstanceUID = study.study_uid, one.series_uid
        for answer in find(assoc, query):
            answer.SeriesInstanceUID = one.series_uid
            yield FilmFacts.of(answer)


def _get(assoc: Association, study: StudyFacts, film: FilmFacts, taker: _Taker) -> None:
    """Have one film sent over the same association."""
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID = study.study_uid, film.series_uid
    query.SOPInstanceUID = film.sop_instance_uid
    assoc.bind(evt.EVT_C_STORE, taker.on_c_store)
    try:
        for status, _ in assoc.send_c_get(query, UID(STUDY_ROOT_GET)):
            if "Status" not in status:
                raise PeerError("no answer to C-GET")
            last = int(status.Status)
    except (RuntimeError, ValueError) as error:
        raise PeerError("the association was lost") from error
    if not taker.was_sent:
        raise PeerError(f"C-GET brought nothing: status 0x{last:04X}")
