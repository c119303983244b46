"""A PACS that forgets, a modality that insists, and somebody who kills the node between them."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event

from node import statuses
from node.commitment import (
    SOP_CLASS,
    SOP_INSTANCE,
    Reference,
    Report,
    report_to_ds,
    request_from_ds,
)
from node.custody import is_whole
from node.database import open_engine, sqlite_url
from node.schema import delivery, instance, study
from node.sop_classes import IMAGE_CLASSES
from tests.acceptance.peers import NodeProcess, free_port, wait_for

REPORT = "1.2.840.10008.5.1.4.1.1.88.22"
_STAGE_TIMEOUT_S = 20.0


class ForgetfulPacs:
    """Keeps what it is sent, commits to it, and has lost some of it when it is asked.

    `contents` holds, for each SOP Instance UID, the different contents that it was ever sent.
    """

    def __init__(self, chance: random.Random, *, forgets: float) -> None:
        self.port = free_port()
        self.contents: dict[str, set[str]] = defaultdict(set)
        self.kept: set[str] = set()
        self.num_forgotten = 0
        self.reached: Callable[[str], None] = lambda _stage: None
        self._chance = chance
        self._forgets = forgets
        ae = AE("PACS")
        ae.add_supported_context(REPORT)
        ae.add_supported_context(SOP_CLASS)
        self._server: Any = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, self.on_c_store),
                (evt.EVT_N_ACTION, self.on_n_action),
            ],
        )

    def stop(self) -> None:
        self._server.shutdown()

    def on_c_store(self, event: Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.contents[uid].add(hashlib.sha256(event.encoded_dataset()).hexdigest())
        self.kept.add(uid)
        self.reached("deliver")
        return statuses.SUCCESS

    def on_n_action(self, event: Event) -> tuple[int, None]:
        transaction = request_from_ds(event.action_information)
        if self._chance.random() < self._forgets:
            self.num_forgotten += 1
            self.kept -= {one.sop_instance_uid for one in transaction.references}
        held = [one for one in transaction.references if one.sop_instance_uid in self.kept]
        lost = [one for one in transaction.references if one.sop_instance_uid not in self.kept]
        failed = dict.fromkeys(lost, statuses.NO_SUCH_INSTANCE)
        report = Report(transaction.uid, tuple(held), failed)
        self.reached("commit")
        threading.Timer(0.02, self._report, [event.assoc, report]).start()
        return statuses.SUCCESS, None

    def _report(self, assoc: Any, report: Report) -> None:
        self.reached("report")
        with suppress(RuntimeError, ValueError, AttributeError):  # the node may be dead by now
            assoc.send_n_event_report(
                report_to_ds(report), report.event_type, SOP_CLASS, SOP_INSTANCE
            )


class Sender(threading.Thread):
    """A modality that sends every image until it is acknowledged, at a leisurely pace."""

    def __init__(self, port: int, objects: list[Dataset], chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._waiting = list(objects)
        self._chance = chance
        self.acknowledged: list[Reference] = []
        self.num_attempts = 0
        self.reached: Callable[[str], None] = lambda _stage: None

    def run(self) -> None:
        while self._waiting:
            time.sleep(self._chance.uniform(0.0, 0.5))
            self.num_attempts += 1
            ds = self._waiting[0]
            if self._send(ds):
                self.acknowledged.append(Reference(ds.SOPClassUID, ds.SOPInstanceUID))
                self._waiting.pop(0)
                self.reached("acknowledge")

    def _send(self, ds: Dataset) -> bool:
        ae = AE("PACS")
        for sop_class_uid in IMAGE_CLASSES:
            ae.add_requested_context(sop_class_uid)
        ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = 5
        assoc = ae.associate("127.0.0.1", self._port, ae_title="CXRDRAFT")
        if not assoc.is_established:
            return False
        try:
            answer = assoc.send_c_store(ds)
            return "Status" in answer and answer.Status == statuses.SUCCESS
        except RuntimeError:
            return False
        finally:
            assoc.release()


class Killer:
    """Kills a node -9 when it reaches a stage, as the ledger, the PACS or the sender sees it."""

    _SEEN_BY_PEERS = ("acknowledge", "deliver", "commit", "report")
    _SEEN_IN_LEDGER: ClassVar[dict[str, sa.Select[Any]]] = {
        "complete": sa.select(study.c.key).where(study.c.state.in_(["RECEIVING", "READY"])),
        "infer": sa.select(study.c.key).where(study.c.state == "RUNNING"),
        "drafted": sa.select(study.c.key).where(study.c.state == "DRAFTED"),
        "settle": sa.select(delivery.c.destination).where(delivery.c.status == "sent"),
    }
    STAGES = ("receive", *_SEEN_BY_PEERS, *_SEEN_IN_LEDGER)

    def __init__(self, node: NodeProcess, chance: random.Random) -> None:
        self._node = node
        self._chance = chance
        self._armed = ""
        self._lock = threading.Lock()
        self._fired = threading.Event()
        self._ledger = open_engine(sqlite_url(node.root / "ledger.sqlite"))
        self.kills: Counter[str] = Counter()

    def close(self) -> None:
        self._ledger.dispose()

    def reached(self, stage: str) -> None:
        """Kill, if this is the stage at which to; called by whoever sees it."""
        with self._lock:
            if self._armed == stage:
                self._armed = ""
                self._node.kill()
                self._fired.set()

    def kill_once(self) -> None:
        """Kill the node at a stage drawn by chance, and start it again."""
        stage = self._chance.choice(self.STAGES)
        self._fired.clear()
        if stage in self._SEEN_BY_PEERS:
            self._armed = stage
            if not self._fired.wait(_STAGE_TIMEOUT_S):
                with self._lock:
                    self._armed = ""
        elif stage in self._SEEN_IN_LEDGER:
            self._await(self._SEEN_IN_LEDGER[stage])
            time.sleep(self._chance.uniform(0.0, 0.15))
        else:
            time.sleep(self._chance.uniform(0.0, 1.0))
        if not self._fired.is_set():
            self._node.kill()
        self.kills[stage] += 1
        self._node.start()

    def _await(self, query: sa.Select[Any]) -> None:
        """Look at the ledger until it shows what is looked for, or for too long."""
        deadline = time.monotonic() + _STAGE_TIMEOUT_S
        while time.monotonic() < deadline:
            with self._ledger.connect().execution_options(reading=True) as connection:
                if connection.execute(query.limit(1)).first() is not None:
                    return
            time.sleep(0.005)


def num_whole_files(node: NodeProcess) -> int:
    """Return how many images the ledger knows; each must be whole on disk."""
    engine = open_engine(sqlite_url(node.root / "ledger.sqlite"))
    with engine.connect().execution_options(reading=True) as connection:
        rows = connection.execute(sa.select(instance.c.path, instance.c.num_bytes)).all()
    engine.dispose()
    assert all(is_whole(node.root / row.path, row.num_bytes) for row in rows)
    return len(rows)


def wait_for_the_end(node: NodeProcess, num_studies: int, timeout_s: float) -> None:
    """Wait until every study is done."""

    def is_over() -> bool:
        states = node.states()
        return len(states) == num_studies and set(states.values()) == {"DONE"}

    wait_for(is_over, timeout_s, "every study to be done")
