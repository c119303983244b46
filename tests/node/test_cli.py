"""`cxr-node` from the shell: what it prints and how it exits."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import yaml

from engine.backends.select import BACKENDS
from engine.banner import is_burned
from node.app import Node
from node.cli import main
from node.schema import access
from node.transactions import reading
from tests.films import phantom
from tests.node.conftest import Pacs, associate, free_port, send, wait_for, wait_for_state

Start = Callable[..., Node]


@pytest.fixture
def config(tmp_path: Path, pacs: Pacs) -> Path:
    path = tmp_path / "config.yaml"
    root = {"root": str(tmp_path / "root"), "free_min_gb": 0, "free_min_percent": 0}
    peer = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port, "send": ["report"]}
    node = {"port": free_port(), "bind": "127.0.0.1", "storage": root}
    path.write_text(yaml.safe_dump({"node": node, "peers": {"pacs": peer}}))
    return path


def _run(config: Path, *arguments: str) -> int:
    return main([arguments[0], "-c", str(config), *arguments[1:]])


def _json(config: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    _run(config, *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def test_check_lists_every_error_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node:\n  port: 0\n  ae_title: ''\nfoo: 1\n")
    assert _run(path, "check") == 1
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in errors] == ["node.port", "node.ae_title", "foo"]


def test_check_tries_port_disk_bundle_and_peers(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {row["name"]: row for row in _json(config, capsys, "check")}
    backends = {f"backend {name}" for name in BACKENDS}
    tried = {"configuration", "port", "disk", "ledger", "bundle", "peer pacs"}
    assert set(rows) == tried | backends
    assert rows["backend onnx_cpu"]["text"] == "can run here"
    assert rows["port"]["is_good"]
    assert rows["peer pacs"]["is_good"]


def test_check_beside_a_running_node_is_no_fault(
    start_node: Start, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start_node()
    rows = {row["name"]: row for row in _json(config, capsys, "check")}
    assert rows["port"]["is_good"]
    assert "running" in rows["port"]["text"]


def test_check_of_a_broken_file_speaks_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node:\n  prot: 1\n")
    (problem,) = _json(path, capsys, "check")
    assert (problem["path"], problem["line"]) == ("node.prot", 2)


def test_check_says_what_is_wrong_and_what_to_do(
    config: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs.stop()
    monkeypatch.setenv("CXR_ENGINE__BUNDLE", "/no/bundle")
    monkeypatch.setenv("CXR_NODE__STORAGE__FREE_MIN_GB", "1e9")
    rows = {row["name"]: row for row in _json(config, capsys, "check")}
    for name in ("disk", "bundle", "peer pacs"):
        assert not rows[name]["is_good"]
        assert rows[name]["hint"]
    assert _run(config, "check") == 1
    assert "cannot connect" in capsys.readouterr().out


def test_a_node_without_a_bundle_does_not_start(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_ENGINE__BUNDLE", "/no/bundle")
    assert _run(config, "run") == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")


def test_echo_verifies_a_peer(config: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(config, "echo", "pacs") == 0
    assert "answered in" in capsys.readouterr().out
    pacs.stop()
    assert _run(config, "echo", "pacs") == 1
    assert _run(config, "echo", "nobody") == 1
    assert "known peers: pacs" in capsys.readouterr().err


def _tried(
    config: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> dict[str, dict[str, Any]]:
    """Try the peer out; return the rows by name."""
    main(["peers", "test", "pacs", "-c", str(config), *more, "--json"])
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_peer_is_tried_out_step_by_step(
    config: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _tried(config, capsys)
    assert list(rows)[:2] == ["network", "C-ECHO"]
    assert rows["context Enhanced SR Storage"]["is_good"]
    assert "only in place of" in rows["context Basic Text SR Storage"]["text"]
    assert not pacs.received
    assert _tried(config, capsys, "--store")["C-STORE"]["is_good"]
    (left,) = pacs.received
    assert (left.PatientID, left.SyntheticData) == ("PHANTOM-TEST", "YES")
    pixels = np.frombuffer(left.PixelData, np.uint16).reshape(left.Rows, left.Columns)
    assert is_burned((pixels // 16).astype(np.uint8))
    pacs.status = 0xA700
    refused = _tried(config, capsys, "--store")["C-STORE"]
    assert not refused["is_good"]
    assert "0xA700" in refused["text"]


def test_a_trial_ends_where_the_peer_does(
    config: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str]
) -> None:
    pacs.stop()
    (row,) = _tried(config, capsys).values()
    assert (row["name"], row["is_good"]) == ("network", False)
    assert "firewall" in row["hint"]
    assert main(["peers", "test", "nobody", "-c", str(config)]) == 1


def test_a_peer_that_takes_nothing_of_ours_is_told_apart(
    config: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str]
) -> None:
    pacs.stop()
    pacs.classes = []
    pacs.start()
    rows = _tried(config, capsys)
    assert rows["C-ECHO"]["is_good"]
    assert not rows["context Enhanced SR Storage"]["is_good"]
    assert "take it out" in rows["context Enhanced SR Storage"]["hint"]


def test_explain_says_what_would_let_a_caller_in(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--calling", "PACS", "--address", "127.0.0.1")
    assert _run(config, "explain", *asked) == 0
    assert "let in as peer pacs, for echo, store" in capsys.readouterr().out
    for caller, hint in (
        (("--calling", "EVIL", "--address", "127.0.0.1"), "ae_title: EVIL"),
        (("--calling", "PACS", "--address", "10.0.0.9"), "peers.pacs.cidr"),
        ((*asked, "--called", "OTHER"), "check_called_aet"),
    ):
        assert _run(config, "explain", *caller) == 1
        assert hint in capsys.readouterr().out
    assert _run(config, "explain", "--calling", "PACS", "--address", "here") == 1
    assert "no IP address" in capsys.readouterr().err


def test_explain_lists_who_was_turned_away(
    start_node: Start, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    associate(start_node(), calling="EVIL")
    (row,) = _json(config, capsys, "explain")
    assert (row["calling_aet"], "ae_title: EVIL" in row["hint"]) == ("EVIL", True)
    assert _run(config, "explain") == 0
    assert "EVIL" in capsys.readouterr().out


def test_the_list_of_peers_says_when_they_last_sent(
    start_node: Start, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, ds = start_node(), phantom("peers")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert main(["peers", "list", "-c", str(config), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["last_at"] > 0


def test_studies_are_found_by_patient_key_peer_and_state(
    start_node: Start, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, ds = start_node(), phantom("searched")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    key = _json(config, capsys, "status")["studies"][0]["key"]
    for word in (str(ds.PatientID), ds.StudyInstanceUID[:20], key, "pacs"):
        assert len(_json(config, capsys, "status", "--search", word)["studies"]) == 1
    for words in (("--search", "nobody"), ("--search", "%"), ("--state", "failed")):
        assert _json(config, capsys, "status", *words)["studies"] == []


def test_verbs_do_what_a_person_asks_and_note_who_it_was(
    start_node: Start, config: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str]
) -> None:
    node, ds = start_node(), phantom("verbs")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    uid = ds.StudyInstanceUID
    assert _json(config, capsys, "resend", uid, "--to", "pacs")["outcome"].startswith("1 deliver")
    wait_for(lambda: len(pacs.received) == 2)
    for verb in ("retry", "cancel", "stat"):
        wait_for_state(node, ds, "DONE")
        assert _run(config, verb, uid) == 1
        assert "it is DONE" in capsys.readouterr().err or verb == "cancel"
    with reading(node._database) as connection:
        (row,) = connection.execute(sa.select(access.c.kind, access.c.user))
    assert tuple(row) == ("resent", getpass.getuser())


def test_status_before_the_first_run_says_so(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(config, "status") == 1
    assert "no node has run here" in capsys.readouterr().err


def test_status_lists_studies_and_who_was_turned_away(
    start_node: Start, config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    node, ds = start_node(), phantom("status")
    send(node, ds)
    associate(node, calling="EVIL")
    wait_for_state(node, ds, "DONE")
    listed = _json(config, capsys, "status")
    assert listed["studies"][0]["state"] == "DONE"
    assert listed["rejections"][0]["calling_aet"] == "EVIL"
    assert _run(config, "status") == 0
    shown = capsys.readouterr().out
    assert ds.StudyInstanceUID in shown
    assert "calling AE title is not known" in shown
    assert str(ds.PatientName) not in shown


def test_status_of_a_study_shows_its_timeline_in_milliseconds(
    start_node: Start, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, ds = start_node(), phantom("timeline")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    (generation,) = _json(config, capsys, "status", ds.StudyInstanceUID)
    steps = {step["name"]: step["ms"] for step in generation["timeline"]}
    assert 0 == steps["received"] < steps["ready"] < steps["drafted"] < steps["done"]
    assert _run(config, "status", generation["key"]) == 0
    assert "timeline" in capsys.readouterr().out
    assert _run(config, "status", "1.2.3") == 1


def test_redraft_makes_a_new_draft(
    start_node: Start, config: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str]
) -> None:
    node, ds = start_node(), phantom("replay")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert _run(config, "redraft", ds.StudyInstanceUID) == 0
    assert "generation 2" in capsys.readouterr().out
    wait_for_state(node, ds, "DONE", "DONE")
    assert len({made.SOPInstanceUID for made in pacs.received}) == 2
