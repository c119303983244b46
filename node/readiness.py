"""Whether the node can do its part right now, and what is missing where it cannot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy.engine import Engine

from node.errors import StorageError
from node.schema import version
from node.transactions import writing

_FRESH_S: Final = 2.0

Test = Callable[[], str]
"""Returns what is wrong; empty where all is well."""


class Readiness:
    """Asks each part; an answer serves for two seconds, however many ask.

    Parameters
    ----------
    tests
        What must be well, by the name of the part.
    """

    def __init__(self, tests: Mapping[str, Test]) -> None:
        self._tests = tests
        self._lock = threading.Lock()
        self._missing: dict[str, str] = {}
        self._asked_at = -_FRESH_S

    def missing(self) -> dict[str, str]:
        """Return the parts that are not ready, each with the reason."""
        with self._lock:
            if time.monotonic() - self._asked_at >= _FRESH_S:
                answers = {name: test() for name, test in self._tests.items()}
                self._missing = {name: reason for name, reason in answers.items() if reason}
                self._asked_at = time.monotonic()
            return self._missing


def ledger_test(engine: Engine) -> Test:
    """Return a test that writes to the ledger what is there already."""

    def test() -> str:
        try:
            with writing(engine) as connection:
                connection.execute(version.update().values(version_num=version.c.version_num))
        except StorageError as error:
            return str(error)
        return ""

    return test


def room_test(check_room: Callable[[], None]) -> Test:
    """Return a test of the disk's watermark."""

    def test() -> str:
        try:
            check_room()
        except StorageError as error:
            return str(error)
        return ""

    return test


def state_test(is_so: Callable[[], bool], otherwise: str) -> Test:
    """Return a test that says one thing where something is not so."""
    return lambda: "" if is_so() else otherwise
