"""The completion rule and the table of states."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.config import StudySettings
from node.studies import TRANSITIONS, Receiving, State, close_quiet_studies, is_complete, may_move

RULE = StudySettings(quiet_s=8, hard_cap_s=120)
seconds = st.floats(min_value=0, max_value=1000)


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
    ends = {state for state in State if not TRANSITIONS[state]}
    assert ends == {State.DONE, State.SKIPPED, State.FAILED}


def test_every_state_is_reached_from_receiving() -> None:
    reached, frontier = {State.RECEIVING}, [State.RECEIVING]
    while frontier:
        start = frontier.pop()
        new = {end for end in State if may_move(start, end)} - reached
        reached |= new
        frontier += new
    assert reached == set(State)
