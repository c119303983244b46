"""The verb of `cxr-node` that packs what somebody who helps from afar needs to see."""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from node import logs
from node.cli_open import database_of
from node.config import Settings
from node.config_file import load
from node.errors import LedgerError, NodeError
from node.ledger_revision import read_revision


class SupportNotWritten(NodeError):
    """The support bundle cannot be written."""

    default_hint = "name another file with --output"


def add_verbs(
    verbs: Any, common: argparse.ArgumentParser, machine: argparse.ArgumentParser
) -> None:
    """Add the verb to the command line."""
    support = verbs.add_parser(
        "support-bundle",
        parents=[common, machine],
        help="pack settings, checks, counts and reasons for support; no patient is in it",
    )
    support.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the ZIP (default: named by the time)"
    )
    support.add_argument(
        "--log", metavar="FILE", type=Path, help="a file that holds the node's log: its end, too"
    )
    support.add_argument(
        "--with-addresses", action="store_true", help="name hosts and addresses as they are"
    )


def _support(options: argparse.Namespace) -> int:
    """Write the bundle."""
    from node.support import Subject, write_support_bundle  # it loads what all others need

    loaded = load(options.config, os.environ)
    logs.silence_libraries()
    now = datetime.now().astimezone()
    path = options.output or Path(f"cxr-node-support-{now:%Y%m%d-%H%M%S}.zip")
    subject = Subject(loaded.settings, _ledger_of(loaded.settings), loaded.origins)
    with ExitStack() as files:
        try:
            log = (
                ()
                if options.log is None
                else files.enter_context(options.log.open(errors="replace"))
            )
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise SupportNotWritten(f"{error.filename}: {error.strerror}") from error
        stream = files.enter_context(os.fdopen(made, "wb"))
        names = write_support_bundle(
            stream, subject, log=log, with_addresses=options.with_addresses
        )
    if options.json:
        print(json.dumps({"file": str(path), "contents": names}, indent=2))
    else:
        print(f"wrote {path}: {', '.join(names)}")
    return 0


def _ledger_of(settings: Settings) -> Engine | None:
    """Return the ledger if it is of our version: to look at it must not upgrade it."""
    try:
        is_current = read_revision(settings.node).is_current
        return database_of(settings) if is_current else None
    except LedgerError:
        return None  # the checks in the bundle say why


VERBS = {"support-bundle": _support}
