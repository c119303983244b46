"""The completion rule and the table of states."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import StudySettings
from node.studies import (
    ENDED,
    TRANSITIONS,
    Announced,
    Counted,
    Evidence,
    Receiving,
    State,
    close_quiet_studies,
    is_announced,
    is_complete,
    may_move,
)

RULE = StudySettings(quiet_s=8, confirmed_quiet_s=2, hard_cap_s=120, successor_every_s=60)
seconds = st.floats(min_value=0, max_value=1000)
images = st.frozensets(st.sampled_from("abcd"))
evidences = st.builds(
    Evidence,
    images,
    st.lists(st.builds(Announced, st.booleans(), images), max_size=3).map(tuple),
    st.none() | st.builds(Counted, st.integers(0, 4), seconds),
)
receivings = st.builds(
    lambda first, gap, before, evidence: Receiving(
        "1.2", 1, first, first + gap, 1, before, evidence
    ),
    seconds,
    seconds,
    st.none() | seconds,
    evidences,
)


def _study(first_at: float, last_at: float, num_patients: int = 1) -> Receiving:
    return Receiving("1.2", 1, first_at, last_at, num_patients)


@given(first=seconds, silence=seconds, is_open=st.booleans())
def test_a_study_is_complete_when_quiet_and_closed_or_old(
    first: float, silence: float, is_open: bool
) -> None:
    study = _study(0, first)
    expected = (silence >= 8 and not is_open) or first + silence >= 120
    now = first + silence
    # the sum is rounded: stay away from the very edge
    if abs(now - first - 8) > 1e-6 and abs(now - 120) > 1e-6:
        assert is_complete(study, now=now, is_open=is_open, rule=RULE) is expected


@given(first=seconds, gap=seconds, later=seconds, is_open=st.booleans())
def test_a_complete_study_stays_complete_while_time_passes(
    first: float, gap: float, later: float, is_open: bool
) -> None:
    study, now = _study(first, first), first + gap
    if is_complete(study, now=now, is_open=is_open, rule=RULE):
        assert is_complete(study, now=now + later, is_open=is_open, rule=RULE)


@given(study=receivings, wait=seconds, later=seconds, is_open=st.booleans())
def test_with_the_same_evidence_a_complete_study_stays_complete(
    study: Receiving, wait: float, later: float, is_open: bool
) -> None:
    now = study.last_at + wait
    if is_complete(study, now=now, is_open=is_open, rule=RULE):
        assert is_complete(study, now=now + later, is_open=is_open, rule=RULE)


@given(study=receivings, wait=seconds, is_open=st.booleans())
def test_evidence_only_ever_makes_a_study_complete_earlier(
    study: Receiving, wait: float, is_open: bool
) -> None:
    now = study.last_at + wait
    silent = replace(study, evidence=Evidence())
    if is_complete(silent, now=now, is_open=is_open, rule=RULE):
        assert is_complete(study, now=now, is_open=is_open, rule=RULE)


@given(study=receivings, wait=seconds, is_open=st.booleans())
def test_a_successor_never_comes_sooner_than_the_setting_says(
    study: Receiving, wait: float, is_open: bool
) -> None:
    now = study.last_at + wait
    before = study.previous_ready_at
    if before is not None and is_complete(study, now=now, is_open=is_open, rule=RULE):
        assert now - before >= RULE.successor_every_s


@given(held=images, named=st.lists(images, min_size=1, max_size=3))
def test_announced_means_that_exactly_the_named_images_are_here(
    held: frozenset[str], named: list[frozenset[str]]
) -> None:
    announced = tuple(Announced(True, one) for one in named)
    everything = frozenset[str]().union(*named)
    assert is_announced(Evidence(held, announced)) is (bool(held) and held == everything)
    unfinished = (*announced, Announced(False, frozenset()))
    assert not is_announced(Evidence(held, unfinished))


def test_an_announced_study_closes_at_once_even_while_its_association_is_open() -> None:
    evidence = Evidence(frozenset("ab"), (Announced(True, frozenset("ab")),))
    study = Receiving("1.2", 1, 0, 10, evidence=evidence)
    assert is_complete(study, now=10, is_open=True, rule=RULE)


@pytest.mark.parametrize(
    ("counted", "now", "is_open", "expected"),
    [
        (Counted(2, 12), 12, False, True),
        (Counted(2, 12), 11.9, False, False),
        (Counted(2, 12), 12, True, False),
        (Counted(3, 12), 12, False, False),
        (Counted(1, 12), 12, False, False),
        (Counted(2, 9), 12, False, False),
        (None, 12, False, False),
    ],
)
def test_a_count_that_matches_shortens_the_silence(
    counted: Counted | None, now: float, is_open: bool, expected: bool
) -> None:
    study = Receiving("1.2", 1, 0, 10, evidence=Evidence(frozenset("ab"), (), counted))
    assert is_complete(study, now=now, is_open=is_open, rule=RULE) is expected


def test_two_patients_in_one_study_fail_it() -> None:
    (closing,) = close_quiet_studies(
        [_study(0, 0, num_patients=2)], now=9, open_study_uids=frozenset(), rule=RULE
    )
    assert closing.state is State.FAILED
    assert "more than one patient" in closing.reason


def test_an_open_association_keeps_only_its_own_study_open() -> None:
    studies = [Receiving(uid, 1, 0, 0) for uid in ("1.1", "1.2")]
    closings = close_quiet_studies(studies, now=9, open_study_uids=frozenset({"1.1"}), rule=RULE)
    assert [closing.study.study_uid for closing in closings] == ["1.2"]


def test_the_table_names_every_state_and_ends_where_it_should() -> None:
    assert set(TRANSITIONS) == set(State)
    after = {state: TRANSITIONS[state] for state in ENDED}
    again = frozenset({State.DELIVERING})
    assert after == {State.DONE: again, State.FAILED: again, State.SKIPPED: frozenset()}


def test_every_state_is_reached_from_receiving() -> None:
    reached, frontier = {State.RECEIVING}, [State.RECEIVING]
    while frontier:
        start = frontier.pop()
        new = {end for end in State if may_move(start, end)} - reached
        reached |= new
        frontier += new
    assert reached == set(State)
