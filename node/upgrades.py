"""Bringing a ledger of an earlier version up to date (Alembic), all of it or nothing.

Every revision only adds, so nodes of two versions can share a ledger while a site is upgraded.
There is no way back but the copy that is made of a SQLite file before.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from node.logs import get_logger, say
from node.schema import SCHEMA_VERSION

_LOG = get_logger("ledger")
_REVISIONS: Final = Path(__file__).with_name("ledger_versions")
BEFORE = "{name}.before-{version}"
"""What the copy of a SQLite ledger is called."""


def copy_before(path: Path) -> Path:
    """Copy a SQLite ledger that is about to be upgraded; a node may have it open."""
    copy = path.with_name(BEFORE.format(name=path.name, version=SCHEMA_VERSION))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def upgrade(connection: Connection, found: str) -> None:
    """Apply the revisions that a ledger lacks, in the transaction of the connection.

    Parameters
    ----------
    found
        Its revision; empty where it was made before revisions were counted.
    """
    config = Config()
    config.set_main_option("script_location", str(_REVISIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    say(_LOG, "ledger.upgraded", before=found or "0", after=SCHEMA_VERSION)
