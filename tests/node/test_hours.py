"""Hours of the day: what lies in them, and when they end."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.hours import checked, end_after, is_within

MINUTES = st.integers(0, 1439)
MOMENTS = st.datetimes(datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2026-12-31"))


def _text(start: int, end: int) -> str:
    return f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"


HOURS = st.tuples(MINUTES, MINUTES).filter(lambda pair: pair[0] != pair[1]).map(lambda p: _text(*p))


@given(HOURS, MOMENTS)
def test_a_day_is_within_or_in_the_hours_turned_round(hours: str, moment: datetime) -> None:
    start, end = hours.split("-")
    assert is_within([hours], moment) != is_within([f"{end}-{start}"], moment)


@given(st.lists(HOURS, min_size=1, max_size=4), MOMENTS)
def test_hours_end_at_the_first_moment_outside_them(hours: list[str], moment: datetime) -> None:
    end = end_after(hours, moment)
    assert moment <= end <= moment + timedelta(days=1)
    if end < moment + timedelta(days=1):
        assert not is_within(hours, end)
    if is_within(hours, moment):
        assert is_within(hours, moment + (end - moment) / 2)
        assert is_within(hours, end - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("time", "within"), [("21:59", False), ("22:00", True), ("04:59", True), ("05:00", False)]
)
def test_the_night_begins_and_ends_on_the_minute(time: str, within: bool) -> None:
    moment = datetime.fromisoformat(f"2026-11-23 {time}")
    assert is_within(["22:00-05:00"], moment) is within


def test_hours_that_follow_on_count_as_one_spell() -> None:
    moment = datetime.fromisoformat("2026-11-23 21:00")
    assert end_after(["20:00-23:00", "22:00-06:00"], moment) == datetime.fromisoformat(
        "2026-11-24 06:00"
    )


@pytest.mark.parametrize("text", ["", "22-05", "24:00-05:00", "22:00", "22:60-05:00", "5:00-6:00"])
def test_what_are_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write hours as"):
        checked(text)


def test_hours_of_no_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one time"):
        checked("22:00-22:00")
