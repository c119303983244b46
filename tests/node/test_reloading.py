"""A node with new settings takes over from the old one: who is inside stays inside."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.dataset import Dataset

from node.app import Node
from node.config_file import load_settings
from node.configuration_state import read_state
from node.reloading import Reloader, Source
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import Pacs, associate, free_port, send, wait_for_state
from tests.node.web_client import NAME, TOKEN, Client
from tests.postgres import Postgres


class House:
    """A node, its configuration file, and what follows the file."""

    def __init__(self, folder: Path, pacs: Pacs, engine: FakeEngine, **node: Any) -> None:
        self.path = folder / "config.yaml"
        tokens = folder / "tokens"
        tokens.write_text(f"{NAME} {TOKEN}\n")
        tokens.chmod(0o600)
        peer = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port, "send": ["report"]}
        self.values: dict[str, Any] = {
            "node": {
                "port": free_port(),
                "bind": "127.0.0.1",
                "storage": {"root": "root", "free_min_gb": 0, "free_min_percent": 0},
                "study": {"quiet_s": 0.5, "hard_cap_s": 30, "successor_every_s": 0},
                "work": {"sweep_s": 0.05},
                "web": {"enabled": True, "port": free_port(), "token_file": "tokens"},
            },
            "peers": {"pacs": peer},
            "outputs": {"outbox": {"retry_initial_s": 0.1, "retry_max_s": 0.4}},
        }
        self.values["node"] |= node
        self._write()
        runs = Node(load_settings(self.path, {}), engine)
        runs.start()
        self.reloader = Reloader(runs, Source(self.path, {}))
        self.root = folder / "root"

    @property
    def node(self) -> Node:
        return self.reloader.node

    def _write(self) -> None:
        self.path.write_text(yaml.safe_dump(self.values))

    def change(self, section: str, **values: Any) -> None:
        """Write other values, and let the node read them."""
        self.values[section] |= values
        self._write()
        self.reloader.reload()


@pytest.fixture
def house(tmp_path: Path, pacs: Pacs, engine: FakeEngine) -> Iterator[House]:
    kept = House(tmp_path, pacs, engine)
    yield kept
    kept.node.stop()


def _drafted(house: House, name: str) -> Dataset:
    ds = phantom(name)
    send(house.node, ds)
    wait_for_state(house.node, ds, "DONE")
    return ds


def test_an_open_association_goes_on_and_keeps_its_study_open(house: House, pacs: Pacs) -> None:
    study = phantom("long").StudyInstanceUID
    first, second = (
        phantom(f"long {part}", StudyInstanceUID=study, PatientID="1") for part in (1, 2)
    )
    assoc = associate(house.node)
    assert assoc.send_c_store(first).Status == 0x0000
    before = house.node
    house.change("node", max_pdu=70_000)
    assert house.node is not before
    time.sleep(1.5)  # longer than quiet_s
    (row,) = house.node.journal.study(study)
    assert row["state"] == "RECEIVING"
    assert assoc.send_c_store(second).Status == 0x0000
    assoc.release()
    wait_for_state(house.node, first, "DONE")
    (row,) = house.node.journal.study(study)
    assert row["num_images"] == 2
    assert len(pacs.received) == 1


def test_a_draft_under_way_is_finished_once(house: House, pacs: Pacs, engine: FakeEngine) -> None:
    ds = phantom("under way")
    engine.may_answer.clear()
    send(house.node, ds)
    wait_for_state(house.node, ds, "RUNNING")
    engine_answers = _later(0.5, engine.may_answer.set)
    house.change("outputs", report={"series_description": "AI DRAFT REPORT - CHANGED"})
    engine_answers.join()
    wait_for_state(house.node, ds, "DONE")
    assert (engine.num_reports, len(pacs.received)) == (1, 1)
    (row,) = house.node.journal.study(ds.StudyInstanceUID)
    assert row["attempts"] == 1
    assert _drafted(house, "after").StudyInstanceUID
    assert pacs.received[-1].SeriesDescription == "AI DRAFT REPORT - CHANGED"


def _later(seconds: float, call: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


def test_a_peer_that_is_struck_off_gets_no_further_association(house: House) -> None:
    _drafted(house, "before")
    values = house.values["peers"].pop("pacs")
    house.change("peers", other=values | {"ae_title": "OTHER"})
    assert associate(house.node).is_rejected
    assoc = associate(house.node, calling="OTHER")
    assert assoc.is_established
    assoc.release()


def test_people_stay_logged_in_unless_the_pages_change(house: House) -> None:
    client = Client(house.values["node"]["web"]["port"])
    client.log_in()
    house.change("node", max_pdu=70_000)
    assert client.get("/").status == 200
    house.change("node", web=house.values["node"]["web"] | {"session_s": 60})
    assert client.get("/").status == 303


def test_metrics_go_on_and_can_be_switched(house: House) -> None:
    port = free_port()
    metrics = {"enabled": True, "port": port}

    def scraped() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    for number in range(3):
        house.change("node", metrics=metrics, max_pdu=70_000 + number)
        _drafted(house, f"measured {number}")
        assert "cxr_" in scraped()
    house.change("node", metrics={"enabled": False})
    with pytest.raises(urllib.error.URLError):
        scraped()


def test_a_file_is_taken_once_it_has_been_the_same_for_two_looks(house: House) -> None:
    looks = house.reloader.look
    looks()
    before = house.node
    house.values["node"]["max_pdu"] = 70_000
    house._write()
    looks()
    assert house.node is before
    looks()
    assert house.node.settings.node.max_pdu == 70_000
    again = house.node
    looks()
    looks()
    assert house.node is again
    house.values["node"] |= {"max_pdu": 80_000, "reload": "signal"}
    house._write()
    looks()
    looks()
    assert house.node.settings.node.reload == "signal"
    house.values["node"]["max_pdu"] = 90_000
    house._write()
    looks()
    looks()
    assert house.node.settings.node.max_pdu == 80_000
    house.reloader.reload()
    assert house.node.settings.node.max_pdu == 90_000


def test_half_a_file_and_no_file_change_nothing(house: House) -> None:
    before = house.node
    house.path.write_text("node: {port: 1")
    house.reloader.reload()
    assert house.node is before
    house.path.unlink()
    house.reloader.look()
    house.reloader.look()
    assert house.node is before
    house.reloader.reload()
    state = house.node.configuration_state()
    assert "No such file" in state.problems[0]
    assert read_state(house.root) == state
    assert _drafted(house, "all the same").StudyInstanceUID
    house._write()
    house.reloader.reload()
    assert house.node.configuration_state().problems == ()


def test_the_audit_trail_names_what_changed_and_no_start(house: House) -> None:
    house.change("node", max_pdu=70_000)
    house.node.stop()
    lines = [json.loads(line) for line in (house.root / "audit.jsonl").read_text().splitlines()]
    texts = [line["xml"] for line in lines]
    assert sum("Application Start" in text for text in texts) == 1
    assert sum("Application Stop" in text for text in texts) == 1
    told = base64.b64encode(b"settings changed: node.max_pdu").decode()
    assert sum(told in text for text in texts) == 1


def test_a_node_on_a_shared_ledger_follows_its_file_as_well(
    tmp_path: Path, pacs: Pacs, engine: FakeEngine, postgres: Postgres
) -> None:
    pytest.importorskip("procrastinate")
    work = {"sweep_s": 0.05, "dispatch": "procrastinate"}
    house = House(tmp_path, pacs, engine, ledger={"url": postgres.database()}, work=work)
    try:
        _drafted(house, "before")
        for number in range(2):
            house.change("node", max_pdu=70_000 + number)
            assert house.node.settings.node.max_pdu == 70_000 + number
            _drafted(house, f"after {number}")
        assert len(pacs.received) == 3
    finally:
        house.node.stop()


def test_a_file_without_changes_keeps_the_node(house: House) -> None:
    before = house.node
    house.reloader.reload()
    assert house.node is before
