"""How fast images are taken in, beside Orthanc, plain pynetdicom and DCMTK's storescp.

Every setting runs all receivers in turn, several rounds, in one run; the median of each receiver's
rounds is compared. Only this node waits for the disk before it answers; `no fsync` is the same
node with its synchronisations turned off, for the comparison with storescp.

    python -m benchmarks.ingest [--rounds 3] [--quick] [--tls] [--no-delay] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.receivers import RECEIVERS, Running, Site, Way
from benchmarks.sending import echo_rate, send_all
from tests.pki import Authority

OURS, BARE = "cxr-node", "cxr-node, no fsync"
_SIZES = {"0.5 MB": 500_000, "10 MB": 10_000_000}
_BUSY = 0.5


@dataclass(frozen=True)
class Setting:
    """One row of the benchmark."""

    size: str
    num_associations: int
    num_objects: int
    """Of each association."""


@dataclass(frozen=True)
class Measured:
    """One round of one receiver."""

    per_s: float
    mb_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Processor milliseconds an object."""
    num_refused: int


@dataclass(frozen=True)
class Row:
    """The medians of one receiver at one setting."""

    size: str
    num_associations: int
    receiver: str
    per_s: float
    mb_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    peak_rss_mb: float
    num_refused: int
    spread: float
    """Largest minus smallest rate, as part of the median."""
    times: float = 1.0
    """How many times this receiver's rate this node's is."""


def settings(*, quick: bool) -> tuple[Setting, ...]:
    """Return the settings: two sizes, one to eight associations."""
    counts = {"0.5 MB": 40 if quick else 200, "10 MB": 8 if quick else 24}
    return tuple(
        Setting(size, associations, max(counts[size] // associations, 4))
        for size in _SIZES
        for associations in (1, 4, 8)
    )


def _measure(running: Running, setting: Setting, name: str) -> Measured:
    before = running.cpu_s()
    num_bytes = _SIZES[setting.size]
    seconds, sent = send_all(
        running.target,
        num_associations=setting.num_associations,
        num_objects=setting.num_objects,
        num_bytes=num_bytes,
        name=name,
    )
    ms = sorted(one for association in sent for one in association.ms)
    num_objects = len(ms)
    return Measured(
        per_s=num_objects / seconds,
        mb_per_s=num_objects * num_bytes / seconds / 1e6,
        p50_ms=statistics.median(ms),
        p99_ms=ms[min(num_objects - 1, int(0.99 * num_objects))],
        cpu_ms=(running.cpu_s() - before) * 1000 / num_objects,
        num_refused=sum(association.num_refused for association in sent),
    )


def _row(setting: Setting, receiver: str, rounds: Sequence[Measured], rss: float) -> Row:
    medians = {
        name: statistics.median(asdict(one)[name] for one in rounds)
        for name in ("per_s", "mb_per_s", "p50_ms", "p99_ms", "cpu_ms")
    }
    rates = [one.per_s for one in rounds]
    return Row(
        setting.size,
        setting.num_associations,
        receiver,
        **medians,
        peak_rss_mb=rss,
        num_refused=sum(one.num_refused for one in rounds),
        spread=(max(rates) - min(rates)) / statistics.median(rates),
    )


def compare(site: Site, way: Way, chosen: Sequence[Setting], num_rounds: int) -> Iterator[Row]:
    """Yield the rows of every setting, receivers interleaved round by round."""
    with ExitStack() as stack:
        running = {name: stack.enter_context(start(site, way)) for name, start in RECEIVERS.items()}
        bare = Way(way.no_delay, synchronises=False, tls=way.tls)
        running[BARE] = stack.enter_context(RECEIVERS[OURS](site, bare))
        for setting in chosen:
            rounds: dict[str, list[Measured]] = {name: [] for name in running}
            for number in range(num_rounds):
                for name, one in running.items():
                    unique = f"{setting.size}.{setting.num_associations}.{number}"
                    rounds[name].append(_measure(one, setting, unique))
                    _settle()
            rates = {
                name: statistics.median(one.per_s for one in made) for name, made in rounds.items()
            }
            for name, made in rounds.items():
                row = _row(setting, name, made, running[name].peak_rss_mb())
                ours = rates[BARE if name == "storescp" else OURS]
                yield Row(**{**asdict(row), "times": ours / rates[name]})


def _settle() -> None:
    """Let the disk finish what one receiver left behind before the next is measured."""
    os.sync()
    time.sleep(0.1)


def _echoes(site: Site, way: Way, seconds: float) -> dict[str, float]:
    """Return C-ECHO associations a second of each receiver."""
    rates = {}
    for name, start in RECEIVERS.items():
        with start(site, way) as running:
            rates[name] = echo_rate(running.target, seconds)
    return rates


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="images taken in; `times` is this node's rate over the receiver's")
    for heading in (
        "size", "assoc", "receiver", "objects/s", "MB/s", "p50 ms", "p99 ms", "CPU ms",
        "peak RSS MB", "refused", "spread", "times",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "receiver" else "right")
    for row in rows:
        table.add_row(
            row.size,
            str(row.num_associations),
            row.receiver,
            f"{row.per_s:.1f}",
            f"{row.mb_per_s:.0f}",
            f"{row.p50_ms:.1f}",
            f"{row.p99_ms:.1f}",
            f"{row.cpu_ms:.1f}",
            f"{row.peak_rss_mb:.0f}",
            str(row.num_refused),
            f"{row.spread:.0%}",
            f"{row.times:.2f}",
        )
    return table


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; return the rows and the echo rates."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        authority = Authority(Path(folder))
        issued = authority.issue("CXRDRAFT", sans=["127.0.0.1"], rsa_bits=2048)
        site = Site(Path(folder), authority, issued)
        way = Way(no_delay=options.no_delay, tls=options.tls)
        rows = list(compare(site, way, settings(quick=options.quick), options.rounds))
        return {"rows": rows, "echoes_per_s": _echoes(site, way, 1.0 if options.quick else 5.0)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="fewer objects")
    parser.add_argument("--tls", action="store_true", help="over TLS 1.3, certificates checked")
    parser.add_argument("--no-delay", action="store_true", help="peers run with TCP_NODELAY=1")
    parser.add_argument("--folder", type=Path, help="where receivers write (default: /tmp)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    console = Console(width=140)
    if load > _BUSY:
        console.print(f"warning: the load is {load:.1f}; other work distorts the ratios")
    measured = run(options)
    if options.json:
        print(json.dumps({**measured, "rows": [asdict(row) for row in measured["rows"]]}))
        return
    console.print(_table(measured["rows"]))
    for name, rate in measured["echoes_per_s"].items():
        console.print(f"C-ECHO associations/s  {name:12} {rate:8.0f}")


if __name__ == "__main__":
    main()
