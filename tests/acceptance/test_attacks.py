"""A node under attack: a good peer is served all the while, and nothing is left when it is over.

One node runs in its own process for all of them. Each attack goes on while the good peer sends a
film; afterwards memory, threads and descriptors must be back where they were.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests import wire
from tests.acceptance.peers import NodeProcess, free_port, node_settings, peer, wait_for
from tests.films import phantom, uid
from tests.node.conftest import half_written

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

Attack = Callable[[int, threading.Event], None]
_SLACK = {"MB": 50, "threads": 0, "descriptors": 15}
"""The ledger keeps up to five connections open, three files each, once it needed them."""
_MAX_OBJECT_MB = 32
_PER_PEER = 8


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("attacked")
    peers = {"pacs": peer("PACS", 1), "turned": peer("TURNED", 1)}
    settings = node_settings(folder, free_port(), peers)
    settings["node"] |= {"intake": {"max_object_mb": _MAX_OBJECT_MB}, "dimse_timeout_s": 5}
    settings["node"] |= {"max_associations_per_peer": _PER_PEER, "max_associations_per_ip": 40}
    settings["node"] |= {"study": {"quiet_s": 600, "hard_cap_s": 1200}}
    running = NodeProcess(folder, settings, MALLOC_ARENA_MAX="2")
    running.start()
    with ThreadPoolExecutor(_PER_PEER) as pool:  # so that what is made once is there
        names = [f"warm {number}" for number in range(40)]
        assert set(pool.map(partial(send_film, running.port), names)) == {0}
    yield running
    assert running.stop() == 0


def send_film(port: int, name: str) -> int:
    """Send a film as a good peer does; return the status."""
    return wire.send(port, phantom(uid(name)[-12:]))


def _until(stop: threading.Event, step: Callable[[], None], pause_s: float = 0.0) -> None:
    """Do something again and again; that the node hangs up on it is as it should be."""
    while not stop.is_set():
        with suppress(OSError, AssertionError):
            step()
        stop.wait(pause_s)


def _hold(num_sockets: int, first: bytes = b"") -> Attack:
    """Open connections, say something or nothing, and wait; those shown out come again."""

    def attack(port: int, stop: threading.Event) -> None:
        held: list[socket.socket] = []

        def knock() -> None:
            held.append(wire.connect(port))
            held[-1].sendall(first)

        _until(stop, lambda: knock() if len(held) < num_sockets else stop.wait(0.1) and None)
        for sock in held:
            sock.close()

    return attack


def _drip(first: bytes, drop: bytes, num_sockets: int = 20) -> Attack:
    """Say a little on many connections, never enough."""

    def attack(port: int, stop: threading.Event) -> None:
        held: list[socket.socket] = []
        for _ in range(num_sockets):
            held.append(wire.connect(port))
            held[-1].sendall(first)

        def all_drip() -> None:
            for number, sock in enumerate(held):
                try:
                    sock.sendall(drop)
                except OSError:
                    sock.close()
                    held[number] = wire.connect(port)
                    held[number].sendall(first)

        _until(stop, all_drip, 0.2)
        for sock in held:
            sock.close()

    return attack


def _by_many(once: Callable[[int], None], num_threads: int) -> Attack:
    """Do something again and again on several connections at once."""

    def attack(port: int, stop: threading.Event) -> None:
        threads = [
            threading.Thread(target=_until, args=(stop, lambda: once(port)))
            for _ in range(num_threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return attack


def _repeat(message: bytes) -> Attack:
    """Connect, say something, and come again when the node hangs up."""

    def once(port: int) -> None:
        with wire.connect(port) as sock:
            sock.sendall(message)
            while sock.recv(4096):
                pass

    return _by_many(once, 4)


def _flood(message: bytes, then: bytes) -> Attack:
    """As a known peer gone bad: begin a message and go on without end."""

    def once(port: int) -> None:
        with wire.associated(port, "TURNED") as sock:
            sock.sendall(message)
            for _ in range(4000):
                sock.sendall(then)

    return _by_many(once, 3)


def _never_reads(port: int, stop: threading.Event) -> None:
    """Ask for answers and never read one."""

    def once() -> None:
        with wire.associated(port, "TURNED") as sock:
            sock.settimeout(3)
            for _ in range(200_000):
                sock.sendall(wire.ECHO * 50)

    _until(stop, once)


def _idle_associations(port: int, stop: threading.Event) -> None:
    """Take as many associations as one is given, and keep them."""
    held: list[socket.socket] = []

    def once() -> None:
        sock = wire.connect(port)
        sock.sendall(wire.request("CXRDRAFT", "TURNED"))
        held.append(sock)

    _until(stop, once, 0.02)
    for sock in held:
        sock.close()


_BEGUN = wire.p_data(3, wire.command(wire.CR, 1, sop_instance_uid=uid("x"), has_data_set=True))
_DEEP = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
    "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
)
ATTACKS: dict[str, Attack] = {
    "200 silent sockets": _hold(200),
    "900 silent sockets": _hold(900),
    "half a request": _hold(200, wire.request("CXRDRAFT", "PACS")[:50]),
    "a request byte by byte": _drip(wire.request("CXRDRAFT", "PACS")[:1], b"\0"),
    "an object byte by byte": _drip(
        wire.request("CXRDRAFT", "TURNED") + _BEGUN, wire.p_data(0, b"x"), 6
    ),
    "a PDU of 4 GiB": _repeat(struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + b"\0" * 4096),
    "HTTP": _repeat(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "garbage": _repeat(bytes(range(256)) * 64),
    "an abort first": _repeat(wire.pdu(7, bytes(4))),
    "a release first": _repeat(wire.RELEASE),
    "data first": _repeat(_BEGUN * 10),
    "1,000 contexts": _repeat(wire.request("CXRDRAFT", "PACS", [wire.CR] * 1000)),
    "an unknown title": _repeat(wire.request("CXRDRAFT", "STRANGER")),
    "two requests": _repeat(wire.request("CXRDRAFT", "TURNED") * 2),
    "fragments without end": _flood(_BEGUN, wire.p_data(0, bytes(16_000))),
    "empty fragments": _flood(_BEGUN, wire.p_data(0, b"") * 500),
    "commands without end": _flood(b"", wire.p_data(1, bytes(1000))),
    "nesting without end": _flood(_BEGUN, wire.p_data(0, _DEEP * 100)),
    "a data PDU of 4 GiB": _flood(_BEGUN, struct.pack(">BBL", 4, 0, 0xFFFFFFF0)),
    "answers that nobody reads": _never_reads,
    "associations kept idle": _idle_associations,
}


def _footprint(node: NodeProcess) -> dict[str, float]:
    """Return what a process takes up."""
    assert node.process is not None
    folder = Path(f"/proc/{node.process.pid}")
    status = (folder / "status").read_text().splitlines()
    lines = dict(line.split(":", 1) for line in status if ":" in line)
    return {
        "MB": int(lines["VmRSS"].split()[0]) / 1024,
        "threads": int(lines["Threads"]),
        "descriptors": len(list((folder / "fd").iterdir())),
    }


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_good_peer_is_served_and_nothing_is_left(
    node: NodeProcess, attack: Attack, request: pytest.FixtureRequest
) -> None:
    before = _footprint(node)
    stop = threading.Event()
    attacker = threading.Thread(target=attack, args=(node.port, stop))
    attacker.start()
    try:
        waited = []
        for number in range(5):
            time.sleep(0.4)
            started = time.monotonic()
            assert send_film(node.port, f"{request.node.name} {number}") == 0
            waited.append(time.monotonic() - started)
    finally:
        stop.set()
        attacker.join(30)
    assert max(waited) < 1, f"the good peer waited {waited}"

    def left_over() -> dict[str, float]:
        now = _footprint(node)
        grown = {name: now[name] - before[name] for name in before}
        return {name: more for name, more in grown.items() if more > _SLACK[name]}

    with suppress(AssertionError):
        wait_for(lambda: not left_over(), 20, "the node to recover")
    assert not left_over(), f"of {before}"


def test_five_hundred_associations_at_once_are_served_or_politely_refused(
    node: NodeProcess,
) -> None:
    socks = [wire.connect(node.port) for _ in range(500)]
    for sock in socks:
        sock.sendall(wire.request("CXRDRAFT", "PACS"))
    answers = [wire.answer(sock)[0] for sock in socks]
    assert set(answers) <= {wire.ACCEPT, wire.REJECT}
    assert answers.count(wire.ACCEPT) == _PER_PEER
    for sock in socks:
        sock.close()
    assert send_film(node.port, "after five hundred") == 0


def test_no_file_is_left_half_written(node: NodeProcess) -> None:
    wait_for(lambda: not half_written(node.root), 20, "the spool to be clean")
