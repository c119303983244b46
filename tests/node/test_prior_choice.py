"""The prior is of the same patient, from before, of the chest and frontal; no other film is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.prior_choice import (
    FilmFacts,
    Patient,
    SeriesFacts,
    StudyFacts,
    chest_series,
    earlier_studies,
    frontal_films,
    why_not_asked,
    why_not_used,
)
from tests.films import CR, phantom

_IDS = st.sampled_from(["7", "70", "07", " 7", "x"])
_ISSUERS = st.sampled_from(["", "A", "B"])
_BIRTHS = st.sampled_from(["", "19500101", "19600101"])
_PATIENTS = st.builds(Patient, _IDS, _ISSUERS, _BIRTHS)
_DATES = st.sampled_from(["", "bad", "20190101", "20200101", "20210101"])
_TIMES = st.sampled_from(["", "08", "0900", "090000.5", "101010", "late"])
_STUDIES = st.builds(
    StudyFacts,
    st.sampled_from(["1.1", "1.2", "1.3", "1.4", "no uid"]),
    _PATIENTS,
    _DATES,
    _TIMES,
    modalities=st.sampled_from([(), ("CR",), ("DX", "SR"), ("MR",)]),
)
CURRENT = StudyFacts("1.1", Patient("7", "A", "19500101"), "20200101", "1000")


def _study(uid: str, date: str, time: str = "", **changes: object) -> StudyFacts:
    return replace(CURRENT, study_uid=uid, date=date, time=time, **changes)


@given(current=_STUDIES, found=st.lists(_STUDIES, max_size=8))
def test_only_earlier_film_studies_of_the_same_patient_are_chosen_newest_first(
    current: StudyFacts, found: list[StudyFacts]
) -> None:
    chosen, reason = earlier_studies(current, found)
    assert bool(chosen) is not bool(reason)
    for study in chosen:
        assert study.patient.patient_id == current.patient.patient_id
        for ours, theirs in zip(
            (current.patient.issuer, current.patient.birth_date),
            (study.patient.issuer, study.patient.birth_date),
            strict=True,
        ):
            assert not ours or not theirs or ours == theirs
        assert study.study_uid != current.study_uid
        assert study.date <= current.date
        assert "MR" not in study.modalities
    assert [one.instant for one in chosen] == sorted((one.instant for one in chosen), reverse=True)
    for of in ("issuer", "birth_date"):
        known = {getattr(study.patient, of) for study in chosen} - {""}
        assert len(known) <= 1, "never of two patients"


@given(found=st.lists(_STUDIES, max_size=6), others=st.permutations(range(6)))
def test_the_order_of_the_answers_does_not_matter(
    found: list[StudyFacts], others: list[int]
) -> None:
    shuffled = [found[place] for place in others if place < len(found)]
    one, two = (earlier_studies(CURRENT, order)[0] for order in (found, shuffled))
    assert [study.instant for study in one] == [study.instant for study in two]


@pytest.mark.parametrize(
    ("date", "time", "is_before"),
    [
        ("20191231", "", True),
        ("20200101", "0959", True),
        ("20200101", "095959.999", True),
        ("20200101", "1000", False),
        ("20200101", "", False),
        ("20200102", "0800", False),
    ],
)
def test_a_film_of_the_same_day_counts_where_its_time_is_earlier(
    date: str, time: str, is_before: bool
) -> None:
    assert bool(earlier_studies(CURRENT, [_study("1.2", date, time)])[0]) is is_before


def test_an_id_that_two_patients_share_has_no_prior() -> None:
    current = replace(CURRENT, patient=Patient("7"))
    found = [
        _study("1.2", "20190101", patient=Patient("7", birth_date=birth))
        for birth in ("19500101", "19600101")
    ]
    chosen, reason = earlier_studies(current, found)
    assert not chosen
    assert "several patients" in reason


@pytest.mark.parametrize(
    ("patient", "date", "reason"),
    [
        (Patient(""), "20200101", "no Patient ID"),
        (Patient("7*"), "20200101", "match others"),
        (Patient("7\\8"), "20200101", "match others"),
        (Patient("7"), "", "no date"),
        (Patient("7"), "20200101", ""),
    ],
)
def test_a_study_that_names_no_one_patient_is_not_asked_about(
    patient: Patient, date: str, reason: str
) -> None:
    why = why_not_asked(replace(CURRENT, patient=patient, date=date))
    assert reason in why
    assert bool(why) is bool(reason)


@pytest.mark.parametrize(
    ("series", "study", "is_taken"),
    [
        (("DX", "CHEST", ""), "", True),
        (("DX", "HAND", "chest"), "CHEST", False),
        (("CR", "", "Thorax pa"), "", True),
        (("CR", "", "pa"), "XR CHEST 2 VIEWS", True),
        (("CR", "", "pa"), "XR KNEE", False),
        (("CT", "CHEST", ""), "CT CHEST", False),
    ],
)
def test_a_series_is_of_the_chest_by_its_body_part_or_else_by_what_is_written(
    series: tuple[str, str, str], study: str, is_taken: bool
) -> None:
    answer = SeriesFacts("1.5", *series)
    described = _study("1.2", "20190101", description=study)
    assert bool(chest_series(described, [answer])) is is_taken


@given(st.lists(st.sampled_from(["PA", "AP", "", "LL", "LATERAL", "RAO"])))
def test_no_film_that_is_labelled_otherwise_is_frontal(views: list[str]) -> None:
    films = frontal_films(
        FilmFacts("1.5", f"1.6.{number}", CR, view) for number, view in enumerate(views)
    )
    ranks = {"PA": 0, "AP": 1, "": 2}
    assert [ranks[film.view] for film in films] == sorted(
        ranks[view] for view in views if view in ranks
    )


def _fetched(**changes: object) -> Dataset:
    ds = phantom("prior", PatientID="7", StudyDate="20190101", StudyInstanceUID="1.2")
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"PatientID": "8"}, "another patient"),
        ({"PatientBirthDate": "19600101"}, "another patient"),
        ({"IssuerOfPatientID": "B"}, "another patient"),
        ({"StudyInstanceUID": "1.3"}, "another study"),
        ({"StudyDate": "20210101"}, "not from before"),
        ({"SyntheticData": "YES"}, "no film of a modality"),
        ({"ViewPosition": "LL"}, "no frontal film"),
        ({"BodyPartExamined": "HAND"}, "not of the chest"),
    ],
)
def test_what_was_fetched_must_be_what_was_answered(
    changes: dict[str, object], reason: str
) -> None:
    why = why_not_used(CURRENT, _study("1.2", "20190101"), _fetched(**changes))
    assert reason in why
    assert bool(why) is bool(reason)
