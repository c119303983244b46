"""Acceptance tests drive the node's own command line against real peers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from engine.pipeline import Engine
from engine.pixels import render
from node.transport import close
from tests import films
from tests.acceptance.peers import NodeProcess, Orthanc

_TOOLS = ("Orthanc", "storescu", "echoscu", "storescp", "dsr2xml", "dcmcjpeg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here, and skip it with a reason where a peer is not installed."""
    missing = [name for name in _TOOLS if shutil.which(name, path="/usr/bin:/usr/sbin") is None]
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.acceptance)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))


@pytest.fixture(autouse=True)
def _peers_close_their_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom 3.0.4 leaves the socket open when its peer was first to close."""
    from pynetdicom.transport import AssociationSocket

    def close_anyway(self: AssociationSocket) -> None:
        if self.socket is not None:
            close(self.socket)

    monkeypatch.setattr(AssociationSocket, "_shutdown_socket", close_anyway)


@pytest.fixture(scope="session")
def good_films() -> list[films.Film]:
    """Return frontal films of the validation split that the bundle's guard accepts."""
    engine = Engine.load()

    def is_good(film: films.Film) -> bool:
        image = render(films.dicom(film, size=512), engine.transform)
        return engine.inspect(image).accepted

    return list(islice(filter(is_good, films.films()), 12))


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Return a function that starts `cxr-node run`; its log is printed when a test fails."""
    nodes: list[NodeProcess] = []

    def start(settings: Mapping[str, Any], **options: Any) -> NodeProcess:
        node = NodeProcess(tmp_path / f"node{len(nodes)}", settings, **options)
        nodes.append(node)
        node.start()
        return node

    yield start
    for node in nodes:
        node.stop()
        print(node.log())


@pytest.fixture
def start_orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Return a function that starts an Orthanc which routes to a port."""
    servers: list[Orthanc] = []

    def start(node_port: int, **options: Any) -> Orthanc:
        server = Orthanc(tmp_path / f"orthanc{len(servers)}", node_port, **options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()
