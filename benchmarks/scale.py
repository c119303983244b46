"""Studies a second with one, two and four workers, and what the ledger itself costs a study.

The model is a stand-in that sleeps as long as the real one was measured to take, so that what is
measured is everything around it: claims, jobs, files, transactions. The ledger's cost is that of
the transactions of one study, one after another, on SQLite and on PostgreSQL.

    python -m benchmarks.scale [--seconds 0.26] [--studies 40] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from node.config import NodeSettings, StudySettings
from node.database import ledger_url, open_ledger, sqlite_url
from node.ledger import Ledger
from node.outbox import Outbox
from node.records import Arrival, DeliveryStatus, Finished, StoredOutput, Verdict
from node.studies import close_quiet_studies
from tests import films, wire
from tests.acceptance.cluster import Cluster
from tests.acceptance.killing import ForgetfulPacs
from tests.acceptance.peers import wait_for
from tests.postgres import Postgres
from tests.wire import CR

NUM_WORKERS = (1, 2, 4)
_IMAGES = 2
_DRAFTED = {"DRAFTED", "DELIVERING", "DONE"}


def _arrivals(study: str) -> list[Arrival]:
    return [
        Arrival(
            sop_instance_uid=films.uid(study, number),
            sop_class_uid=CR,
            study_uid=films.uid(study),
            series_uid=films.uid(study, "series"),
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            patient_digest="p",
            content_digest=f"{number}",
            num_bytes=1,
            path=f"images/{number}",
            peer="pacs",
        )
        for number in range(_IMAGES)
    ]


def ledger_ms(url: sa.URL, num_studies: int) -> float:
    """Return the median milliseconds that all transactions of one study take."""
    engine = open_ledger(url)
    ledger, outbox, rule = Ledger(engine), Outbox(engine), StudySettings()
    took = []
    for number in range(num_studies):
        now = 1000.0 * (number + 1)
        started = time.perf_counter()
        for arrival in _arrivals(f"study {number}"):
            ledger.record_arrival(arrival, now)
        later = now + 60
        closings = close_quiet_studies(
            ledger.receiving(), now=later, open_study_uids=frozenset(), rule=rule
        )
        for closing in closings:
            ledger.close(closing, later)
        claim = ledger.claim("worker", later, lease_s=60, max_attempts=3)
        assert claim is not None
        output = StoredOutput(films.uid(number, "report"), "1.2.3", "report", "outputs/x", "x")
        made = Finished((output,), {"report": {"bundle_digest": "x"}}, ())
        ledger.finish(claim, made, {"report": ["pacs"]}, later, give_up_after_s=3600)
        for item in outbox.due("pacs", later):
            outbox.begin(item, later)
            outbox.settle(item, Verdict(DeliveryStatus.SENT), later)
        took.append((time.perf_counter() - started) * 1000)
    engine.dispose()
    return statistics.median(took)


def studies_per_s(folder: Path, url: str, num_workers: int, num_studies: int) -> float:
    """Return how fast workers draft a queue of studies that is ready when they start."""
    pacs = ForgetfulPacs(random.Random(0), forgets=0)
    cluster = Cluster(folder, url, pacs.port, num_receivers=1, num_workers=num_workers)
    with ExitStack() as stack:
        stack.callback(pacs.stop)
        stack.callback(cluster.engine.dispose)
        for member in (*cluster.receivers, cluster.delivery):
            stack.callback(member.stop)
            member.start()
        for number in range(num_studies):
            for view in range(_IMAGES):
                ds = films.phantom(f"scale {number}", SOPInstanceUID=films.uid(number, view))
                assert wire.send(cluster.receivers[0].port, ds) == 0
        wait_for(
            lambda: set(cluster.states().values()) == {"READY"}, 120, "the studies to be ready"
        )
        for member in cluster.workers:
            stack.callback(member.stop)
            member.start()
        begun = len([one for one in cluster.states().values() if one in _DRAFTED])
        started = time.perf_counter()
        wait_for(lambda: set(cluster.states().values()) <= _DRAFTED, 600, "the drafts")
        return (num_studies - begun) / (time.perf_counter() - started)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    os.environ["CXR_STAND_IN_S"] = str(options.seconds)
    server = Postgres()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            node = NodeSettings.model_validate({"ledger": {"url": server.database()}})
            costs = {
                "SQLite": ledger_ms(sqlite_url(folder / "ledger.sqlite"), options.studies),
                "PostgreSQL": ledger_ms(ledger_url(node), options.studies),
            }
            rates = {
                number: studies_per_s(
                    folder / f"{number}", server.database(), number, options.studies
                )
                for number in NUM_WORKERS
            }
    finally:
        server.stop("immediate")
        server.remove()
    return {"ledger_ms": costs, "studies_per_s": rates, "model_s": options.seconds}


def _show(measured: dict[str, Any]) -> None:
    console, model_s = Console(), measured["model_s"]
    table = Table(title=f"a model that takes {model_s:g} s; the limit is workers / {model_s:g} s")
    for heading in ("workers", "studies/s", "of the limit", "times one worker"):
        table.add_column(heading, justify="right")
    rates = measured["studies_per_s"]
    for number, rate in rates.items():
        share, times = rate * model_s / number, rate / rates[NUM_WORKERS[0]]
        table.add_row(str(number), f"{rate:.2f}", f"{share:.0%}", f"{times:.2f}")
    console.print(table)
    for name, ms in measured["ledger_ms"].items():
        most = f"{1000 / ms:.0f} studies/s at most, one after another"
        console.print(f"ledger on {name:10} {ms:6.1f} ms a study, {most}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.26, help="what the model takes")
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    measured = run(options)
    if options.json:
        print(json.dumps(measured))
    else:
        _show(measured)


if __name__ == "__main__":
    main()
