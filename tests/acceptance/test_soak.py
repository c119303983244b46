"""A study a second for a long time, with attacks beside it: nothing grows, nothing is left undone.

CXR_SOAK_S sets the length: half a minute by default, 600 or 3600 for a real soak.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import pytest

from tests import films, wire
from tests.acceptance.killing import ForgetfulPacs
from tests.acceptance.peers import NodeProcess, free_port, node_settings, peer, wait_for
from tests.acceptance.test_attacks import ATTACKS

SOAK_S = float(os.environ.get("CXR_SOAK_S", "30"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(SOAK_S + 600)]

_VIEWS = 2
_QUIET_S = 10
"""Longer than a film waits under attack on a busy machine: else its study is drafted twice."""
_ATTACK_S = 5.0
_SAMPLE_S = 2.0
_STAND_IN = [sys.executable, "-m", "tests.acceptance.stand_in_node"]
_MILD = (
    "200 silent sockets",
    "half a request",
    "garbage",
    "HTTP",
    "an unknown title",
    "data first",
)
"""Attacks that go on all the time; the rest have tests of their own."""


@dataclass
class Samples:
    """What the node took up, again and again."""

    at_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def take(self, node: NodeProcess, started: float) -> None:
        assert node.process is not None
        folder = Path(f"/proc/{node.process.pid}")
        status = dict(
            line.split(":", 1)
            for line in (folder / "status").read_text().splitlines()
            if ":" in line
        )
        self.at_s.append(time.monotonic() - started)
        self.rss_mb.append(int(status["VmRSS"].split()[0]) / 1024)
        self.descriptors.append(_num_descriptors(node))
        self.threads.append(int(status["Threads"]))

    def later_half(self) -> Samples:
        """Return the samples of the second half, when everything that is made once is there."""
        half = len(self.at_s) // 2
        return Samples(
            self.at_s[half:], self.rss_mb[half:], self.descriptors[half:], self.threads[half:]
        )

    def mb_per_hour(self) -> float:
        """Return the slope of the resident set."""
        return statistics.linear_regression(self.at_s, self.rss_mb).slope * 3600


class Modality(threading.Thread):
    """Sends a study of two films every second, come what may."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._stop_asked = stop
        self.acknowledged: list[str] = []
        self.waits_s: list[float] = []
        self.num_refused = 0

    def run(self) -> None:
        due = time.monotonic()
        while not self._stop_asked.wait(max(due - time.monotonic(), 0)):
            due += 1
            self._send(f"soak {len(self.acknowledged) + self.num_refused}")

    def _send(self, name: str) -> None:
        for view in range(_VIEWS):
            ds = films.phantom(name, SOPInstanceUID=films.uid(name, view))
            started = time.monotonic()
            try:
                status = wire.send(self._port, ds)
            except (OSError, AssertionError):
                status = -1
            self.waits_s.append(time.monotonic() - started)
            if status != 0:
                self.num_refused += 1
                return
        self.acknowledged.append(str(ds.StudyInstanceUID))


@pytest.fixture
def pacs() -> Iterator[ForgetfulPacs]:
    server = ForgetfulPacs(random.Random(0), forgets=0)
    yield server
    server.stop()


@pytest.fixture
def node(tmp_path: Path, pacs: ForgetfulPacs) -> Iterator[NodeProcess]:
    asked = peer("PACS", pacs.port, ["report"])
    asked |= {"commitment": True, "allow": ["echo", "store", "commitment"]}
    settings = node_settings(tmp_path, free_port(), {"pacs": asked, "turned": peer("TURNED", 1)})
    settings["node"]["work"]["num_workers"] = 2
    settings["node"]["study"]["quiet_s"] = _QUIET_S
    running = NodeProcess(tmp_path / "node", settings, command=_STAND_IN, MALLOC_ARENA_MAX="2")
    running.start()
    yield running
    assert running.stop() == 0


def _attack(port: int, stop: threading.Event) -> None:
    """Attack in one way after another."""
    for name in cycle(_MILD):
        if stop.is_set():
            return
        ends = threading.Event()
        timer = threading.Timer(_ATTACK_S, ends.set)
        timer.start()
        ATTACKS[name](port, ends)
        timer.cancel()


def test_nothing_grows_and_every_study_is_drafted_and_committed(
    node: NodeProcess, pacs: ForgetfulPacs
) -> None:
    stop, samples, started = threading.Event(), Samples(), time.monotonic()
    num_at_rest = _num_descriptors(node)
    modality = Modality(node.port, stop)
    attacker = threading.Thread(target=_attack, args=(node.port, stop))
    modality.start()
    attacker.start()
    while time.monotonic() - started < SOAK_S:
        time.sleep(_SAMPLE_S)
        samples.take(node, started)
    stop.set()
    modality.join(30)
    attacker.join(60)
    acknowledged = set(modality.acknowledged)
    wait_for(lambda: acknowledged <= _done(node), 300, "every study to be drafted and committed")
    later, waits = samples.later_half(), sorted(modality.waits_s)
    p50_ms, p99_ms = (1000 * waits[int(part * len(waits))] for part in (0.5, 0.99))
    print(
        f"{SOAK_S:g} s: {len(acknowledged)} studies, {modality.num_refused} refused, all done; "
        f"an image p50 {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms; "
        f"RSS {samples.rss_mb[0]:.0f} to {samples.rss_mb[-1]:.0f} MB, "
        f"later half {later.mb_per_hour():+.1f} MB/h; "
        f"descriptors {min(later.descriptors)} to {max(later.descriptors)}, "
        f"threads {min(later.threads)} to {max(later.threads)}"
    )
    assert modality.num_refused == 0
    assert len(acknowledged) >= 0.9 * SOAK_S
    assert set(pacs.contents) == pacs.kept
    assert len(pacs.contents) == len(acknowledged)
    assert later.rss_mb[-1] - later.rss_mb[0] < 20 + 10 * SOAK_S / 3600
    # the last attack may have gone on until the last sample
    wait_for(lambda: _num_descriptors(node) <= num_at_rest + 15, 60, "descriptors to be given back")


def _num_descriptors(node: NodeProcess) -> int:
    """Return how many files and sockets the node holds open."""
    assert node.process is not None
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))


def _done(node: NodeProcess) -> set[str]:
    """Return the studies whose drafts the PACS has committed to."""
    rows = node.journal.studies(limit=100_000)
    return {row["study_uid"] for row in rows if row["state"] == "DONE"}
