"""Which revision a ledger has, told without opening it for work: nothing is made or upgraded."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from node.config import NodeSettings
from node.database import ledger_path, ledger_url, open_engine, revision_of
from node.errors import LedgerError
from node.schema import SCHEMA_VERSION


@dataclass(frozen=True)
class LedgerRevision:
    """What was found."""

    found: str | None
    """Empty where it was made before revisions were counted; None where there is no ledger."""
    is_file: bool

    @property
    def is_later(self) -> bool:
        """Tell whether a later version of the node has upgraded it."""
        return (self.found or "") > SCHEMA_VERSION

    @property
    def is_current(self) -> bool:
        """Tell whether the node works on it as it is."""
        return self.found == SCHEMA_VERSION

    @property
    def text(self) -> str:
        """Say it in words."""
        if self.found is None:
            return f"none yet: the first start makes it (revision {SCHEMA_VERSION})"
        named = f"revision {self.found}" if self.found else "from before revisions were counted"
        if self.is_current:
            return named
        if self.is_later:
            return f"{named}, of a later version of cxr-node (ours is {SCHEMA_VERSION})"
        copied = ", after a copy of the file" if self.is_file else ""
        return f"{named}; the next start upgrades it to {SCHEMA_VERSION}{copied}"


def read_revision(settings: NodeSettings) -> LedgerRevision:
    """Look at the ledger of a configuration.

    Raises
    ------
    LedgerError
        It cannot be read.
    """
    is_file = settings.ledger.url is None
    if is_file and not ledger_path(settings).exists():
        return LedgerRevision(None, is_file)
    url = ledger_url(settings)
    # a file is opened as it lies: the pragmas of work would already change it
    engine = sa.create_engine(url) if is_file else open_engine(url)
    try:
        return LedgerRevision(revision_of(engine), is_file)
    except SQLAlchemyError as error:
        place = url.render_as_string(hide_password=True)
        hint = "is it readable, and is it a ledger" if is_file else "does PostgreSQL run there"
        reason = f"the ledger {place} cannot be read: {type(error).__name__}"
        raise LedgerError(reason, hint=hint) from error
    finally:
        engine.dispose()
