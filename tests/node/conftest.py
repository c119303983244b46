"""A node on loopback, peers to talk to it, and a PACS that answers what it is told."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import EventHandlerType
from pynetdicom.transport import AssociationSocket

from engine.config import EngineSettings
from node import transport
from node.app import Node
from node.config import NodeSettings, Settings, WorkSettings
from node.database import ledger_url, sqlite_url
from node.inference import InferenceChild
from node.sop_classes import IMAGE_CLASSES, TRANSFER_SYNTAXES, UNCOMPRESSED, VERIFICATION
from tests.fakes import FakeEngine
from tests.postgres import Postgres

SR = "1.2.840.10008.5.1.4.1.1.88.22"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Return the first true answer of a condition."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return answer


class Pacs:
    """A storage SCP that keeps what it gets and answers with the status it is told."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.status = 0x0000
        self.received: list[Dataset] = []
        self.classes = [SR, *IMAGE_CLASSES]
        self.roles: dict[str, tuple[bool, bool]] = {}
        self.context: ssl.SSLContext | None = None
        self.handlers: list[EventHandlerType] = []
        self._server: Any = None

    def start(self) -> None:
        ae = AE("PACS")
        ae.add_supported_context(VERIFICATION)
        for sop_class_uid in self.classes:
            ae.add_supported_context(sop_class_uid, list(UNCOMPRESSED))
        for sop_class_uid, (scu_role, scp_role) in self.roles.items():
            ae.add_supported_context(sop_class_uid, scu_role=scu_role, scp_role=scp_role)
        handlers = [(evt.EVT_C_STORE, self._on_c_store), *self.handlers]
        self._server = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=handlers,
            ssl_context=self.context,
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _on_c_store(self, event: Any) -> int:
        if self.status < 0xA000 or self.status >= 0xB000:
            self.received.append(event.dataset)
        return self.status


def _close(self: AssociationSocket) -> None:
    """Close also where the peer was first; pynetdicom 3.0.4 leaves such a socket open."""
    if self.socket is not None:
        transport.close(self.socket)


@pytest.fixture(autouse=True)
def _peers_close_their_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AssociationSocket, "_shutdown_socket", _close)


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    server = Pacs(free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> sa.URL:
    """Return where a new ledger is to be: the same tests for both kinds of database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "ledger.sqlite")
    server: Postgres = request.getfixturevalue("postgres")
    node = NodeSettings.model_validate({"ledger": {"url": server.database()}})
    return ledger_url(node)


def settings_for(root: Path, pacs_port: int, **node: Any) -> Settings:
    """Return settings for a quick node on loopback that reports to a PACS."""
    node = {
        "port": free_port(),
        "bind": "127.0.0.1",
        "storage": {"root": root, "free_min_gb": 0, "free_min_percent": 0},
        "study": {"quiet_s": 0.2, "hard_cap_s": 30, "successor_every_s": 0},
        "work": {"sweep_s": 0.05},
    } | node
    pacs = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs_port, "send": ["report"]}
    outbox = {"retry_initial_s": 0.1, "retry_max_s": 0.4}
    return Settings.model_validate(
        {"node": node, "peers": {"pacs": pacs}, "outputs": {"outbox": outbox}}
    )


@pytest.fixture
def start_node(tmp_path: Path, pacs: Pacs, engine: FakeEngine) -> Iterator[Callable[..., Node]]:
    """Return a function that starts a node; keywords change its `node:` section."""
    nodes: list[Node] = []

    def start(settings: Settings | None = None, **changes: Any) -> Node:
        chosen = settings or settings_for(tmp_path / "root", pacs.port, **changes)
        node = Node(chosen, engine)
        node.start()
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        node.stop()


def associate(node: Node, *, calling: str = "PACS", called: str = "", classes: Any = None) -> Any:
    """Open an association with a node."""
    ae = AE(calling)
    ae.add_requested_context(VERIFICATION)
    for sop_class_uid in classes or IMAGE_CLASSES:
        for syntax in TRANSFER_SYNTAXES:
            ae.add_requested_context(sop_class_uid, syntax)
    ae.acse_timeout = ae.dimse_timeout = 10
    settings = node.settings.node
    return ae.associate("127.0.0.1", settings.port, ae_title=called or settings.ae_title)


def send(node: Node, *objects: Dataset, **options: Any) -> list[int | None]:
    """Send objects over one association; return the statuses."""
    assoc = associate(node, **options)
    assert assoc.is_established
    statuses = [assoc.send_c_store(ds).get("Status") for ds in objects]
    assoc.release()
    return statuses


def study_state(node: Node, ds: Dataset) -> list[str]:
    """Return the states of all generations of an object's study."""
    return [row["state"] for row in node.journal.study(ds.StudyInstanceUID)]


def wait_for_state(node: Node, ds: Dataset, *states: str) -> None:
    wait_for(lambda: study_state(node, ds) == list(states))


def half_written(root: Path) -> list[Path]:
    """Return the files under a storage root that are on their way in."""
    files = (path for path in (root / "incoming").rglob("*") if path.is_file())
    return [path for path in files if path.name != "lock"]


@pytest.fixture
def make() -> Iterator[Callable[..., InferenceChild]]:
    """Return a function that starts a model which behaves in a way of `strange_child`."""
    children: list[InferenceChild] = []

    def start(way: str, **work: Any) -> InferenceChild:
        settings = EngineSettings(bundle=Path("/") / way)
        child = InferenceChild(settings, WorkSettings(**work), "tests.node.strange_child")
        child.start()
        children.append(child)
        return child

    yield start
    for child in children:
        child.stop()


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, the last of its threads with it."""
    stat, tasks = Path(f"/proc/{pid}/stat"), Path(f"/proc/{pid}/task")
    if not stat.exists():
        return True
    is_zombie = stat.read_text().rpartition(")")[2].split()[0] == "Z"
    return is_zombie and len(list(tasks.iterdir())) <= 1
