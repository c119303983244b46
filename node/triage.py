"""Which complete studies go first, by the rules of the site."""

from __future__ import annotations

from collections.abc import Sequence

from node.clock import as_datetime
from node.config_rules import RuleSettings
from node.errors import DraftRefused, StorageError
from node.headers import read_facts
from node.ledger import Ledger
from node.routing import decide, facts_of
from node.spool import Spool
from node.studies import Receiving


class Triage:
    """Asks the rules about a study that is complete, before anybody drafts it.

    Parameters
    ----------
    rules
        The `outputs.rules` section.
    """

    def __init__(self, rules: Sequence[RuleSettings], ledger: Ledger, spool: Spool) -> None:
        self._rules = rules
        self._asks = any(rule.priority == "stat" for rule in rules)
        self._ledger = ledger
        self._spool = spool

    def is_stat(self, study: Receiving, now: float) -> bool:
        """Tell whether a study goes first; one that cannot be read does not."""
        if not self._asks:
            return False
        try:
            images = read_facts(
                self._spool, self._ledger.instances(study.study_uid, study.generation)
            )
        except (DraftRefused, StorageError):
            return False
        facts = facts_of(
            images,
            called_aet=study.called_aet,
            peer=study.peer,
            completed_at=as_datetime(now).astimezone(),
        )
        return decide(self._rules, facts, {}).is_stat
