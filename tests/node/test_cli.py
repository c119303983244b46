"""`cxr-node` from the shell: what it prints and how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.backends.select import BACKENDS
from node.app import Node
from node.cli import main
from tests.films import phantom
from tests.node.conftest import Pacs, associate, free_port, send, wait_for_state

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
    assert set(rows) == {"configuration", "port", "disk", "bundle", "peer pacs"} | backends
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


def test_replay_makes_a_new_draft(
    start_node: Start, config: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str]
) -> None:
    node, ds = start_node(), phantom("replay")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert _run(config, "replay", ds.StudyInstanceUID) == 0
    assert "generation 2" in capsys.readouterr().out
    wait_for_state(node, ds, "DONE", "DONE")
    assert len({made.SOPInstanceUID for made in pacs.received}) == 2
