"""TLS with peers that a hospital has: DCMTK's tools and Orthanc, both ways, and who is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.peers import (
    NodeProcess,
    Orthanc,
    dcmtk,
    free_port,
    listens,
    node_settings,
    peer,
    tool,
    wait_for,
)
from tests.films import Film, dicom, needs_films, phantom
from tests.pki import Authority, Issued, expired, self_signed, wrong_ca

pytestmark = pytest.mark.slow
Start = Callable[..., NodeProcess]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Mapping[str, Issued]:
    """Return a certificate for each title; RSA, as hospitals have them."""
    titles = ("CXRDRAFT", "MODALITY", "HOSPACS")
    return {title: authority.issue(title, rsa_bits=2048) for title in titles}


def _secure_settings(
    folder: Path, authority: Authority, ours: Issued, peers: Mapping[str, Any]
) -> Any:
    settings = node_settings(folder, free_port(), peers)
    settings["node"]["tls"] = {
        "enabled": True,
        "certificate": str(ours.certificate),
        "key": str(ours.key),
        "ca": str(authority.path),
    }
    return settings


def _secure_peer(ae_title: str, port: int, *send: str) -> dict[str, Any]:
    return {**peer(ae_title, port, send), "tls": True}


def _tls(authority: Authority, issued: Issued) -> list[str | Path]:
    return ["+tls", issued.key, issued.certificate, "+cf", authority.path]


def _call(node: NodeProcess, calling: str = "MODALITY") -> list[str]:
    return ["-to", "5", "-aet", calling, "-aec", "CXRDRAFT", "127.0.0.1", str(node.port)]


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, issued: Mapping[str, Issued]
) -> Iterator[NodeProcess]:
    """One node for all that only knock at its door."""
    folder = tmp_path_factory.mktemp("node")
    peers = {"modality": _secure_peer("MODALITY", 1)}
    running = NodeProcess(folder, _secure_settings(folder, authority, issued["CXRDRAFT"], peers))
    running.start()
    yield running
    running.stop()
    print(running.log())


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_dcmtk_is_let_in_under_each_bcp_195_profile(
    node: NodeProcess, authority: Authority, issued: Mapping[str, Issued], profile: str
) -> None:
    secured = [*_tls(authority, issued["MODALITY"]), profile]
    answered = tool("echoscu", *secured, *_call(node))
    assert answered.returncode == 0, answered.stderr


def test_storescu_stores_over_tls(
    node: NodeProcess, authority: Authority, issued: Mapping[str, Issued], tmp_path: Path
) -> None:
    path = tmp_path / "film.dcm"
    phantom("storescu", size=900).save_as(path, enforce_file_format=True)
    sent = tool("storescu", *_tls(authority, issued["MODALITY"]), *_call(node), path)
    assert sent.returncode == 0, sent.stderr
    assert len(list((node.root / "images").rglob("*.dcm"))) == 1


def _another(authority: Authority, _folder: Path) -> Issued:
    return authority.issue("CT1")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (partial(wrong_ca, title="MODALITY"), "unable to get local issuer certificate"),
        (partial(expired, title="MODALITY"), "certificate has expired"),
        (partial(self_signed, title="MODALITY"), "self-signed certificate"),
        (_another, "the certificate is not that of peer modality"),
    ],
    ids=["wrong authority", "expired", "self-signed", "of another title"],
)
def test_dcmtk_is_refused_and_status_says_why(
    node: NodeProcess,
    authority: Authority,
    tmp_path: Path,
    make: Callable[[Authority, Path], Issued],
    reason: str,
) -> None:
    refused = tool("echoscu", *_tls(authority, make(authority, tmp_path)), *_call(node))
    assert refused.returncode != 0
    newest = wait_for(lambda: _newest(node, reason), 10, reason)
    assert newest["hint"]


def _newest(node: NodeProcess, reason: str) -> dict[str, Any] | None:
    rows = [row for row in node.journal.rejections() if reason in row["reason"]]
    return rows[0] if rows else None


def test_dcmtk_without_a_certificate_and_without_tls_is_refused(
    node: NodeProcess, authority: Authority
) -> None:
    assert tool("echoscu", "+tla", "+cf", authority.path, *_call(node)).returncode != 0
    assert wait_for(lambda: _newest(node, "shows no certificate"), 10, "its reason")
    assert tool("echoscu", *_call(node)).returncode != 0
    assert wait_for(lambda: _newest(node, "does not speak TLS"), 10, "its reason")


@pytest.mark.parametrize("profile", ["+pn", "+pa"])
def test_the_retired_profiles_are_refused(
    node: NodeProcess, authority: Authority, issued: Mapping[str, Issued], profile: str
) -> None:
    secured = [*_tls(authority, issued["MODALITY"]), profile]
    assert tool("echoscu", *secured, *_call(node)).returncode != 0


@contextmanager
def _storescp(authority: Authority, issued: Issued, folder: Path, *options: str) -> Iterator[int]:
    """Run storescp with TLS on a free port."""
    folder.mkdir()
    port = free_port()
    command = [dcmtk("storescp"), *map(str, _tls(authority, issued)), *options]
    command += ["-od", str(folder), "-aet", "ARCHIVE", str(port)]
    with subprocess.Popen(command) as process:
        wait_for(lambda: listens(port), 10, "storescp to listen")
        yield port
        process.terminate()


def test_storescp_is_called_over_tls_and_one_with_a_wrong_certificate_is_not(
    tmp_path: Path, authority: Authority, issued: Mapping[str, Issued]
) -> None:
    good, bad = authority.issue("ARCHIVE", rsa_bits=2048), wrong_ca(authority, tmp_path, "MODALITY")
    with (
        _storescp(authority, good, tmp_path / "good") as port,
        _storescp(authority, bad, tmp_path / "bad") as other,
    ):
        peers = {"good": _secure_peer("ARCHIVE", port), "bad": _secure_peer("ARCHIVE", other)}
        settings = _secure_settings(tmp_path, authority, issued["CXRDRAFT"], peers)
        node = NodeProcess(tmp_path / "node", settings)
        assert "answered in" in node.call("echo", "good").stdout
        refused = node.call("echo", "bad")
        assert refused.returncode == 1
        assert "unable to get local issuer certificate" in refused.stdout


@needs_films
def test_orthanc_sends_and_receives_over_tls(
    tmp_path: Path,
    start_node: Start,
    start_orthanc: Callable[..., Orthanc],
    authority: Authority,
    issued: Mapping[str, Issued],
    good_films: list[Film],
) -> None:
    settings = _secure_settings(tmp_path, authority, issued["CXRDRAFT"], {})
    orthanc = start_orthanc(settings["node"]["port"], tls=(issued["HOSPACS"], authority.path))
    settings["peers"] = {"pacs": _secure_peer("HOSPACS", orthanc.port, "report")}
    node = start_node(settings)
    assert "answered in" in node.call("echo", "pacs").stdout
    tried = json.loads(node.call("peers", "test", "pacs", "--json").stdout)
    rows = {row["name"]: row["text"] for row in tried if row["is_good"]}
    assert "TLSv1.3" in rows["tls"]
    assert "HOSPACS" in rows["peer certificate"]
    path = tmp_path / "film.dcm"
    dicom(good_films[0]).save_as(path, enforce_file_format=True)
    room = authority.issue("CRROOM1", rsa_bits=2048)
    call = ["-aet", "CRROOM1", "-aec", orthanc.aet, "127.0.0.1", str(orthanc.port)]
    sent = tool("storescu", *_tls(authority, room), *call, path)
    assert sent.returncode == 0, sent.stderr
    found = wait_for(lambda: orthanc.find("Series", Modality="SR"), 90, "the draft in Orthanc")
    assert len(found) == 1
    wait_for(lambda: list(node.states().values()) == ["DONE"], 10, "the study to be done")
