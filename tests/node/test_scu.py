"""Calling a peer: what it answers, and why there is no answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from pynetdicom import AE, evt

from node.clock import SystemClock
from node.config import NodeSettings, PeerSettings, TlsSettings
from node.errors import PeerError
from node.scu import NotTaken, Scu
from node.sop_classes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from node.tls import Tls
from tests.films import CR, phantom
from tests.node.conftest import Pacs, free_port

SCU = Scu(NodeSettings(acse_timeout_s=1, dimse_timeout_s=2), Tls(TlsSettings(), SystemClock()))


def _peer(port: int, ae_title: str = "PACS") -> PeerSettings:
    return PeerSettings(ae_title=ae_title, host="127.0.0.1", port=port)


@contextmanager
def _scp(handlers: Any = (), **contexts: Any) -> Iterator[int]:
    """Run a peer that knows its title and takes some contexts."""
    ae = AE("PACS")
    ae.require_called_aet = True
    for sop_class_uid, syntaxes in contexts.pop("contexts", {VERIFICATION: None}).items():
        ae.add_supported_context(sop_class_uid, syntaxes)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=list(handlers))
    yield port
    assert server is not None
    server.shutdown()


def test_an_echo_takes_milliseconds(pacs: Pacs) -> None:
    assert 0 < SCU.echo(_peer(pacs.port)) < 2000


@pytest.mark.timeout(30)
def test_a_release_does_not_wait_for_a_reader_that_has_ended(pacs: Pacs) -> None:
    started = time.monotonic()
    with SCU.association(_peer(pacs.port), [VERIFICATION]) as assoc:
        assoc._kill = True  # its thread ends, as it does when the peer hangs up just now
        assoc.join(5)
        assert not assoc.is_alive()
        assert not assoc._is_paused
    assert time.monotonic() - started < 10


def test_a_dead_port_is_named() -> None:
    port = free_port()
    with pytest.raises(PeerError, match=f"cannot connect to 127.0.0.1:{port}"):
        SCU.echo(_peer(port))


def test_a_rejection_is_given_its_reason() -> None:
    with _scp() as port, pytest.raises(PeerError, match="rejected: Called AE title not recog"):
        SCU.echo(_peer(port, "OTHER"))


def test_a_peer_without_the_service_is_named() -> None:
    with _scp(contexts={CR: None}) as port, pytest.raises(PeerError, match="Verification"):
        SCU.echo(_peer(port))


def test_a_peer_that_hangs_up_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(PeerError, match="aborted"):
            SCU.echo(_peer(listener.getsockname()[1]))
        thread.join()


def test_a_failed_echo_is_given_its_status() -> None:
    handlers = [(evt.EVT_C_ECHO, lambda _event: 0x0122)]
    with _scp(handlers) as port, pytest.raises(PeerError, match="status 0x0122"):
        SCU.echo(_peer(port))


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_an_object_is_sent_in_the_syntax_that_the_peer_takes(syntax: str) -> None:
    received: list[str] = []

    def on_c_store(event: Any) -> int:
        received.append(event.context.transfer_syntax)
        return 0x0000

    handlers = [(evt.EVT_C_STORE, on_c_store)]
    with _scp(handlers, contexts={CR: syntax}) as port:
        assert list(SCU.store(_peer(port), [phantom("x")], [CR])) == [0x0000]
    assert received == [syntax]


def test_a_class_that_is_not_taken_leaves_the_others(pacs: Pacs) -> None:
    mammogram = phantom("m", SOPClassUID="1.2.840.10008.5.1.4.1.1.1.2")
    classes = [mammogram.SOPClassUID, CR]
    refused, stored = SCU.store(_peer(pacs.port), [mammogram, phantom("x")], classes)
    assert isinstance(refused, NotTaken)
    assert "does not take Digital Mammography" in refused.reason
    assert CR in refused.accepted
    assert stored == 0x0000


def test_an_association_that_is_lost_gives_no_status() -> None:
    def on_c_store(event: Any) -> int:
        event.assoc.abort()
        return 0x0000

    answers: list[int | str] = []
    handlers = [(evt.EVT_C_STORE, on_c_store)]
    with _scp(handlers, contexts={CR: None}) as port, suppress(PeerError):
        answers.extend(SCU.store(_peer(port), [phantom("a"), phantom("b")], [CR]))
    assert set(answers) <= {"no answer"}
