"""What a good peer notices of an attack: on this node, and on plain pynetdicom.

The attacks of `tests/acceptance/test_attacks.py`, each for a few seconds, while a good peer sends a
film every half second: how long it waited at worst, how many films it did not get rid of, and what
the receiver's memory was afterwards.

    python -m benchmarks.attacks [--seconds 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.receivers import RECEIVERS, Running, Site, Way
from tests.acceptance.test_attacks import ATTACKS, Attack, send_film
from tests.pki import Authority

_COMPARED = ("cxr-node", "pynetdicom")
_PAUSE_S = 0.5
_LIMIT_S = 10.0
_REST_S = 2.0


@dataclass(frozen=True)
class Row:
    """One attack on one receiver."""

    attack: str
    receiver: str
    worst_s: float
    num_failed: int
    num_sent: int
    grown_mb: float
    """Resident memory two seconds after the attack, over that before it."""


def _rss_mb(running: Running) -> float:
    status = Path(f"/proc/{running.pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def _attempt(port: int, name: str) -> tuple[float, bool]:
    """Send one film; return the seconds, and whether it was taken."""
    started = time.monotonic()
    try:
        is_taken = send_film(port, name) == 0
    except (OSError, AssertionError):
        is_taken = False
    return time.monotonic() - started, is_taken


def _measure(running: Running, name: str, attack: Attack, seconds: float, receiver: str) -> Row:
    before, stop = _rss_mb(running), threading.Event()
    attacker = threading.Thread(target=attack, args=(running.target.port, stop), daemon=True)
    attacker.start()
    waits, ends_at = [], time.monotonic() + seconds
    while time.monotonic() < ends_at:
        time.sleep(_PAUSE_S)
        waits.append(_attempt(running.target.port, f"{name} {receiver} {len(waits)}"))
    stop.set()
    attacker.join(_LIMIT_S)
    time.sleep(_REST_S)
    return Row(
        name,
        receiver,
        max(wait for wait, _ in waits),
        sum(not is_taken for _, is_taken in waits),
        len(waits),
        _rss_mb(running) - before,
    )


def run(seconds: float) -> list[Row]:
    """Attack every receiver in every way, each time a fresh one."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        site = Site(Path(folder), authority, authority.issue("CXRDRAFT"))
        for name, attack in ATTACKS.items():
            for receiver in _COMPARED:
                with RECEIVERS[receiver](site, Way()) as running:
                    _attempt(running.target.port, f"{name} {receiver} first")
                    rows.append(_measure(running, name, attack, seconds, receiver))
    return rows


def _show(rows: list[Row]) -> None:
    table = Table(title="a good peer under attack: cxr-node | pynetdicom")
    for heading in ("attack", "worst wait s", "films not taken", "memory MB"):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
        table.add_row(
            ours.attack,
            f"{ours.worst_s:.2f} | {theirs.worst_s:.2f}",
            f"{ours.num_failed}/{ours.num_sent} | {theirs.num_failed}/{theirs.num_sent}",
            f"{ours.grown_mb:+.0f} | {theirs.grown_mb:+.0f}",
        )
    Console(width=110).print(table)


def main() -> None:
    """Attack and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = run(options.seconds)
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        _show(rows)


if __name__ == "__main__":
    main()
