"""`cxr-node metrics`, `health` and the node's part of `status --json`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from node.app import Node
from node.cli import main
from tests.films import phantom
from tests.node.conftest import Pacs, free_port, send, wait_for, wait_for_state

Start = Callable[..., Node]


def config_of(node: Node, folder: Path) -> Path:
    served = node.settings.node
    path = folder / "config.yaml"
    metrics = {"enabled": served.metrics.enabled, "port": served.metrics.port}
    storage = {"root": str(served.storage.root)}
    path.write_text(yaml.safe_dump({"node": {"storage": storage, "metrics": metrics}}))
    return path


def test_health_asks_the_running_node(
    start_node: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = start_node(metrics={"enabled": True, "port": free_port()})
    config = str(config_of(node, tmp_path))
    assert main(["health", "-c", config]) == 1
    assert "not ready: model: the model is not warmed up yet" in capsys.readouterr().out
    node.warm_up()
    wait_for(lambda: main(["health", "-c", config]) == 0)
    capsys.readouterr()
    assert main(["health", "-c", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ready": True, "missing": []}
    node.stop()
    assert main(["health", "-c", config]) == 1
    assert "is the node running" in capsys.readouterr().err


def test_health_without_a_listener_says_what_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node: {}\n")
    assert main(["health", "-c", str(path)]) == 1
    assert "node.metrics.enabled: true" in capsys.readouterr().err


def test_metrics_are_printed_as_text_and_as_json(
    start_node: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = start_node(metrics={"enabled": True, "port": free_port()})
    config = str(config_of(node, tmp_path))
    assert main(["metrics", "-c", config]) == 0
    assert re.search(r"^cxr_queue_length 0\.0$", capsys.readouterr().out, re.MULTILINE)
    assert main(["metrics", "-c", config, "--json"]) == 0
    found = {one["name"] for one in json.loads(capsys.readouterr().out)}
    assert {"cxr_queue_length", "cxr_build_info", "cxr_ready"} <= found


def test_status_tells_how_the_node_stands_whether_it_runs_or_not(
    start_node: Start, pacs: Pacs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, ds = start_node(), phantom("stands")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    config = str(config_of(node, tmp_path))
    for _ in range(2):
        assert main(["status", "-c", config, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["node"]
        assert found["studies"]["DONE"] == 1
        assert (found["queue_length"], found["queue_age_s"]) == (0, 0)
        assert found["destinations"]["pacs"]["is_up"]
        assert found["drift"] == "not measured yet: too few films"
        assert {one["alert"] for one in found["alerts"]} <= {"disk_free"}
        node.stop()
