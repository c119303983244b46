"""What the verbs of `cxr-node` open: the configuration, and the ledger of any node."""

from __future__ import annotations

import argparse
import getpass
import os

from sqlalchemy.engine import Engine

from node.config import Settings
from node.config_file import load_settings
from node.database import ledger_path, ledger_url, open_ledger
from node.errors import UnknownName


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the configuration that the command line names."""
    return load_settings(options.config, os.environ)


def database_of(settings: Settings) -> Engine:
    """Open the ledger of a node that has run.

    Raises
    ------
    UnknownName
        None has.
    """
    path = ledger_path(settings.node)
    if settings.node.ledger.url is None and not path.exists():
        raise UnknownName(f"no node has run here yet: {path} is missing")
    return open_ledger(ledger_url(settings.node))


def user() -> str:
    """Return who gives the command, as timelines and the audit trail name them."""
    return getpass.getuser()
