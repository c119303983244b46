"""`cxr-node`: run the node, check it, and ask it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from sqlalchemy.engine import Engine

from engine.config import EngineSettings
from engine.errors import CxrError
from node import cli_config, cli_objects, cli_rules, logs
from node.audit import trail_path
from node.audit_chain import verify
from node.audit_forward import unsent
from node.checks import Check, check_certificates, check_peer, run_checks
from node.clock import SystemClock, as_datetime
from node.config import Settings
from node.config_file import load, load_settings
from node.configuration_state import read_state
from node.database import ledger_path, ledger_url, open_ledger
from node.errors import ConfigInvalid, UnknownName
from node.journal import Journal
from node.ledger import Ledger
from node.loading import load_engine
from node.redact import looks_like_a_title, stranger, without_title
from node.reviews import Reviews

Verb = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(with_demo="demo" in words).parse_args(words)
    try:
        return _VERBS[options.verb](options)
    except ConfigInvalid as error:
        _show_problems(error, as_json=getattr(options, "json", False))
        return 1
    except CxrError as error:
        print(f"error: {error.lines()}", file=sys.stderr)
        return 1


def _parser(*, with_demo: bool) -> argparse.ArgumentParser:
    """Return the parser of all verbs; the demo's options cost the import of the model."""
    parser = argparse.ArgumentParser(
        prog="cxr-node",
        description="A DICOM node that drafts chest X-ray reports. Research software: every draft "
        "needs a radiologist.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "-c", "--config", type=Path, help="configuration file (default: config.yaml, if there)"
    )
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--json", action="store_true", help="print JSON")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("run", parents=[common], help="listen, draft, deliver; until SIGTERM")
    verbs.add_parser(
        "check", parents=[common, machine], help="list every configuration error, then try it all"
    )
    echo = verbs.add_parser("echo", parents=[common, machine], help="verify a peer by C-ECHO")
    echo.add_argument("peer", metavar="PEER", help="its name under `peers:`")
    status = verbs.add_parser(
        "status", parents=[common, machine], help="list studies, or show one study's timeline"
    )
    status.add_argument("study", metavar="STUDY", nargs="?", help="Study Instance UID or log key")
    replay = verbs.add_parser("replay", parents=[common], help="draft a study again")
    replay.add_argument("study", metavar="STUDY", help="Study Instance UID or log key")
    verbs.add_parser(
        "migrate", parents=[common], help="move the ledger from its file to node.ledger.url"
    )
    audit = verbs.add_parser(
        "audit", parents=[common, machine], help="verify the audit trail, line by line"
    )
    audit.add_argument("trail", metavar="FILE", nargs="?", type=Path, help="another trail")
    feedback = verbs.add_parser(
        "feedback", parents=[common], help="export what readers made of drafts, for training"
    )
    feedback.add_argument("action", choices=["export"], help="print a JSON line for each")
    cli_objects.add_verbs(verbs, common)
    cli_rules.add_verbs(verbs, common, machine)
    cli_config.add_verbs(verbs, common, machine)
    demo = verbs.add_parser("demo", help="see the whole journey, with no configuration")
    if with_demo:
        from node.demo import add_arguments

        add_arguments(demo)
    return parser


def _show_problems(error: ConfigInvalid, *, as_json: bool) -> None:
    """Print every problem of the configuration, one a line."""
    if as_json:
        print(json.dumps([vars(problem) for problem in error.problems], indent=2))
    else:
        print(*error.problems, sep="\n", file=sys.stderr)


def _settings(options: argparse.Namespace) -> Settings:
    return load_settings(options.config, os.environ)


def _run(options: argparse.Namespace) -> int:
    """Run the node."""
    from node.inference import inference

    loaded = load(options.config, os.environ)
    settings = loaded.settings
    logs.set_up(settings.node.log_level)
    logs.guard_crashes()
    with inference(settings) as models:
        from node.app import Node  # while the model loads
        from node.reloading import Source
        from node.running import run_until_signalled

        source = Source(loaded.path, os.environ, lambda new: logs.set_up(new.node.log_level))
        engine, challenger = (*models, None, None)[:2]
        run_until_signalled(Node(settings, engine, challenger=challenger), source)
    return 0


def _check(options: argparse.Namespace) -> int:
    """Try everything that the node needs."""
    settings = _settings(options)
    logs.silence_libraries()

    def load_bundle(chosen: EngineSettings) -> str:
        engine = load_engine(settings.model_copy(update={"engine": chosen}))
        return f"{engine.name} {engine.version} ({engine.digest[:12]})"

    checks = [Check("configuration", True, "valid"), *run_checks(settings, load_bundle)]
    return _show_checks(checks, options)


def _echo(options: argparse.Namespace) -> int:
    """Verify one peer."""
    settings = _settings(options)
    logs.silence_libraries()
    peer = settings.peers.get(options.peer)
    if peer is None:
        known = ", ".join(settings.peers) or "none"
        raise UnknownName(f"there is no peer {options.peer!r}", hint=f"known peers: {known}")
    return _show_checks([check_peer(options.peer, peer, settings.node)], options)


def _show_checks(checks: Sequence[Check], options: argparse.Namespace) -> int:
    """Print checks; return 0 where all are good."""
    if options.json:
        print(json.dumps([vars(check) for check in checks], indent=2))
    else:
        table = Table("", "check", "result", "hint", box=None, pad_edge=False)
        for check in checks:
            mark = "[green]ok[/]" if check.is_good else "[red]FAIL[/]"
            table.add_row(mark, escape(check.name), escape(check.text), escape(check.hint))
        _console().print(table)
    return 0 if all(check.is_good for check in checks) else 1


def _console() -> Console:
    """Return a console that never cuts a line when its output is read by a program."""
    return Console() if sys.stdout.isatty() else Console(width=240, no_color=True)


def _database(settings: Settings) -> Engine:
    path = ledger_path(settings.node)
    if settings.node.ledger.url is None and not path.exists():
        raise UnknownName(f"no node has run here yet: {path} is missing")
    return open_ledger(ledger_url(settings.node))


def _journal(settings: Settings) -> tuple[Journal, Ledger]:
    database = _database(settings)
    return Journal(database), Ledger(database)


def _migrate(options: argparse.Namespace) -> int:
    """Move the ledger to PostgreSQL."""
    from node.migration import MIGRATED, migrate

    settings = _settings(options)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        counts = migrate(
            settings.node,
            lambda table, num_rows: progress.update(task, description=f"{table}: {num_rows}"),
        )
    rows = ", ".join(f"{number} in {name}" for name, number in counts.items() if number)
    print(f"moved: {rows or 'an empty ledger'}; the file is kept as {MIGRATED}")
    return 0


def _status(options: argparse.Namespace) -> int:
    """Show studies and rejections, or one study."""
    settings = _settings(options)
    journal, _ = _journal(settings)
    if options.study:
        generations = journal.study(journal.find(options.study))
        if options.json:
            print(json.dumps(generations, indent=2))
        else:
            for generation in generations:
                _show_generation(generation)
        return 0
    studies, rejections = journal.studies(), journal.rejections()
    rejections = [_presentable(row) for row in rejections]
    certificates = [check for check in check_certificates(settings.node) if check.hint]
    state = read_state(settings.node.storage.root)
    if options.json:
        configuration = None if state is None else state.as_json()
        shown = {"studies": studies, "rejections": rejections, "configuration": configuration}
        print(json.dumps({**shown, "certificates": list(map(vars, certificates))}, indent=2))
    else:
        for check in certificates:
            print(f"warning: {check.name}: {check.text} (hint: {check.hint})", file=sys.stderr)
        for problem in () if state is None else state.problems:
            print(f"warning: configuration not taken: {problem}", file=sys.stderr)
        _show_table("studies", _STUDY_COLUMNS, studies)
        _show_table("turned away", _REJECTION_COLUMNS, rejections)
    return 0


def _presentable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a rejection without a calling title that looks like anything but a title."""
    title = str(row["calling_aet"])
    if looks_like_a_title(title):
        return row
    return {**row, "calling_aet": stranger(title), "hint": without_title(row["hint"], title)}


_STUDY_COLUMNS = {
    "study_uid": "study",
    "generation": "gen",
    "state": "state",
    "num_images": "images",
    "peer": "from",
    "last_at": "last image",
    "reason": "reason",
    "key": "log key",
}
_REJECTION_COLUMNS = {
    "at": "at",
    "kind": "what",
    "calling_aet": "calling AET",
    "address": "address",
    "reason": "reason",
    "hint": "hint",
}
_STEP_COLUMNS = {"ms": "ms", "name": "step", "detail": "detail"}
_OUTPUT_COLUMNS = {
    "kind": "object",
    "sop_instance_uid": "SOP Instance UID",
    "destination": "to",
    "status": "status",
    "attempts": "attempts",
    "reason": "reason",
}


def _show_table(title: str, columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> None:
    """Print rows under headings."""
    table = Table(*columns.values(), title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(_cell(name, row[name])) for name in columns))
    _console().print(table)


def _cell(name: str, value: object) -> str:
    """Return a value as text; instants as local time."""
    if isinstance(value, float) and (name == "at" or name.endswith("_at")):
        return as_datetime(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return "" if value is None else str(value)


def _show_generation(generation: dict[str, Any]) -> None:
    """Print one generation of a study: state, timeline, outputs."""
    title = f"{generation['study_uid']} generation {generation['generation']}"
    reason = f" ({generation['reason']})" if generation["reason"] else ""
    made_by = f", drafted by {generation['bundle']}" if generation["bundle"] else ""
    _console().print(escape(f"{title}: {generation['state']}{reason}{made_by}"), soft_wrap=True)
    _show_table("timeline", _STEP_COLUMNS, generation["timeline"])
    _show_table("outputs", _OUTPUT_COLUMNS, generation["outputs"])


def _replay(options: argparse.Namespace) -> int:
    """Start a new generation of a study."""
    journal, ledger = _journal(_settings(options))
    generation = ledger.replay(journal.find(options.study), SystemClock().now())
    print(f"generation {generation} is ready to be drafted")
    return 0


def _feedback(options: argparse.Namespace) -> int:
    """Print the feedback of readers, a JSON line each; no patient is named."""
    for row in Reviews(_database(_settings(options))).training_rows():
        print(json.dumps(row, ensure_ascii=False))
    return 0


def _audit(options: argparse.Namespace) -> int:
    """Verify the chain of the audit trail."""
    settings = _settings(options)
    trail = options.trail or trail_path(settings)
    head = verify(trail)
    waiting = unsent(trail) if settings.node.audit.syslog.host else 0
    shown = {"trail": str(trail), "lines": head.sequence, "seal": head.seal, "unsent": waiting}
    if options.json:
        print(json.dumps(shown, indent=2))
    else:
        print(f"{trail}: {head.sequence} lines, unbroken; the last is sealed {head.seal}")
        if waiting:
            print(f"{waiting} of them wait for the audit repository")
    return 0


def _demo(options: argparse.Namespace) -> int:
    """Show the whole journey."""
    from node.demo import run_demo

    return run_demo(options)


_VERBS: dict[str, Verb] = {
    "run": _run,
    "check": _check,
    "echo": _echo,
    "status": _status,
    "replay": _replay,
    "migrate": _migrate,
    "audit": _audit,
    "feedback": _feedback,
    "conformance": cli_objects.conformance,
    "lint": cli_objects.lint,
    "draw": cli_objects.draw,
    "redraw": cli_objects.draw_again,
    "rules": cli_rules.rules,
    "init": cli_config.init,
    "schema": cli_config.schema,
    "config": cli_config.config,
    "demo": _demo,
}

if __name__ == "__main__":
    raise SystemExit(main())
