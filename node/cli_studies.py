"""The verbs of `cxr-node` that are about studies: look at them, draft, send, hurry, give up."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from rich.markup import escape
from sqlalchemy.engine import Engine

from node.checks import check_certificates
from node.cli_open import database_of, settings_of, user
from node.cli_output import console, show_table
from node.clock import SystemClock
from node.configuration_state import read_state
from node.journal import Journal
from node.operations import Operations
from node.redact import looks_like_a_title, stranger, without_title
from node.studies import State
from node.web.visits import Visits

_STUDY_COLUMNS = {
    "study_uid": "study",
    "generation": "gen",
    "state": "state",
    "priority": "stat",
    "num_images": "images",
    "peer": "from",
    "last_at": "last image",
    "reason": "reason",
    "key": "log key",
}
REJECTION_COLUMNS = {
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
_NUM_REJECTIONS = 20

_OPERATIONS = {
    "retry": "take up what failed: parked deliveries, or the draft itself",
    "redraft": "draft a study again, as a successor of its newest draft",
    "resend": "send the newest draft's objects again",
    "stat": "let a study go before all others",
    "cancel": "give a study up: what was not sent stays here",
}


def add_verbs(
    verbs: Any, common: argparse.ArgumentParser, machine: argparse.ArgumentParser
) -> None:
    """Add the verbs to the command line."""
    parents = [common, machine]
    status = verbs.add_parser(
        "status", parents=parents, help="list studies, or show one study's timeline"
    )
    status.add_argument("study", metavar="STUDY", nargs="?", help="Study Instance UID or log key")
    status.add_argument("--state", choices=[*State], type=str.upper, help="only such studies")
    status.add_argument(
        "--search", metavar="TEXT", default="", help="Patient ID, Study Instance UID, key or peer"
    )
    status.add_argument("--limit", type=int, default=50, help="studies at most (default: 50)")
    for name, text in _OPERATIONS.items():
        verb = verbs.add_parser(name, parents=parents, help=text)
        verb.add_argument("study", metavar="STUDY", help="Study Instance UID or log key")
        if name == "resend":
            verb.add_argument("--to", metavar="NAME", help="to one destination alone")
        if name == "stat":
            verb.add_argument("--off", action="store_true", help="let it take its turn again")


def _status(options: argparse.Namespace) -> int:
    """Show studies and rejections, or one study."""
    settings = settings_of(options)
    database = database_of(settings)
    journal = Journal(database)
    if options.study:
        return _show_study(journal, options)
    studies = journal.studies(limit=options.limit, state=options.state, text=options.search)
    rejections = [presentable(row) for row in journal.rejections(limit=_NUM_REJECTIONS)]
    certificates = [check for check in check_certificates(settings.node) if check.hint]
    state = read_state(settings.node.storage.root)
    if options.json:
        from node.standing_now import standing_of  # what it knows of films loads numpy

        shown = {
            "studies": studies,
            "rejections": rejections,
            "node": standing_of(settings, database),
            "configuration": None if state is None else state.as_json(),
        }
        print(json.dumps({**shown, "certificates": list(map(vars, certificates))}, indent=2))
        return 0
    for check in certificates:
        print(f"warning: {check.name}: {check.text} (hint: {check.hint})", file=sys.stderr)
    for problem in () if state is None else state.problems:
        print(f"warning: configuration not taken: {problem}", file=sys.stderr)
    marked = [row | {"priority": "STAT" if row["priority"] else ""} for row in studies]
    show_table("studies", _STUDY_COLUMNS, marked)
    show_table("turned away", REJECTION_COLUMNS, rejections)
    return 0


def presentable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a rejection without a calling title that looks like anything but a title."""
    title = str(row["calling_aet"])
    if looks_like_a_title(title):
        return row
    return {**row, "calling_aet": stranger(title), "hint": without_title(row["hint"], title)}


def _show_study(journal: Journal, options: argparse.Namespace) -> int:
    generations = journal.study(journal.find(options.study))
    if options.json:
        print(json.dumps(generations, indent=2))
    else:
        for generation in generations:
            _show_generation(generation)
    return 0


def _show_generation(generation: dict[str, Any]) -> None:
    """Print one generation of a study: state, timeline, outputs."""
    title = f"{generation['study_uid']} generation {generation['generation']}"
    reason = f" ({generation['reason']})" if generation["reason"] else ""
    made_by = f", drafted by {generation['bundle']}" if generation["bundle"] else ""
    console().print(escape(f"{title}: {generation['state']}{reason}{made_by}"), soft_wrap=True)
    show_table("timeline", _STEP_COLUMNS, generation["timeline"])
    show_table("outputs", _OUTPUT_COLUMNS, generation["outputs"])


Operate = Callable[[Operations, str, argparse.Namespace, float], str]
"""Does something with a study of the ledger; returns what to say."""


def _retry(operations: Operations, study_uid: str, _options: argparse.Namespace, now: float) -> str:
    return operations.retry(study_uid, user(), now)


def _redraft(operations: Operations, study_uid: str, _opts: argparse.Namespace, now: float) -> str:
    return f"generation {operations.redraft(study_uid, user(), now)} is ready to be drafted"


def _resend(operations: Operations, study_uid: str, options: argparse.Namespace, now: float) -> str:
    count = operations.resend(study_uid, user(), now, options.to)
    return f"{count} deliveries are due again"


def _stat(operations: Operations, study_uid: str, options: argparse.Namespace, now: float) -> str:
    operations.prioritise(study_uid, user(), now, stat=not options.off)
    return "the study takes its turn" if options.off else "the study goes before all others"


def _cancel(operations: Operations, study_uid: str, _opts: argparse.Namespace, now: float) -> str:
    return f"the study is {operations.cancel(study_uid, user(), now)}"


def _operating(kind: str, operate: Operate) -> Callable[[argparse.Namespace], int]:
    """Return the verb of an operation."""

    def verb(options: argparse.Namespace) -> int:
        settings = settings_of(options)
        database = database_of(settings)
        study_uid = Journal(database).find(options.study)
        operations = Operations(database, settings.outputs.outbox.give_up_after_s)
        said = operate(operations, study_uid, options, SystemClock().now())
        _note(database, kind, study_uid)
        print(json.dumps({"study_uid": study_uid, "outcome": said}) if options.json else said)
        return 0

    return verb


def _note(database: Engine, kind: str, study_uid: str) -> None:
    """Note for the audit trail who did it."""
    Visits(database, SystemClock()).note(kind, user(), "", study_uid)


VERBS = {
    "status": _status,
    "retry": _operating("retried", _retry),
    "redraft": _operating("redrafted", _redraft),
    "resend": _operating("resent", _resend),
    "stat": _operating("prioritised", _stat),
    "cancel": _operating("cancelled", _cancel),
}
