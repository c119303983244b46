"""Several processes of the node, one role each, on one PostgreSQL and one storage root."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

from node.config import NodeSettings
from node.database import ledger_url, open_engine
from node.journal import Journal
from tests.acceptance.peers import NodeProcess, free_port, node_settings, peer

LEASE_S = 3.0
_STAND_IN = [sys.executable, "-m", "tests.acceptance.stand_in_node"]


class Member(NodeProcess):
    """One process of the cluster; only receivers listen."""

    def start(self, timeout_s: float = 90) -> None:
        self._num_starts = self._started()
        super().start(timeout_s)

    def _started(self) -> int:
        return self.log().count("node.started") if self.log_path.exists() else 0

    def _is_up(self, process: Any) -> bool:
        assert process.poll() is None, self.log()
        return self._started() > self._num_starts

    def pause(self, seconds: float) -> None:
        """Cut a process off from the world, as a partition does, and let it come back."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)


class Cluster:
    """The processes and what they share."""

    def __init__(
        self,
        folder: Path,
        url: str,
        pacs_port: int,
        *,
        num_receivers: int = 2,
        num_workers: int = 2,
    ) -> None:
        node = NodeSettings.model_validate({"ledger": {"url": url}})
        self.engine = open_engine(ledger_url(node))
        self.journal = Journal(self.engine)
        self._folder, self._url, self._pacs_port = folder, url, pacs_port
        self.receivers = [self._member("receive", number) for number in range(num_receivers)]
        self.workers = [self._member("draft", number) for number in range(num_workers)]
        self.delivery = self._member("deliver", 0)

    def _member(self, role: str, number: int) -> Member:
        peers = {"pacs": peer("PACS", self._pacs_port, ["report"])}
        settings = node_settings(self._folder, free_port(), peers)
        settings["node"] |= {"roles": [role], "ledger": {"url": self._url}}
        settings["node"]["work"] |= {
            "dispatch": "procrastinate",
            "lease_s": LEASE_S,
            "max_attempts": 100,
        }
        return Member(self._folder / f"{role}{number}", settings, command=_STAND_IN)

    @property
    def members(self) -> list[Member]:
        return [*self.receivers, *self.workers, self.delivery]

    def states(self) -> dict[str, str]:
        rows = sorted(self.journal.studies(limit=1000), key=lambda row: int(row["generation"]))
        return {row["study_uid"]: row["state"] for row in rows}

    def is_done(self, num_studies: int) -> bool:
        states = self.states()
        return len(states) == num_studies and set(states.values()) == {"DONE"}
