"""In CI nothing may be skipped because a peer, a tool or a film is missing."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.postgres import Postgres

_MISSING = ("not installed", "not here")
"""What the reason of a skip says when something is missing; other skips are what they say."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    reason = _reason(report)
    if "CI" in os.environ and any(words in reason for words in _MISSING):
        report.outcome, report.longrepr = "failed", f"skipped in CI: {reason}"
    return report


def _reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped, or nothing."""
    where: Any = report.longrepr
    return str(where[2]) if report.skipped and isinstance(where, tuple) else ""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Return a PostgreSQL that runs."""
    server = Postgres()
    server.start()
    yield server
    server.stop("immediate")
    server.remove()
