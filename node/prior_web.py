"""A DICOMweb server asked for a patient's earlier films: QIDO-RS, then WADO-RS (PS3.18 10.6, 10.4).

What comes is judged by the same rules as what comes over an association: `node.prior_choice`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.config_outputs import HttpSettings
from node.errors import IntakeRefused, PeerError
from node.http_calls import Server, open_server
from node.intake import Command
from node.prior_choice import FilmFacts, SeriesFacts, StudyFacts, chest_series, frontal_films
from node.prior_source import MAX_SERIES, MAX_TRIED, FoundFilm, checked_film

_JSON: Final = "application/dicom+json"
_DICOM: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_BOUNDARY: Final = re.compile(r'boundary="?([^";]{1,200})"?', re.IGNORECASE)
_GROUP_LENGTH_END: Final = 128 + 4 + 12
"""Bytes up to the end of the File Meta Information Group Length (PS3.10 section 7.1)."""
_OK, _NOTHING = 200, 204
_STUDY_FIELDS = ("PatientBirthDate", "IssuerOfPatientID", "ModalitiesInStudy", "StudyDescription")
"""Asked for one by one: a comma that is written as %2C is not everywhere one between names."""


class WebPriorSource:
    """A DICOMweb server that may hold earlier films.

    Parameters
    ----------
    name
        How the timeline and the log call it.
    max_bytes
        No larger object is taken.
    """

    def __init__(self, name: str, settings: HttpSettings, max_bytes: int) -> None:
        self.name = name
        self._settings = settings
        self._max_bytes = max_bytes

    def studies(self, current: StudyFacts, within_s: float) -> list[StudyFacts]:
        """Return the patient's studies up to this one's day.

        Raises
        ------
        PeerError
            The server cannot be reached, refuses, or does not answer in time.
        """
        with self._calling(within_s) as server:
            found = _search(
                server,
                "studies",
                PatientID=current.patient.patient_id,
                StudyDate=f"-{current.date}",
                includefield=_STUDY_FIELDS,
            )
        return [StudyFacts.of(ds, self.name) for ds in found]

    def film(self, current: StudyFacts, study: StudyFacts, within_s: float) -> FoundFilm | None:
        """Return the frontal chest film of an earlier study.

        Raises
        ------
        PeerError
            The server fails, or does not deliver what it says it has.
        """
        deadline = time.monotonic() + within_s
        with self._calling(within_s) as server:
            for film in frontal_films(_films(server, study))[:MAX_TRIED]:
                if time.monotonic() > deadline:
                    raise PeerError(f"{self._settings.url} did not answer in time")
                found = self._fetched(server, current, study, film)
                if found is not None:
                    return found
        return None

    def _fetched(
        self, server: Server, current: StudyFacts, study: StudyFacts, film: FilmFacts
    ) -> FoundFilm | None:
        """Fetch one film; one that is no prior of the study is left."""
        place = f"studies/{study.study_uid}/series/{film.series_uid}"
        answer = server.get(
            f"{place}/instances/{film.sop_instance_uid}", _DICOM, max_bytes=self._max_bytes
        )
        if answer.status != _OK:
            raise PeerError(f"the film was not given: HTTP {answer.status}")
        try:
            command, encoded = _split(_part(answer.content, answer.content_type))
            if command.sop_instance_uid != film.sop_instance_uid:
                return None
            return checked_film(current, study, command, encoded)
        except IntakeRefused:
            return None

    @contextmanager
    def _calling(self, within_s: float) -> Iterator[Server]:
        if within_s <= 0:
            raise PeerError("no time was left to ask it")
        limit_s = min(within_s, self._settings.timeout_s)
        hurried = self._settings.model_copy(update={"timeout_s": limit_s})
        with open_server(hurried) as server:
            yield server


def _films(server: Server, study: StudyFacts) -> Iterator[FilmFacts]:
    """Ask for the images of the series that are of the chest."""
    place = f"studies/{study.study_uid}/series"
    found = _search(server, place, includefield=("BodyPartExamined", "SeriesDescription"))
    for one in chest_series(study, map(SeriesFacts.of, found))[:MAX_SERIES]:
        images = f"{place}/{one.series_uid}/instances"
        for ds in _search(server, images, includefield=("ViewPosition",)):
            ds.SeriesInstanceUID = one.series_uid
            yield FilmFacts.of(ds)


def _search(server: Server, path: str, **query: str | Sequence[str]) -> list[Dataset]:
    """Return what a server finds (QIDO-RS)."""
    answer = server.get(path, _JSON, query)
    if answer.status == _NOTHING:
        return []
    rows = answer.json()
    if answer.status != _OK or not isinstance(rows, list):
        raise PeerError(f"the query failed: HTTP {answer.status}")
    try:
        return [Dataset.from_json(row) for row in rows]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PeerError("the query was answered with something that is no DICOM JSON") from error


def _part(content: bytes, content_type: str) -> bytes:
    """Return the one object of a multipart answer (PS3.18 section 8.7.3)."""
    named = _BOUNDARY.search(content_type)
    if named is None:
        return content
    mark = b"--" + named.group(1).encode("latin-1")
    _, _, rest = content.partition(mark)
    _, _, rest = rest.partition(b"\r\n\r\n")
    return rest[: max(rest.find(b"\r\n" + mark), 0)]


def _split(file: bytes) -> tuple[Command, BytesIO]:
    """Return what a DICOM file says it is, and its data set as it is encoded.

    Raises
    ------
    PeerError
        It is no DICOM file.
    """
    try:
        meta = dcmread(BytesIO(file), specific_tags=[]).file_meta
        start = _GROUP_LENGTH_END + int(meta.FileMetaInformationGroupLength)
        command = Command(
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            str(meta.TransferSyntaxUID),
        )
    except (InvalidDicomError, AttributeError, EOFError, ValueError, KeyError) as error:
        raise PeerError("what was given is no DICOM file") from error
    return command, BytesIO(file[start:])
