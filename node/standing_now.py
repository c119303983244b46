"""How a node stands, told from its ledger alone: the node may run or not."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Engine

from node.alerts import readings
from node.clock import SystemClock
from node.config import Settings
from node.errors import TlsError
from node.facts import expiries_of, facts_reader
from node.tls import Tls


def standing_of(settings: Settings, engine: Engine) -> dict[str, Any]:
    """Return counts, waiting, disk, drift, and what is beyond its threshold right now.

    Raises
    ------
    LedgerError
        The ledger cannot be read.
    """
    clock = SystemClock()
    facts = facts_reader(settings, engine, lambda: _expiries(settings, clock), clock).read()
    node = settings.node
    over = [one for one in readings(facts, node.alerts, node.tls.warn_days) if one.is_over]
    alerts = [
        {"alert": one.alert, "subject": one.subject, "text": one.text, "hint": one.hint}
        for one in over
    ]
    return {**facts.as_json(), "alerts": alerts}


def _expiries(settings: Settings, clock: SystemClock) -> tuple[tuple[str, float], ...]:
    """Return when certificates expire; those that cannot be read, `cxr-node check` tells of."""
    try:
        return expiries_of(Tls(settings.node.tls, clock))
    except TlsError:
        return ()
