"""Metrics, health and readiness of a running node, over HTTP, while studies pass."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from node.app import Node
from node.gauges import GAUGES
from node.meters import METERS
from node.monitor import MonitorPortTaken
from tests.fakes import FakeEngine
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
from tests.node.planted import films, traces

Start = Callable[..., Node]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def served(**more: Any) -> dict[str, Any]:
    return {"metrics": {"enabled": True, "port": free_port()}, **more}


def get(node: Node, path: str) -> httpx.Response:
    port = node.settings.node.metrics.port
    return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=10)


def samples(node: Node) -> Samples:
    """Return every sample of a scrape by its name and labels."""
    text = get(node, "/metrics").text
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def test_a_scrape_tells_what_passed(start_node: Start, pacs: Pacs) -> None:
    node = start_node(**served())
    good, skipped = phantom("good"), phantom("hand", BodyPartExamined="HAND")
    send(node, good, good)
    send(node, skipped)
    assert associate(node, calling="STRANGER").is_rejected
    assert associate(node, called="NOT-US").is_rejected
    wait_for_state(node, good, "DONE")
    wait_for_state(node, skipped, "SKIPPED")
    wait_for(lambda: value(samples(node), "cxr_studies", state="DONE") == 1)
    found = samples(node)
    expected = {
        ("cxr_associations_accepted_total", ("peer", "pacs")): 2,
        ("cxr_associations_refused_total", ("reason", "calling_aet")): 1,
        ("cxr_associations_refused_total", ("reason", "called_aet")): 1,
        ("cxr_drafting_outcomes_total", ("outcome", "drafted")): 1,
        ("cxr_drafting_outcomes_total", ("outcome", "skipped")): 1,
        ("cxr_studies", ("state", "SKIPPED")): 1,
        ("cxr_destination_up", ("destination", "pacs")): 1,
        ("cxr_draft_step_seconds_count", ("step", "decode")): 1,
        ("cxr_draft_step_seconds_count", ("step", "generate")): 1,
        ("cxr_draft_step_seconds_count", ("step", "write")): 1,
        ("cxr_alert_active", ("alert", "drift")): 0,
    }
    assert {place: value(found, place[0], **dict([place[1]])) for place in expected} == expected
    assert value(found, "cxr_instances_total", peer="pacs", outcome="new") == 2
    assert value(found, "cxr_instances_total", peer="pacs", outcome="same") == 1
    assert value(found, "cxr_deliveries", destination="pacs", status="sent") == 1
    assert value(found, "cxr_delivery_attempts_total", destination="pacs", status="sent") == 1
    assert value(found, "cxr_received_bytes_total", peer="pacs") > 1e4
    assert value(found, "cxr_ledger_transaction_seconds_count", kind="write") > 5
    assert value(found, "process_resident_memory_bytes") > 1e7


@pytest.mark.filterwarnings("ignore")
def test_no_planted_value_and_no_uid_is_in_a_scrape(start_node: Start, pacs: Pacs) -> None:
    pacs.status = 0xC123
    node = start_node(**served())
    good = next(films())
    send(node, *films())
    associate(node, calling=str(good.PatientID)[:16])
    wait_for_state(node, good, "FAILED")
    for path in ("/metrics", "/health", "/ready"):
        answer = get(node, path)
        assert not traces(answer.content), path
        assert not re.search(rb"\d+\.\d+\.\d+\.\d+\.\d", answer.content.replace(b"127.0.0.1", b""))
        assert not traces(str(answer.headers).encode())


def test_a_destination_that_takes_nothing_is_down_until_it_does(
    start_node: Start, pacs: Pacs
) -> None:
    pacs.status = 0xA700
    node = start_node(**served())
    ds = phantom("waits")
    send(node, ds)
    up = "cxr_destination_up"
    wait_for(lambda: (up, frozenset({("destination", "pacs")})) in samples(node), 20)
    wait_for(lambda: value(samples(node), up, destination="pacs") == 0, 20)
    pacs.status = 0x0000
    wait_for_state(node, ds, "DONE")
    wait_for(lambda: value(samples(node), up, destination="pacs") == 1, 20)


def test_ready_says_what_is_missing(start_node: Start) -> None:
    node = start_node(**served())
    answer = get(node, "/ready")
    assert answer.status_code == 503
    reason = "the model is not warmed up yet"
    assert answer.json() == {"ready": False, "missing": [{"part": "model", "reason": reason}]}
    node.warm_up()
    ready = wait_for(lambda: (again := get(node, "/ready")).status_code == 200 and again)
    assert ready.json() == {"ready": True, "missing": []}
    assert get(node, "/health").json() == {"alive": True, "dead": []}


def test_a_node_that_loads_its_model_is_healthy_and_not_ready(tmp_path: Path) -> None:
    node = Node(settings_for(tmp_path / "root", 1, **served()), FakeEngine())
    node.open_monitor()
    assert get(node, "/health").status_code == 200
    missing = {one["part"] for one in get(node, "/ready").json()["missing"]}
    assert missing == {"model", "scp"}
    assert node.observation.missing()["scp"] == "the DICOM port is not open"
    node.stop()


def test_a_thread_that_died_is_named(start_node: Start) -> None:
    node = start_node(**served())
    node._dispatch.stop(10)
    answer = get(node, "/health")
    assert answer.status_code == 503
    assert "closer" in answer.json()["dead"]


def test_metrics_go_on_when_the_configuration_changes(start_node: Start, pacs: Pacs) -> None:
    old = start_node(**served())
    send(old, first := phantom("before"))
    wait_for_state(old, first, "DONE")
    moved = old.settings.node.model_copy(update={"log_level": "debug"})
    new = old.renewed(old.settings.model_copy(update={"node": moved}))
    new.warm_up()
    old.pause()
    new.start(resumes=True)
    old.make_way()
    send(new, second := phantom("after"))
    wait_for_state(new, second, "DONE")
    found = samples(new)
    assert value(found, "cxr_drafting_outcomes_total", outcome="drafted") == 2
    assert value(found, "cxr_ready") == 1
    again = samples(new)
    name = "cxr_ledger_transaction_seconds_count"
    reads = value(again, name, kind="read") - value(found, name, kind="read")
    assert reads < 400, "each transaction is measured once"
    off = new.settings.node.metrics.model_copy(update={"enabled": False})
    quiet = new.renewed(
        new.settings.model_copy(update={"node": moved.model_copy(update={"metrics": off})})
    )
    new.pause()
    quiet.start(resumes=True)
    with pytest.raises(httpx.ConnectError):
        get(new, "/health")
    quiet.pause()


def test_a_full_disk_and_a_locked_ledger_are_not_ready(start_node: Start, tmp_path: Path) -> None:
    storage = {"root": tmp_path / "root", "free_min_gb": 0, "free_min_percent": 99.99}
    node = start_node(**served(storage=storage))
    node.warm_up()
    assert "below the watermark" in node.observation.missing()["disk"]
    assert set(node.observation.missing()) == {"disk"}


def test_the_port_of_another_is_refused_in_one_line(tmp_path: Path, pacs: Pacs) -> None:
    metrics = {"metrics": {"enabled": True, "port": pacs.port}}
    node = Node(settings_for(tmp_path / "root", pacs.port, **metrics), FakeEngine())
    with pytest.raises(MonitorPortTaken, match="cannot listen"):
        node.open_monitor()
    node.stop()


def test_without_metrics_nothing_listens(start_node: Start) -> None:
    node = start_node(metrics={"enabled": False, "port": free_port()})
    with pytest.raises(httpx.ConnectError):
        get(node, "/health")


def test_names_follow_the_conventions_of_prometheus(start_node: Start) -> None:
    for one in METERS:
        assert one.name.startswith("cxr_")
        assert one.buckets or one.name.endswith("_total")
        assert one.text.endswith(".")
    assert len({one.name for one in (*METERS, *GAUGES)}) == len(METERS) + len(GAUGES)
    if shutil.which("promtool"):
        node = start_node(**served())
        send(node, ds := phantom("lint"))
        wait_for_state(node, ds, "DONE")
        text = get(node, "/metrics").content
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout


def test_what_the_node_knows_of_itself_is_json(start_node: Start) -> None:
    node = start_node()
    assert json.loads(json.dumps(node.observation.facts().as_json()))["queue_length"] == 0
