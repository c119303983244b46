"""Which film of a patient is the last one before this study, and whose it is. Pure functions.

Another patient's film must never be taken for a prior. So what a peer answers is compared with what
was asked: the Patient ID to the letter, issuer and date of birth wherever both sides know them.
Where the study at hand knows less than the answers, and they disagree, none is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from node.copied import text_of
from node.intake import is_uid
from node.rules import (
    FILM_MODALITIES,
    LABELLED_OTHERWISE,
    own_output,
    speaks_of_chest,
    view_rank,
)
from node.sop_classes import FILM_CLASSES, FOR_PROCESSING

_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_WILD = re.compile(r"[*?\\]")


@dataclass(frozen=True)
class Patient:
    """Whose a study is, as far as its header says; what it does not say is empty."""

    patient_id: str
    issuer: str = ""
    birth_date: str = ""

    @classmethod
    def of(cls, ds: Dataset) -> Patient:
        """Read a header or an answer."""
        names = ("PatientID", "IssuerOfPatientID", "PatientBirthDate")
        return cls(*(text_of(ds, name) for name in names))

    def may_be(self, other: Patient) -> bool:
        """Tell whether nothing speaks against two records being of one patient."""
        return self.patient_id == other.patient_id != "" and all(
            not mine or not theirs or mine == theirs
            for mine, theirs in ((self.issuer, other.issuer), (self.birth_date, other.birth_date))
        )


@dataclass(frozen=True)
class StudyFacts:
    """What a header or a peer's answer says of a study."""

    study_uid: str
    patient: Patient
    date: str
    time: str = ""
    description: str = ""
    modalities: tuple[str, ...] = ()
    peer: str = ""

    @classmethod
    def of(cls, ds: Dataset, peer: str = "") -> StudyFacts:
        """Read a header or an answer at the STUDY level."""
        modalities = text_of(ds, "ModalitiesInStudy").split("\\")
        return cls(
            text_of(ds, "StudyInstanceUID"),
            Patient.of(ds),
            text_of(ds, "StudyDate"),
            text_of(ds, "StudyTime"),
            text_of(ds, "StudyDescription"),
            tuple(modality.strip() for modality in modalities if modality.strip()),
            peer,
        )

    @property
    def instant(self) -> tuple[str, str]:
        """Date and time in the order of time; a time that is no TM counts as unknown."""
        if not _TIME.fullmatch(self.time):
            return self.date, ""
        whole, _, fraction = self.time.partition(".")
        return self.date, f"{whole:0<6}.{fraction:0<6}"


@dataclass(frozen=True)
class SeriesFacts:
    """What a peer's answer says of a series."""

    series_uid: str
    modality: str
    body_part: str
    description: str

    @classmethod
    def of(cls, ds: Dataset) -> SeriesFacts:
        """Read an answer at the SERIES level."""
        names = ("SeriesInstanceUID", "Modality", "BodyPartExamined", "SeriesDescription")
        return cls(*(text_of(ds, name) for name in names))


@dataclass(frozen=True)
class FilmFacts:
    """What a peer's answer says of an image."""

    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    view: str

    @classmethod
    def of(cls, ds: Dataset) -> FilmFacts:
        """Read an answer at the IMAGE level, or a header."""
        names = ("SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "ViewPosition")
        return cls(*(text_of(ds, name) for name in names))


def why_not_asked(current: StudyFacts) -> str:
    """Return why no prior of a study can be asked for; empty where it can."""
    if not current.patient.patient_id:
        return "the study has no Patient ID"
    if _WILD.search(current.patient.patient_id):
        return "the Patient ID would match others"
    if not _DATE.fullmatch(current.date):
        return "the study has no date"
    return ""


def earlier_studies(
    current: StudyFacts, found: Iterable[StudyFacts]
) -> tuple[tuple[StudyFacts, ...], str]:
    """Return the studies that may hold the prior, newest first, or why there is none.

    Parameters
    ----------
    current
        The study at hand, which `why_not_asked` has nothing against.
    found
        What peers answered, whatever they were asked.
    """
    answers = list(found)
    same = [study for study in answers if current.patient.may_be(study.patient)]
    if _are_of_several(current.patient, same):
        return (), "the peers know several patients under this Patient ID"
    earlier = [study for study in same if _is_before(study, current) and _may_hold_films(study)]
    if not earlier:
        return (), _why_none(answers, same)
    newest_first: dict[str, StudyFacts] = {}
    for study in sorted(earlier, key=_newness, reverse=True):
        newest_first.setdefault(study.study_uid, study)
    return tuple(newest_first.values()), ""


def _why_none(answers: Sequence[StudyFacts], same: Sequence[StudyFacts]) -> str:
    if not answers:
        return "no study of the patient is known"
    return "no study of films is earlier" if same else "the answers are of other patients"


def _are_of_several(patient: Patient, same: Sequence[StudyFacts]) -> bool:
    """Tell whether answers differ in what we do not know of our patient."""
    known: tuple[tuple[str, Callable[[Patient], str]], ...] = (
        (patient.issuer, lambda one: one.issuer),
        (patient.birth_date, lambda one: one.birth_date),
    )
    return any(
        not ours and len({of(study.patient) for study in same} - {""}) > 1 for ours, of in known
    )


def _newness(study: StudyFacts) -> tuple[tuple[str, str], str]:
    return study.instant, study.study_uid


def _is_before(study: StudyFacts, current: StudyFacts) -> bool:
    """Tell whether a study was before; on the same day both times must be known."""
    if study.study_uid == current.study_uid or not _DATE.fullmatch(study.date):
        return False
    if study.date != current.date:
        return study.date < current.date
    return "" < study.instant[1] < current.instant[1]


def _may_hold_films(study: StudyFacts) -> bool:
    """Tell whether a study may hold films; a peer need not say (PS3.4 table C.6-5)."""
    is_film = any(modality in FILM_MODALITIES for modality in study.modalities)
    return is_uid(study.study_uid) and (is_film or not study.modalities)


def chest_series(study: StudyFacts, found: Iterable[SeriesFacts]) -> tuple[SeriesFacts, ...]:
    """Return the series of a study that hold chest films.

    A body part says it alone; where none is given, a description of the series or the study does.
    """
    return tuple(one for one in found if is_uid(one.series_uid) and _is_of_chest(study, one))


def _is_of_chest(study: StudyFacts, series: SeriesFacts) -> bool:
    said = series.body_part or f"{series.description} {study.description}"
    return series.modality in FILM_MODALITIES and speaks_of_chest(said)


def frontal_films(found: Iterable[FilmFacts]) -> tuple[FilmFacts, ...]:
    """Return the films that no label calls lateral: PA first, then AP, then without a label."""
    usable = (
        film
        for film in found
        if film.sop_class_uid in FILM_CLASSES
        and is_uid(film.sop_instance_uid)
        and view_rank(film.view) < LABELLED_OTHERWISE
    )
    return tuple(sorted(usable, key=_preference))


def _preference(film: FilmFacts) -> tuple[int, bool, str]:
    is_raw = film.sop_class_uid == FOR_PROCESSING
    return view_rank(film.view), is_raw, film.sop_instance_uid


def why_not_used(current: StudyFacts, study: StudyFacts, ds: Dataset) -> str:
    """Return why a film that was fetched is no prior of a study; empty where it is one.

    Parameters
    ----------
    study
        The study that it was asked for from.
    ds
        Its own header, which counts for more than the answers that led to it.
    """
    own = StudyFacts.of(ds)
    body_part = text_of(ds, "BodyPartExamined")
    tests = (
        (current.patient.may_be(own.patient), "it is another patient's"),
        (own.study_uid == study.study_uid, "it is of another study"),
        (_is_before(own, current), "it is not from before this study"),
        (own_output(ds) is None, "it is no film of a modality"),
        (bool(frontal_films([FilmFacts.of(ds)])), "it is no frontal film"),
        (not body_part or speaks_of_chest(body_part), "it is not of the chest"),
    )
    return next((reason for is_so, reason in tests if not is_so), "")
