"""What a scrape of the metrics costs on a ledger of many studies: `python -m benchmarks.scrape`."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from node.clock import SystemClock
from node.config import Settings
from node.database import open_ledger, sqlite_url
from node.facts import facts_reader
from node.schema import delivery, event, output, result, study
from node.usage_reader import UsageReader

_STAGES = ("received", "ready", "claimed", "rendered", "inspected", "measured", "reported", "built")
_ENDS = ("drafted", "delivering", "sent", "done")
_BATCH = 5_000
_MEASURED = "0123456789ab mean=-0.0134 p5=-0.8039 p50=-0.0118 white=0.0124 aspect=1 frontal=1"


def fill(engine: Engine, num_studies: int, now: float) -> None:
    """Write studies that were drafted and delivered, two objects each, over thirty days."""
    for first in range(0, num_studies, _BATCH):
        numbers = range(first, min(first + _BATCH, num_studies))
        rows: dict[sa.Table, list[dict[str, object]]] = {
            table: [] for table in (study, event, result, output, delivery)
        }
        for number in numbers:
            at = now - 30 * 86_400 * (1 - number / num_studies)
            place = {"study_uid": f"2.25.{number}", "generation": 1}
            rows[study].append(
                place
                | {"key": f"{number:012x}", "state": "DONE", "peer": "pacs", "attempts": 1}
                | {"first_at": at, "last_at": at, "ready_at": at, "reason": ""}
            )
            for step, name in enumerate((*_STAGES, *_ENDS)):
                detail = {"measured": _MEASURED, "sent": "report to pacs"}.get(name, "")
                rows[event].append(place | {"at": at + step, "name": name, "detail": detail})
            report = {"bundle_name": "demo", "bundle_version": "1"}
            rows[result].append(place | {"content": {"report": report}, "finished_at": at})
            for kind in ("report", "findings"):
                uid = f"2.25.{number}.{kind}"
                made = {"kind": kind, "sop_class_uid": "1.2", "path": "x", "sha256": "x"}
                rows[output].append(place | made | {"sop_instance_uid": uid})
                sent = {"status": "sent", "attempts": 1, "next_at": at, "deadline_at": at}
                rows[delivery].append(
                    {"sop_instance_uid": uid, "destination": "pacs", "sent_at": at, **sent}
                )
        with engine.begin() as connection:
            for table, values in rows.items():
                connection.execute(table.insert(), values)


def main() -> None:
    """Fill a ledger, then time a reading of the facts and a report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storage = {"storage": {"root": folder}}
        settings = Settings.model_validate({"node": storage})
        engine = open_ledger(sqlite_url(Path(folder) / "ledger.sqlite"))
        clock = SystemClock()
        fill(engine, options.studies, clock.now())
        reader = facts_reader(settings, engine, tuple, clock)
        for name in ("first reading", "reading within five seconds"):
            began = time.perf_counter()
            reader.read()
            print(f"{name}: {1000 * (time.perf_counter() - began):.1f} ms")
        began = time.perf_counter()
        usage = UsageReader(engine).read(clock.now() - 31 * 86_400, clock.now())
        took = time.perf_counter() - began
        print(f"usage report on {usage.num_studies:,} studies: {took:.1f} s")


if __name__ == "__main__":
    main()
