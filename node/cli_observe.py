"""The verbs of `cxr-node` that watch it: metrics, health and the usage report."""

from __future__ import annotations

import argparse
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from rich.markup import escape
from rich.table import Table

from node.cli_open import database_of, settings_of
from node.cli_output import console
from node.config import Settings
from node.errors import NodeError

_ASK_S = 10.0
_DAY_S = 86_400.0
_DEFAULT_DAYS = 30


class NotMonitored(NodeError):
    """The node serves no metrics and no health."""

    default_hint = "set node.metrics.enabled: true, and start the node"


class NoDate(NodeError):
    """A date cannot be read."""

    default_hint = "write 2026-11-01, or 2026-11-01T18:30"


def add_verbs(
    verbs: Any, common: argparse.ArgumentParser, machine: argparse.ArgumentParser
) -> None:
    """Add the verbs to the command line."""
    metrics = verbs.add_parser(
        "metrics", parents=[common, machine], help="print the metrics of the running node"
    )
    metrics.add_argument(
        "--describe", action="store_true", help="print the reference of all metrics instead"
    )
    metrics.add_argument("--output", metavar="FILE", type=Path, help="write it to a file")
    verbs.add_parser(
        "health", parents=[common, machine], help="ask the running node whether it is ready"
    )
    report = verbs.add_parser(
        "report", parents=[common, machine], help="sum up what the node did; no patient is named"
    )
    report.add_argument("--since", metavar="DATE", help="from this day on (default: 30 days)")
    report.add_argument("--until", metavar="DATE", help="up to before this day (default: now)")
    report.add_argument("--csv", action="store_true", help="print rows for a spreadsheet")
    report.add_argument("--html", metavar="FILE", type=Path, help="write a page for people")


def metrics(options: argparse.Namespace) -> int:
    """Print the metrics of the running node, or the reference of all that there are."""
    if options.describe:
        from node.metrics_reference import reference

        text = reference()
    else:
        text = _ask(settings_of(options), "metrics").text
        if options.json:
            text = json.dumps(_samples(text), indent=2) + "\n"
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


def _samples(text: str) -> list[dict[str, Any]]:
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(text)
    return [
        {"name": one.name, "labels": one.labels, "value": one.value}
        for family in families
        for one in family.samples
    ]


def health(options: argparse.Namespace) -> int:
    """Ask the running node whether it is ready; 0 where it is."""
    answer = _ask(settings_of(options), "ready").json()
    if options.json:
        print(json.dumps(answer, indent=2))
    elif answer["ready"]:
        print("ready")
    else:
        for one in answer["missing"]:
            print(f"not ready: {one['part']}: {one['reason']}")
    return 0 if answer["ready"] else 1


def _ask(settings: Settings, path: str) -> httpx.Response:
    """Ask the listener of the running node."""
    served = settings.node.metrics
    if not served.enabled:
        raise NotMonitored
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(served.bind, served.bind)
    place = f"[{host}]:{served.port}" if ":" in host else f"{host}:{served.port}"
    try:
        return httpx.get(f"http://{place}/{path}", timeout=_ASK_S, trust_env=False)
    except httpx.HTTPError as error:
        hint = "is the node running; see node.metrics"
        raise NotMonitored(f"nothing answers at {place}", hint=hint) from error


def report(options: argparse.Namespace) -> int:
    """Sum up a stretch of time."""
    from node.usage_page import as_csv, as_html, rows_of
    from node.usage_reader import UsageReader

    until = _instant(options.until) if options.until else time.time()
    since = _instant(options.since) if options.since else until - _DEFAULT_DAYS * _DAY_S
    usage = UsageReader(database_of(settings_of(options))).read(since, until)
    if options.html is not None:
        options.html.write_text(as_html(usage), encoding="utf-8")
    if options.json:
        print(json.dumps(usage.as_json(), indent=2))
    elif options.csv:
        print(as_csv(usage), end="")
    elif options.html is None:
        table = Table("", "", "figure", "value", box=None, pad_edge=False)
        for row in rows_of(usage):
            table.add_row(*map(escape, row))
        console().print(table)
    return 0


def _instant(text: str) -> float:
    """Return the instant of a date in local time."""
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError as error:
        raise NoDate(f"{text!r} is no date") from error
