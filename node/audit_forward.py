"""From the trail to the audit repository: in order, and again until it has read them.

The trail itself is the queue: what is not sent yet stands in it, and a file beside it says how far
the repository has come. It may be away for weeks; nothing is dropped.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from node.clock import Clock
from node.errors import PeerError
from node.logs import get_logger, say
from node.syslog import Record, Repository

_LOG = get_logger("audit")
_BATCH = 200
_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 300.0


def sent_path(trail: Path) -> Path:
    """Return the file that says how much of a trail the repository has."""
    return trail.with_name(trail.name + ".sent")


def sent_bytes(trail: Path) -> int:
    """Return how many bytes of a trail the repository has read; 0 where none, or a new trail."""
    try:
        sent = int(sent_path(trail).read_text())
        return sent if sent <= trail.stat().st_size else 0
    except (OSError, ValueError):
        return 0


def unsent(trail: Path) -> int:
    """Return the number of messages that the repository has not read."""
    return sum(1 for _ in _pending(trail, sent_bytes(trail)))


def _pending(trail: Path, start: int) -> Iterator[bytes]:
    """Yield the whole lines of a trail from a position on."""
    with trail.open("rb") as file:
        file.seek(start)
        yield from (line for line in file if line.endswith(b"\n"))


class Forwarder:
    """Sends the trail on.

    Parameters
    ----------
    trail
        The file that `node.audit_chain` writes.
    """

    def __init__(self, trail: Path, repository: Repository, clock: Clock) -> None:
        self._trail = trail
        self._repository = repository
        self._clock = clock
        self._wait_s = _FIRST_WAIT_S
        self._next_at = 0.0

    def step(self) -> bool:
        """Send the next batch, if one is due; tell whether the repository read it."""
        if self._clock.now() < self._next_at:
            return False
        start = sent_bytes(self._trail)
        lines = list(islice(_pending(self._trail, start), _BATCH))
        if not lines:
            return False
        try:
            self._repository.send(map(_record, lines), os.getpid())
        except PeerError as error:
            self._postpone(error)
            return False
        self._advance(start + sum(map(len, lines)))
        self._wait_s = _FIRST_WAIT_S
        say(_LOG, "audit.forwarded", level=logging.DEBUG, messages=len(lines))
        return True

    def _postpone(self, error: PeerError) -> None:
        say(
            _LOG,
            "audit.repository_away",
            level=logging.WARNING,
            reason=str(error),
            hint=error.hint or "nothing is lost: messages wait in the audit trail",
            retry_in_s=self._wait_s,
        )
        self._next_at = self._clock.now() + self._wait_s
        self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)

    def _advance(self, position: int) -> None:
        """Note how far the repository is; lost in a crash, a batch is sent once more."""
        path = sent_path(self._trail)
        aside = path.with_name(path.name + ".partial")
        with aside.open("w") as file:
            file.write(str(position))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)


def _record(line: bytes) -> Record:
    entry = json.loads(line)
    return Record(datetime.fromisoformat(entry["at"]), entry["xml"])
