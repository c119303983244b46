"""Hours of the day as a site writes them, `22:00-05:00`, in local time. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def checked(text: str) -> str:
    """Check hours as they are written; `ValueError` says what is wrong."""
    if not _HOURS.fullmatch(text):
        raise ValueError("write hours as 22:00-05:00, from 00:00 to 23:59")
    start, end = _bounds(text)
    if start == end:
        raise ValueError("the hours begin and end at one time: leave them out, or write another")
    return text


def is_within(hours: Sequence[str], moment: datetime) -> bool:
    """Tell whether a local time lies in any of some hours; each holds its start, not its end."""
    return any(_holds(text, moment.time()) for text in hours)


def end_after(hours: Sequence[str], moment: datetime) -> datetime:
    """Return when the hours that hold a local time are over, those that follow on included.

    At most a day later: hours that cover the whole day never end.
    """
    end = moment
    for _ in range(2 * len(hours)):
        holding = [text for text in hours if _holds(text, end.time())]
        if not holding or end - moment >= timedelta(days=1):
            break
        end = max(_next(_bounds(text)[1], end) for text in holding)
    return min(end, moment + timedelta(days=1))


def _holds(text: str, at: time) -> bool:
    start, end = _bounds(text)
    return start <= at < end if start < end else at >= start or at < end


def _next(at: time, moment: datetime) -> datetime:
    """Return the first moment after another at which it is so late."""
    same_day = moment.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    return same_day if same_day > moment else same_day + timedelta(days=1)


def _bounds(text: str) -> tuple[time, time]:
    start, end = text.split("-")
    return time.fromisoformat(start), time.fromisoformat(end)
