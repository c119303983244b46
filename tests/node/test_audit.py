"""What a node does is audited, once, and reaches the repository however long that is away."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import etree

from node.app import Node
from node.audit_chain import verify
from node.audit_forward import unsent
from node.cli import main
from node.config import Settings
from node.query import STUDY_ROOT_FIND
from node.tls import strict_context
from tests.films import phantom
from tests.node.conftest import (
    Pacs,
    associate,
    free_port,
    send,
    settings_for,
    wait_for,
    wait_for_state,
)
from tests.node.test_audit_message import SCHEMA
from tests.pki import Authority, Issued

Start = Callable[..., Node]


def _trail(node: Node) -> Path:
    return node.settings.node.storage.root / "audit.jsonl"


def _entries(path: Path) -> list[dict[str, Any]]:
    verify(path)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def _events(node: Node) -> list[tuple[str, int]]:
    return [(entry["event"], entry["outcome"]) for entry in _entries(_trail(node))]


def _of(node: Node, event: str) -> list[Any]:
    entries = _entries(_trail(node))
    return [etree.fromstring(entry["xml"]) for entry in entries if entry["event"] == event]


def test_a_journey_is_audited_from_start_to_stop_in_messages_that_obey_the_schema(
    start_node: Start,
) -> None:
    node, ds = start_node(), phantom("audited", AccessionNumber="ACC9")
    associate(node, calling="EVIL")
    send(node, ds, phantom("audited", SOPInstanceUID="1.2.3.4"))
    wait_for_state(node, ds, "DONE")
    node.stop()
    events = _events(node)
    assert events[0] == events[-1] == ("Application Activity", 0)
    assert ("Security Alert", 4) in events
    assert ("Begin Transferring DICOM Instances", 0) in events
    for entry in _entries(_trail(node)):
        SCHEMA.assertValid(etree.fromstring(entry["xml"]))
    *received, sent = _of(node, "DICOM Instances Transferred")
    counts = [int(one.get("NumberOfInstances")) for m in received for one in m.iter("SOPClass")]
    assert sum(counts) == 2
    for message in (*received, sent):
        objects = message.findall("ParticipantObjectIdentification")
        assert objects[0].get("ParticipantObjectID") == ds.StudyInstanceUID
        assert objects[1].get("ParticipantObjectID") == ds.PatientID
    assert sent.find("EventIdentification").get("EventActionCode") == "R"
    assert stat.S_IMODE(_trail(node).stat().st_mode) == 0o600


def test_an_object_that_is_given_up_is_a_serious_failure(start_node: Start, pacs: Pacs) -> None:
    pacs.status = 0xC123
    node, ds = start_node(), phantom("given up")
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    wait_for(lambda: ("DICOM Instances Transferred", 8) in _events(node))
    failed = _of(node, "DICOM Instances Transferred")[-1]
    assert "0xC123" in failed.findtext("EventIdentification/EventOutcomeDescription")


def test_a_search_for_an_earlier_film_is_audited_as_a_query(
    start_node: Start, tmp_path: Path, pacs: Pacs
) -> None:
    plain = settings_for(tmp_path / "root", pacs.port)
    asked = plain.peers["pacs"].model_copy(update={"priors": True})
    node = start_node(plain.model_copy(update={"peers": {"pacs": asked}}))
    ds = phantom("queried", StudyDate="20260101", PatientID="P-77")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    node.stop()
    (query,) = _of(node, "Query")
    SCHEMA.assertValid(query)
    subject = query.find("ParticipantObjectIdentification")
    assert subject.get("ParticipantObjectID") == STUDY_ROOT_FIND
    assert b"P-77" in base64.b64decode(subject.findtext("ParticipantObjectQuery"))
    assert [one.get("AlternativeUserID") for one in query.findall("ActiveParticipant")] == [
        "AETITLES=CXRDRAFT",
        "AETITLES=PACS",
    ]


def test_what_a_killed_run_did_not_audit_is_audited_by_the_next(
    start_node: Start, pacs: Pacs
) -> None:
    node, ds = start_node(), phantom("killed")
    wait_for(lambda: _events(node))
    before = _trail(node).read_bytes()
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    node.stop()
    _trail(node).write_bytes(before + b'{"half a li')
    again = start_node(node.settings)
    wait_for(lambda: len(_of(again, "DICOM Instances Transferred")) == 2)
    again.stop()
    third = start_node(node.settings)
    third.stop()
    assert len(_of(third, "DICOM Instances Transferred")) == 2


def test_changed_settings_are_named_without_their_values(start_node: Start) -> None:
    node = start_node()
    node.stop()
    peer = node.settings.peers["pacs"].model_copy(update={"host": "localhost"})
    again = start_node(node.settings.model_copy(update={"peers": {"pacs": peer}}))
    again.stop()
    (alert,) = _of(again, "Security Alert")
    assert alert.find("EventIdentification/EventTypeCode").get("csd-code") == "110129"
    text = base64.b64decode(next(alert.iter("ParticipantObjectDetail")).get("value")).decode()
    assert text == "settings changed: peers.pacs.host"


def test_many_refusals_of_one_kind_make_few_alerts(start_node: Start) -> None:
    node = start_node(work={"sweep_s": 60})
    for _ in range(5):
        associate(node, calling="EVIL")
    node.stop()
    alerts = _of(node, "Security Alert")
    assert 1 <= len(alerts) <= 2


def test_a_node_with_no_audit_writes_no_trail(start_node: Start) -> None:
    node = start_node(audit={"enabled": False})
    node.stop()
    assert not _trail(node).exists()


def test_the_verb_verifies_the_trail_and_says_what_is_wrong(
    start_node: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = start_node()
    node.stop()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"node": {"storage": {"root": str(tmp_path / "root")}}}))
    assert main(["audit", "-c", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lines"] == 2
    content = _trail(node).read_bytes()
    _trail(node).write_bytes(content.replace(b"Activity", b"Inactive", 1))
    assert main(["audit", "-c", str(config)]) == 1
    assert "line 1 of the audit trail" in capsys.readouterr().err


# the repository


class SyslogServer:
    """A repository that speaks RFC 5425 and keeps what it reads."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self.port = port
        self.messages: list[bytes] = []
        self._context = context
        self._listener: socket.socket | None = None

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
                with self._context.wrap_socket(sock, server_side=True) as secured:
                    self._read(secured)
            except ssl.SSLError:
                continue
            except OSError:
                return

    def _read(self, secured: ssl.SSLSocket) -> None:
        received = b""
        while part := secured.recv(65_536):
            received += part
        while received:
            length, _, rest = received.partition(b" ")
            message, received = rest[: int(length)], rest[int(length) :]
            assert len(message) == int(length)
            self.messages.append(message)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Issued:
    return authority.issue("CXRDRAFT")


def _server(authority: Authority, name: str, port: int) -> SyslogServer:
    issued = authority.issue(name, sans=[name])
    context = strict_context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    return SyslogServer(context, port)


@pytest.fixture
def repository(authority: Authority) -> Iterator[SyslogServer]:
    server = _server(authority, "127.0.0.1", free_port())
    yield server
    server.stop()


def _settings(root: Path, pacs: Pacs, authority: Authority, ours: Issued, port: int) -> Settings:
    tls = {"certificate": ours.certificate, "key": ours.key, "ca": authority.path}
    audit = {"syslog": {"host": "127.0.0.1", "port": port}}
    return settings_for(root, pacs.port, tls=tls, audit=audit)


def test_every_message_reaches_the_repository_over_tls_though_it_was_away(
    start_node: Start,
    tmp_path: Path,
    pacs: Pacs,
    authority: Authority,
    ours: Issued,
    repository: SyslogServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.audit_forward._FIRST_WAIT_S", 0.1)
    settings = _settings(tmp_path / "root", pacs, authority, ours, repository.port)
    first, ds = start_node(settings), phantom("away")
    send(first, ds)
    wait_for_state(first, ds, "DONE")
    first.stop()
    assert unsent(_trail(first)) == len(_entries(_trail(first))) >= 4
    repository.start()
    second = start_node(settings)
    wait_for(lambda: unsent(_trail(second)) == 0)
    entries = _entries(_trail(second))
    assert [message.partition(b"\xef\xbb\xbf")[2].decode() for message in repository.messages] == [
        entry["xml"] for entry in entries
    ]
    header = repository.messages[0].partition(b"\xef\xbb\xbf")[0].split(b" ")
    assert header[0] == b"<85>1"
    assert header[1].decode() == entries[0]["at"]
    assert header[3:] == [b"cxr-node", str(os.getpid()).encode(), b"DICOM+RFC3881", b"-", b""]


def test_a_repository_that_is_another_gets_nothing(
    start_node: Start, tmp_path: Path, pacs: Pacs, authority: Authority, ours: Issued
) -> None:
    impostor = _server(authority, "impostor.example", free_port())
    impostor.start()
    node = start_node(_settings(tmp_path / "root", pacs, authority, ours, impostor.port))
    forward = next(loop for loop in node._dispatch._loops if loop.name == "audit-forward")
    wait_for(lambda: forward._step.__self__._next_at)
    assert unsent(_trail(node)) == len(_entries(_trail(node)))
    assert impostor.messages == []
    impostor.stop()
