"""The verbs of `cxr-node` that are about accounts: who may log in to the pages, and as what."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path
from typing import Any

from node.accounts import Accounts
from node.cli_open import database_of, settings_of, user
from node.cli_output import show_table
from node.clock import SystemClock
from node.database import ledger_url, open_ledger
from node.errors import NodeError
from node.roles import Role
from node.web.visits import Visits

_COLUMNS = {
    "name": "name",
    "role": "role",
    "access": "access",
    "password": "password",
    "made_at": "since",
}
_ACTIONS = {
    "add": "make an account",
    "password": "give an account another password",
    "role": "give an account another role",
    "off": "switch an account off: its sessions end at once",
    "on": "switch an account on again",
}


class NoPassword(NodeError):
    """There is no password."""

    default_hint = "type it where it is asked for, or name a file with --password-file"


def add_verbs(
    verbs: Any, common: argparse.ArgumentParser, machine: argparse.ArgumentParser
) -> None:
    """Add the verb to the command line."""
    accounts = verbs.add_parser("accounts", help="keep the accounts of those who use the pages")
    actions = accounts.add_subparsers(dest="action", required=True, metavar="ACTION")
    parents = [common, machine]
    actions.add_parser("list", parents=parents, help="list them")
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, parents=parents, help=text)
        action.add_argument("name", metavar="NAME")
        if name in ("add", "password"):
            action.add_argument(
                "--password-file", metavar="FILE", type=Path, help="its first line (default: ask)"
            )
        if name == "role":
            action.add_argument("role", metavar="ROLE", choices=[*Role], help=", ".join(Role))
        if name == "add":
            action.add_argument("--role", choices=[*Role], default=Role.VIEWER)


def _accounts(options: argparse.Namespace) -> int:
    """List accounts, or change one."""
    settings = settings_of(options)
    if options.action == "list":
        return _list(Accounts(database_of(settings)), as_json=options.json)
    database, clock = open_ledger(ledger_url(settings.node)), SystemClock()
    _change(Accounts(database), options, clock.now())
    kind = "account made" if options.action == "add" else "account changed"
    Visits(database, clock).note(kind, user(), "")
    done = {"name": options.name, "outcome": kind}
    print(json.dumps(done) if options.json else f"{options.name}: {kind}")
    return 0


def _list(accounts: Accounts, *, as_json: bool) -> int:
    rows = [
        {
            "name": one.name,
            "role": one.role.value,
            "access": "switched off" if one.disabled else "may log in",
            "password": "here" if one.has_password else "at the identity provider",
            "made_at": one.made_at,
        }
        for one in accounts.all()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        show_table("accounts", _COLUMNS, rows)
    return 0


def _change(accounts: Accounts, options: argparse.Namespace, now: float) -> None:
    name = options.name
    match options.action:
        case "add":
            accounts.make(name, Role(options.role), _password(options.password_file), now)
        case "password":
            accounts.set_password(name, _password(options.password_file))
        case "role":
            accounts.set_role(name, Role(options.role))
        case "off" | "on" as what:
            accounts.set_disabled(name, disabled=what == "off")


def _password(path: Path | None) -> str:
    """Return a password from a file or from whoever types.

    Raises
    ------
    NoPassword
        There is neither.
    """
    if path is not None:
        try:
            return path.read_text(encoding="utf-8").splitlines()[0]
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise NoPassword(f"{path} holds no password") from error
    if not sys.stdin.isatty():
        raise NoPassword
    first = getpass.getpass("password: ")
    if first != getpass.getpass("the same again: "):
        raise NoPassword("the two differ")
    return first


VERBS = {"accounts": _accounts}
