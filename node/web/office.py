"""What the pages for administrators are shown of the node, and what they may do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy.engine import Engine

from engine.backends.select import survey
from engine.bundle import open_bundle
from node.alerts import Alert
from node.config import Settings
from node.configuration_state import ConfigurationState
from node.facts import Facts
from node.journal import Journal
from node.log_tail import LogTail
from node.operations import Operations
from node.peer_trial import PeerTrial


@dataclass(frozen=True)
class Office:
    """The node as its administrators know it."""

    settings: Settings
    database: Engine
    journal: Journal
    operations: Operations
    trial: PeerTrial
    facts: Callable[[], Facts]
    alerts: Callable[[], tuple[Alert, ...]]
    missing: Callable[[], dict[str, str]]
    """Returns the parts that are not ready, with the reasons."""
    configuration: Callable[[], ConfigurationState]
    num_associations: Callable[[], int]
    tail: LogTail

    @cached_property
    def models(self) -> tuple[dict[str, Any], ...]:
        """The manifests of the bundles that draft, and which backends can run them here."""
        return tuple(self._card(one.bundle) for one in self.settings.engine.each)

    @property
    def backend(self) -> str:
        """What the model runs on; empty where this process does not draft."""
        if "draft" not in self.settings.node.roles:
            return ""
        wanted = self.settings.engine.backend
        able = [row.name for row in self.models[0]["backends"] if row.is_available]
        return next((name for name in able if wanted in ("auto", name)), "")

    def _card(self, path: Any) -> dict[str, Any]:
        bundle = open_bundle(path)
        return {
            "manifest": bundle.manifest,
            "digest": bundle.digest,
            "backends": tuple(survey(bundle)),
        }
