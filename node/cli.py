"""`cxr-node`: run the node, check it, and ask it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from engine import completion
from engine.config import EngineSettings
from engine.errors import CxrError
from engine.pipe import ends_with_its_reader
from node import (
    cli_accounts,
    cli_config,
    cli_objects,
    cli_observe,
    cli_peers,
    cli_rules,
    cli_studies,
    cli_support,
    logs,
)
from node.audit import trail_path
from node.audit_chain import verify
from node.audit_forward import unsent
from node.checks import Check, run_checks
from node.cli_open import database_of, settings_of
from node.cli_output import show_checks
from node.config import Settings
from node.config_file import load
from node.errors import ConfigInvalid
from node.loading import load_engine
from node.reviews import Reviews

Verb = Callable[[argparse.Namespace], int]


@ends_with_its_reader
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
    cli_studies.add_verbs(verbs, common, machine)
    cli_peers.add_verbs(verbs, common, machine)
    cli_accounts.add_verbs(verbs, common, machine)
    verbs.add_parser(
        "migrate",
        parents=[common, machine],
        help="move the ledger from its file to node.ledger.url",
    )
    audit = verbs.add_parser(
        "audit", parents=[common, machine], help="verify the audit trail, line by line"
    )
    audit.add_argument("trail", metavar="FILE", nargs="?", type=Path, help="another trail")
    feedback = verbs.add_parser(
        "feedback", parents=[common], help="export what readers made of drafts, for training"
    )
    feedback.add_argument("action", choices=["export"], help="print a JSON line for each")
    cli_objects.add_verbs(verbs, common, machine)
    cli_rules.add_verbs(verbs, common, machine)
    cli_observe.add_verbs(verbs, common, machine)
    cli_config.add_verbs(verbs, common, machine)
    cli_support.add_verbs(verbs, common, machine)
    completion.add_verb(verbs)
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


def _run(options: argparse.Namespace) -> int:
    """Run the node."""
    from node.inference import inference
    from node.prometheus import open_meters

    loaded = load(options.config, os.environ)
    settings = loaded.settings
    _set_up_logs(settings)
    logs.guard_crashes()
    meters = open_meters(settings.node)
    with inference(settings, meters) as models:
        from node.app import Node  # while the model loads
        from node.reloading import Source
        from node.running import run_until_signalled
        from node.service_manager import ServiceManager

        source = Source(loaded.path, os.environ, _set_up_logs)
        engine, challenger = (*models, None, None)[:2]
        node = Node(settings, engine, challenger=challenger, meters=meters)
        run_until_signalled(node, source, ServiceManager(os.environ))
    return 0


def _set_up_logs(settings: Settings) -> None:
    logs.set_up(settings.node.log_level, shape=settings.node.log_format)


def _check(options: argparse.Namespace) -> int:
    """Try everything that the node needs."""
    settings = settings_of(options)
    logs.silence_libraries()

    def load_bundle(chosen: EngineSettings) -> str:
        engine = load_engine(settings.model_copy(update={"engine": chosen}))
        return f"{engine.name} {engine.version} ({engine.digest[:12]})"

    checks = [Check("configuration", True, "valid"), *run_checks(settings, load_bundle)]
    return show_checks(checks, options)


def _migrate(options: argparse.Namespace) -> int:
    """Move the ledger to PostgreSQL."""
    from node.migration import MIGRATED, migrate

    settings = settings_of(options)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        counts = migrate(
            settings.node,
            lambda table, num_rows: progress.update(task, description=f"{table}: {num_rows}"),
        )
    if options.json:
        print(json.dumps({"rows": counts, "kept_as": MIGRATED}, indent=2))
        return 0
    rows = ", ".join(f"{number} in {name}" for name, number in counts.items() if number)
    print(f"moved: {rows or 'an empty ledger'}; the file is kept as {MIGRATED}")
    return 0


def _feedback(options: argparse.Namespace) -> int:
    """Print the feedback of readers, a JSON line each; no patient is named."""
    for row in Reviews(database_of(settings_of(options))).training_rows():
        print(json.dumps(row, ensure_ascii=False))
    return 0


def _audit(options: argparse.Namespace) -> int:
    """Verify the chain of the audit trail."""
    settings = settings_of(options)
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


def _completion(options: argparse.Namespace) -> int:
    """Print what completes our words in a shell."""
    print(completion.script(_parser(with_demo=True), options.shell), end="")
    return 0


def _demo(options: argparse.Namespace) -> int:
    """Show the whole journey."""
    from node.demo import run_demo

    return run_demo(options)


_VERBS: dict[str, Verb] = {
    **cli_studies.VERBS,
    **cli_peers.VERBS,
    **cli_accounts.VERBS,
    "run": _run,
    "check": _check,
    "migrate": _migrate,
    "audit": _audit,
    "feedback": _feedback,
    "conformance": cli_objects.conformance,
    "lint": cli_objects.lint,
    "draw": cli_objects.draw,
    "redraw": cli_objects.draw_again,
    "phantom": cli_objects.phantom,
    "metrics": cli_observe.metrics,
    "health": cli_observe.health,
    "report": cli_observe.report,
    **cli_rules.VERBS,
    **cli_config.VERBS,
    **cli_support.VERBS,
    "completion": _completion,
    "demo": _demo,
}

if __name__ == "__main__":
    raise SystemExit(main())
