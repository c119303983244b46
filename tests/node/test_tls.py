"""The TLS front door: whom it lets in, whom it refuses and why, and that nobody is held up."""

from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt

from node.app import Node
from node.checks import check_certificates
from node.clock import SystemClock
from node.config import NodeSettings, PeerSettings, Settings, TlsSettings
from node.config_file import load_settings
from node.errors import ConfigInvalid, PeerError, TlsError
from node.scu import Scu
from node.sop_classes import IMAGE_CLASSES, VERIFICATION
from node.tls import Tls, strict_context
from tests.fakes import ManualClock
from tests.films import phantom
from tests.node.conftest import Pacs, free_port, settings_for, wait_for
from tests.pki import DAY, Authority, Issued, expired, self_signed, wrong_ca

Start = Callable[..., Node]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Issued:
    return authority.issue("CXRDRAFT", sans=["127.0.0.1"], rsa_bits=2048)


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Issued:
    return authority.issue("PACS")


def _tls(authority: Authority, issued: Issued, **changes: Any) -> dict[str, Any]:
    chosen = {"enabled": True, "certificate": issued.certificate, "key": issued.key}
    return {**chosen, "ca": authority.path, **changes}


@pytest.fixture
def start_secure(
    start_node: Start, authority: Authority, ours: Issued, tmp_path: Path, pacs: Pacs
) -> Start:
    """Return a function that starts a node with TLS on; keywords change `node.tls`."""

    def start(peer: dict[str, Any] | None = None, **changes: Any) -> Node:
        tls = _tls(authority, ours, **changes)
        settings = settings_for(tmp_path / "root", pacs.port, tls=tls, acse_timeout_s=2)
        changed = settings.peers["pacs"].model_copy(update=peer or {})
        return start_node(settings.model_copy(update={"peers": {"pacs": changed}}))

    return start


def _client(authority: Authority, issued: Issued | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority.path)
    if issued is not None:
        context.load_cert_chain(issued.certificate, issued.key)
    return context


def _associate(node: Node, context: ssl.SSLContext, calling: str = "PACS") -> Any:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 5
    for uid in (VERIFICATION, *IMAGE_CLASSES):
        ae.add_requested_context(uid)
    port = node.settings.node.port
    return ae.associate("127.0.0.1", port, ae_title="CXRDRAFT", tls_args=(context, "node"))


def _sent(node: Node, context: ssl.SSLContext, ds: Any) -> int | None:
    assoc = _associate(node, context)
    assert assoc.is_established
    status = assoc.send_c_store(ds).get("Status")
    assoc.release()
    return None if status is None else int(status)


def _last_rejection(node: Node) -> dict[str, Any]:
    rows = wait_for(lambda: [row for row in node.journal.rejections() if row["kind"] != "abort"])
    return dict(rows[0])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_known_peer_stores_over_each_version(
    start_secure: Start, authority: Authority, theirs: Issued, version: ssl.TLSVersion
) -> None:
    node, context = start_secure(), _client(authority, theirs)
    context.minimum_version = context.maximum_version = version
    assert _sent(node, context, phantom(version, size=400)) == 0x0000
    assert len(list((node.settings.node.storage.root / "images").rglob("*.dcm"))) == 1


def _not_yet(authority: Authority, _folder: Path) -> Issued:
    return authority.issue("PACS", starts=DAY, stem="early")


@pytest.mark.parametrize(
    ("make", "reason", "cure"),
    [
        (wrong_ca, "unable to get local issuer certificate", "add the authority"),
        (expired, "certificate has expired", "replace the peer's certificate"),
        (_not_yet, "certificate is not yet valid", "clock"),
        (self_signed, "self-signed certificate", "add the peer's own certificate"),
        (None, "the peer shows no certificate", "give the peer a certificate"),
    ],
    ids=["wrong authority", "expired", "not yet valid", "self-signed", "none"],
)
def test_a_stranger_is_refused_in_the_handshake_and_told_apart(
    start_secure: Start,
    authority: Authority,
    tmp_path: Path,
    make: Callable[[Authority, Path], Issued] | None,
    reason: str,
    cure: str,
) -> None:
    node = start_secure()
    context = _client(authority, make and make(authority, tmp_path))
    assert not _associate(node, context).is_established
    row = _last_rejection(node)
    assert row["kind"] == "tls"
    assert reason in row["reason"]
    assert cure in row["hint"]


@pytest.mark.parametrize(
    ("version", "reason"),
    [("-tls1", "no TLS newer than 1.1"), ("-tls1_1", "no TLS newer than 1.1")],
)
def test_withdrawn_versions_are_refused(
    start_secure: Start, authority: Authority, theirs: Issued, version: str, reason: str
) -> None:
    node = start_secure()
    assert _openssl(node, theirs, version, "-cipher", "ALL:@SECLEVEL=0") != 0
    assert reason in _last_rejection(node)["reason"]


@pytest.mark.parametrize("cipher", ["NULL", "AES128-SHA", "ECDHE-RSA-AES128-SHA256", "DHE"])
def test_weak_ciphers_are_refused(start_secure: Start, theirs: Issued, cipher: str) -> None:
    node = start_secure()
    assert _openssl(node, theirs, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0") != 0
    assert "cipher" in _last_rejection(node)["reason"]


def _openssl(node: Node, issued: Issued, *options: str) -> int:
    """Shake hands as `openssl s_client`; return its exit status."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.settings.node.port}"]
    command += ["-cert", str(issued.certificate), "-key", str(issued.key), *options]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=20, check=False)
    return done.returncode


def test_a_certificate_of_another_title_is_rejected_with_the_line_that_would_let_it_in(
    start_secure: Start, authority: Authority
) -> None:
    node, other = start_secure(), authority.issue("CT1")
    assoc = _associate(node, _client(authority, other))
    answer = assoc.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 3)
    row = _last_rejection(node)
    assert row["reason"] == "the certificate is not that of peer pacs"
    assert f"sha256:{other.fingerprint}` to peers.pacs.certificate" in row["hint"]
    node.stop()
    again = start_secure({"certificate": (f"sha256:{other.fingerprint}",)})
    assert _associate(again, _client(authority, other)).is_established


def test_a_plain_association_gets_no_answer_on_a_tls_port(start_secure: Start) -> None:
    node = start_secure()
    ae = AE("PACS")
    ae.acse_timeout = ae.network_timeout = 3
    ae.add_requested_context(VERIFICATION)
    port = node.settings.node.port
    assert not ae.associate("127.0.0.1", port, ae_title="CXRDRAFT").is_established
    assert "does not speak TLS" in _last_rejection(node)["reason"]


def test_optional_certificates_are_checked_only_where_they_are_shown(
    start_secure: Start, authority: Authority, theirs: Issued
) -> None:
    node = start_secure(client_certificates="optional")
    assert _associate(node, _client(authority, None)).is_established
    assert _associate(node, _client(authority, theirs)).is_established
    assert not _associate(node, _client(authority, authority.issue("CT1"))).is_established


def test_a_peer_with_a_rule_must_show_a_certificate_even_where_they_are_optional(
    start_secure: Start, authority: Authority, theirs: Issued
) -> None:
    node = start_secure({"certificate": ("CN=PACS",)}, client_certificates="optional")
    assert not _associate(node, _client(authority, None)).is_established
    assert "shows none" in _last_rejection(node)["hint"]
    assert _associate(node, _client(authority, theirs)).is_established


def test_handshakes_that_stall_hold_nobody_up_and_end_at_the_deadline(
    start_secure: Start, authority: Authority, theirs: Issued
) -> None:
    node = start_secure()
    port = node.settings.node.port
    stalled = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for number, sock in enumerate(stalled):
        if number % 2:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    context = _client(authority, theirs)
    started = time.monotonic()
    assert _sent(node, context, phantom("during")) == 0x0000
    assert time.monotonic() - started < 1.5
    for sock in stalled:
        sock.settimeout(5)
        assert sock.recv(100) == b""
        sock.close()
    assert time.monotonic() - started < 5
    wait_for(lambda: not node._scp.num_connections())
    assert "not done in time" in _last_rejection(node)["reason"]


def test_a_probe_that_hangs_up_without_a_word_is_no_rejection(
    start_secure: Start, authority: Authority
) -> None:
    node = start_secure()
    for _ in range(3):
        socket.create_connection(("127.0.0.1", node.settings.node.port)).close()
    assert not _associate(node, _client(authority, None)).is_established
    assert "shows no certificate" in _last_rejection(node)["reason"]
    assert [row["kind"] for row in node.journal.rejections()] == ["tls"]


def test_more_stalled_handshakes_than_there_is_room_for_keep_nobody_out(
    start_secure: Start, authority: Authority, theirs: Issued
) -> None:
    node = start_secure()
    port = node.settings.node.port
    stalled = [socket.create_connection(("127.0.0.1", port)) for _ in range(700)]
    wait_for(lambda: node._scp.num_connections() == 640)
    time.sleep(0.3)
    context = _client(authority, theirs)
    assoc = wait_for(lambda: (one := _associate(node, context)).is_established and one)
    for sock in stalled:
        sock.close()
    wait_for(lambda: node._scp.num_connections() == 1)
    assoc.release()


def test_replaced_certificates_count_from_the_next_connection_on(
    start_node: Start, authority: Authority, theirs: Issued, tmp_path: Path, pacs: Pacs
) -> None:
    first, second = authority.issue("CXRDRAFT", stem="one"), authority.issue("CXRDRAFT", stem="two")
    used = Issued(tmp_path / "node.pem", tmp_path / "node.key")
    _copy(first, used)
    tls = _tls(authority, used)
    node = start_node(settings_for(tmp_path / "root", pacs.port, tls=tls))
    context = _client(authority, theirs)
    assert _shown_by(node, context) == first.fingerprint
    held = _associate(node, context)
    _copy(second, used)
    wait_for(lambda: _shown_by(node, context) == second.fingerprint)
    assert held.send_c_echo().Status == 0x0000
    held.release()


def _copy(issued: Issued, to: Issued) -> None:
    to.key.write_bytes(issued.key.read_bytes())
    to.certificate.write_bytes(issued.certificate.read_bytes())


def _shown_by(node: Node, context: ssl.SSLContext) -> str:
    """Return the fingerprint of the certificate that a node shows."""
    import hashlib

    port = node.settings.node.port
    with (
        socket.create_connection(("127.0.0.1", port)) as sock,
        context.wrap_socket(sock, server_hostname="node") as secured,
    ):
        return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()


def test_bad_files_leave_the_good_ones_in_use(
    authority: Authority, ours: Issued, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    used = Issued(tmp_path / "node.pem", tmp_path / "node.key")
    _copy(ours, used)
    tls = Tls(TlsSettings(**_tls(authority, used)), SystemClock())
    before = tls.server
    used.key.write_text("rubbish")
    with caplog.at_level(logging.INFO, "cxr_node"):
        assert tls.step()
        assert not tls.step()
    assert tls.server is before
    assert "cannot be opened" in caplog.text
    assert "stay in use" in caplog.text
    used.key.write_bytes(ours.key.read_bytes())
    assert tls.reload()
    assert tls.server is not before


def test_sighup_reloads_without_a_restart(
    authority: Authority, ours: Issued, tmp_path: Path
) -> None:
    settings = tmp_path / "config.yaml"
    tls = {name: str(path) for name, path in _tls(authority, ours).items() if name != "enabled"}
    port = free_port()
    settings.write_text(
        f"node:\n  port: {port}\n  bind: 127.0.0.1\n"
        f"  storage: {{root: root, free_min_gb: 0, free_min_percent: 0}}\n"
        f"  work: {{sweep_s: 60}}\n"
        f"  tls: {{enabled: true, certificate: {tls['certificate']}, key: {tls['key']},"
        f" ca: {tls['ca']}}}\n"
    )
    script = tmp_path / "serve.py"
    script.write_text(
        "import os, pathlib, sys\n"
        "from node import logs\n"
        "from node.app import Node\n"
        "from node.running import run_until_signalled\n"
        "from node.config_file import load_settings\n"
        "from tests.fakes import FakeEngine\n"
        "logs.set_up('info', sys.stdout)\n"
        "settings = load_settings(pathlib.Path(sys.argv[1]), {})\n"
        "run_until_signalled(Node(settings, FakeEngine()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        lines = _Lines(process)
        lines.wait_for("node.started")
        process.send_signal(signal.SIGHUP)
        lines.wait_for("tls.loaded")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


class _Lines(threading.Thread):
    """Collects what a process prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self._process = process
        self.text = ""
        self.start()

    def run(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.text += line

    def wait_for(self, word: str) -> None:
        wait_for(lambda: word in self.text, 30)


# what is wrong with our own files: one line, with a cure


def _wrong_key(authority: Authority, ours: Issued, _path: Path) -> dict[str, Any]:
    return _tls(authority, replace(ours, key=authority.issue("other").key))


def _other_kind_of_key(authority: Authority, ours: Issued, _path: Path) -> dict[str, Any]:
    return _tls(authority, replace(ours, key=authority.issue("rsa", rsa_bits=2048).key))


def _encrypted(authority: Authority, _ours: Issued, _path: Path) -> dict[str, Any]:
    return _tls(authority, authority.issue("e", password="secret"))


def _wrong_password(authority: Authority, _ours: Issued, path: Path) -> dict[str, Any]:
    (path / "password").write_text("guess\n")
    issued = authority.issue("e", password="secret")
    return _tls(authority, issued, key_password_file=path / "password")


def _needless_password(authority: Authority, ours: Issued, path: Path) -> dict[str, Any]:
    (path / "password").write_text("guess\n")
    return _tls(authority, ours, key_password_file=path / "password")


def _absent(authority: Authority, ours: Issued, path: Path) -> dict[str, Any]:
    return _tls(authority, replace(ours, key=path / "absent.key"))


def _absent_authority(authority: Authority, ours: Issued, path: Path) -> dict[str, Any]:
    return _tls(authority, ours, ca=path / "absent.pem")


def _own_expired(authority: Authority, _ours: Issued, _path: Path) -> dict[str, Any]:
    return _tls(authority, authority.issue("x", starts=-9 * DAY, ends=-DAY))


def _own_early(authority: Authority, _ours: Issued, _path: Path) -> dict[str, Any]:
    return _tls(authority, authority.issue("y", starts=DAY))


def _short(authority: Authority, _ours: Issued, _path: Path) -> dict[str, Any]:
    return _tls(authority, authority.issue("z", rsa_bits=1024))


@pytest.mark.parametrize(
    ("make", "text", "cure"),
    [
        (_wrong_key, "does not belong to the certificate", "requested with"),
        (_other_kind_of_key, "does not belong to the certificate", "requested with"),
        (_encrypted, "is encrypted", "set node.tls.key_password_file"),
        (_wrong_password, "cannot be opened", "the password its own"),
        (_needless_password, "is not encrypted", "drop node.tls.key_password_file"),
        (_absent, "absent.key: No such file", "may the user"),
        (_absent_authority, "node.tls.ca: ", "does the file exist"),
        (_own_expired, "expired on", "renewed"),
        (_own_early, "valid from", "clock"),
        (_short, "too short", "2048"),
    ],
)
def test_each_fault_of_our_own_files_is_one_line_with_a_cure(
    authority: Authority,
    ours: Issued,
    tmp_path: Path,
    make: Callable[[Authority, Issued, Path], dict[str, Any]],
    text: str,
    cure: str,
) -> None:
    settings = TlsSettings(**make(authority, ours, tmp_path))
    with pytest.raises(TlsError, match=text) as caught:
        Tls(settings, SystemClock())
    assert cure in caught.value.hint
    assert "\n" not in str(caught.value)
    (check,) = check_certificates(NodeSettings(tls=settings))
    assert not check.is_good


def test_an_unreadable_key_is_named(authority: Authority, ours: Issued, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    with pytest.raises(TlsError, match=r"node\.tls\.key: .*Is a directory"):
        Tls(TlsSettings(**_tls(authority, replace(ours, key=folder))), SystemClock())


def test_a_password_is_read_from_its_file(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    issued = authority.issue("locked", password="secret")
    settings = _tls(authority, issued, key_password_file=tmp_path / "password")
    assert Tls(TlsSettings(**settings), SystemClock()).certificates()


def test_what_expires_soon_is_said_once_a_day_and_in_check(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock(time.time())
    settings = TlsSettings(**_tls(authority, authority.issue("soon", ends=10 * DAY)))
    tls = Tls(settings, clock)
    with caplog.at_level(logging.WARNING, "cxr_node"):
        for _ in range(3):
            tls.step()
        assert caplog.text.count("tls.expiring") == 1
        clock.advance(86_401)
        tls.step()
    assert caplog.text.count("tls.expiring") == 2
    rows = list(check_certificates(NodeSettings(tls=settings)))
    assert [row.is_good for row in rows] == [True, True]
    assert "expires on" in rows[0].text
    assert "replace it" in rows[0].hint
    assert not rows[1].hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node: {tls: {enabled: true}}", "needs a certificate and a key"),
        ("node: {tls: {certificate: a}}", "certificate and key go together"),
        ("node: {tls: {enabled: true, certificate: a, key: b}}", "set it"),
        ("peers: {p: {ae_title: P, host: h, port: 1, tls: true}}", "set node.tls.ca"),
    ],
)
def test_half_a_configuration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigInvalid, match=message):
        load_settings(tmp_path / "config.yaml", {})


# our own calls


@contextmanager
def _secure_pacs(context: ssl.SSLContext | None) -> Iterator[int]:
    ae = AE("PACS")
    ae.add_supported_context(VERIFICATION)
    port = free_port()
    handlers = [(evt.EVT_C_ECHO, lambda _event: 0x0000)]
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=context
    )
    assert server is not None
    yield port
    server.shutdown()


def _server(authority: Authority, issued: Issued) -> ssl.SSLContext:
    context = strict_context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _scu(authority: Authority, issued: Issued) -> Scu:
    tls = Tls(TlsSettings(**_tls(authority, issued)), SystemClock())
    return Scu(NodeSettings(acse_timeout_s=2), tls)


def _peer(port: int, *rules: str) -> PeerSettings:
    where = {"host": "127.0.0.1", "port": port}
    return PeerSettings(ae_title="PACS", tls=True, certificate=rules, **where)


def test_a_peer_is_called_over_tls(authority: Authority, ours: Issued, theirs: Issued) -> None:
    with _secure_pacs(_server(authority, theirs)) as port:
        assert _scu(authority, ours).echo(_peer(port)) > 0


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (wrong_ca, "unable to get local issuer certificate"),
        (expired, "certificate has expired"),
        (self_signed, "self-signed certificate"),
        (lambda authority, _path: authority.issue("EVIL"), "not the peer's"),
    ],
    ids=["wrong authority", "expired", "self-signed", "another's"],
)
def test_nothing_is_said_to_a_peer_that_is_not_the_one(
    authority: Authority,
    ours: Issued,
    tmp_path: Path,
    make: Callable[[Authority, Path], Issued],
    reason: str,
) -> None:
    context = _server(authority, make(authority, tmp_path))
    with _secure_pacs(context) as port, pytest.raises(PeerError, match=reason) as caught:
        _scu(authority, ours).echo(_peer(port))
    assert caught.value.hint


def test_a_peer_that_is_pinned_must_show_that_very_certificate(
    authority: Authority, ours: Issued, theirs: Issued
) -> None:
    with _secure_pacs(_server(authority, theirs)) as port:
        assert _scu(authority, ours).echo(_peer(port, f"sha256:{theirs.fingerprint}"))
        with pytest.raises(PeerError, match="not the peer's"):
            _scu(authority, ours).echo(_peer(port, f"sha256:{ours.fingerprint}"))


def test_a_peer_without_tls_is_named_so(authority: Authority, ours: Issued) -> None:
    with _secure_pacs(None) as port, pytest.raises(PeerError, match="TLS: ") as caught:
        _scu(authority, ours).echo(_peer(port))
    assert caught.value.hint


def test_a_peer_that_stalls_in_the_handshake_is_given_up_at_the_deadline(
    authority: Authority, ours: Issued
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(PeerError, match="not done in time"):
            _scu(authority, ours).echo(_peer(silent.getsockname()[1]))
        assert time.monotonic() - started < 4


def test_drafts_are_delivered_over_tls(
    start_node: Start, authority: Authority, ours: Issued, theirs: Issued, tmp_path: Path
) -> None:
    from tests.node.conftest import send, wait_for_state

    secure = Pacs(free_port())
    secure.context = _server(authority, theirs)
    secure.start()
    settings = settings_for(
        tmp_path / "r", secure.port, tls={**_tls(authority, ours), "enabled": False}
    )
    peer = settings.peers["pacs"].model_copy(update={"tls": True})
    node = start_node(Settings.model_validate({**settings.model_dump(), "peers": {"pacs": peer}}))
    ds = phantom("over tls")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert [made.Modality for made in secure.received] == ["SR"]
    secure.stop()
