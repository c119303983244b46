"""Settings change under a stream of images: no association is refused, no image is lost."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.dataset import Dataset
from pynetdicom import AE

from node.configuration_state import read_state
from node.sop_classes import IMAGE_CLASSES, TRANSFER_SYNTAXES
from tests import films
from tests.acceptance.killing import num_whole_files, wait_for_the_end
from tests.acceptance.peers import NodeProcess, free_port, node_settings, peer, tool, wait_for
from tests.node.conftest import Pacs

STAND_IN = [sys.executable, "-m", "tests.acceptance.stand_in_node"]
Start = Callable[..., NodeProcess]


class Stream(threading.Thread):
    """A modality that never repeats itself: an association or an image refused is a failure.

    Parameters
    ----------
    stays
        Whether one association carries all images, or each has its own.
    """

    def __init__(self, node: NodeProcess, name: str, *, stays: bool) -> None:
        super().__init__(name=name, daemon=True)
        self._node = node
        self._stays = stays
        self._ending = threading.Event()
        self.acknowledged: list[Dataset] = []
        self.failures: list[str] = []

    def run(self) -> None:
        assoc = None
        while not self._ending.is_set() and not self.failures:
            if assoc is None:
                assoc = self._associate()
                if not assoc.is_established:
                    self.failures.append("association")
                    return
            ds = films.phantom(f"{self.name} {len(self.acknowledged)}")
            answer = assoc.send_c_store(ds)
            if answer.get("Status") == 0x0000:
                self.acknowledged.append(ds)
            else:
                self.failures.append(f"image: {answer.get('Status')}")
            if not self._stays:
                assoc.release()
                assoc = None
            time.sleep(0.05)
        if assoc is not None:
            assoc.release()

    def _associate(self) -> Any:
        ae = AE("PACS")
        for sop_class_uid in IMAGE_CLASSES:
            ae.add_requested_context(sop_class_uid, list(TRANSFER_SYNTAXES)[:2])
        ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = 10
        return ae.associate("127.0.0.1", self._node.port, ae_title="CXRDRAFT")

    def end(self) -> None:
        self._ending.set()
        self.join(30)


def _rewrite(node: NodeProcess, **node_changes: Any) -> None:
    settings = yaml.safe_load(node.config.read_text())
    settings["node"] |= node_changes
    node.config.write_text(yaml.safe_dump(settings))


def _num_loaded(node: NodeProcess) -> int:
    return node.log().count("config.loaded")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_five_reloads_under_a_stream_of_images_lose_and_refuse_nothing(
    tmp_path: Path, start_node: Start
) -> None:
    pacs = Pacs(free_port())
    pacs.start()
    settings = node_settings(tmp_path, free_port(), {"pacs": peer("PACS", pacs.port, ["report"])})
    node = start_node(settings, command=STAND_IN, CXR_STAND_IN_S="0.01")
    streams = [
        Stream(node, "one association", stays=True),
        Stream(node, "an association each", stays=False),
    ]
    for stream in streams:
        stream.start()
    film = tmp_path / "film.dcm"
    try:
        for number in range(1, 6):
            _rewrite(node, max_pdu=65_536 + number)
            if number % 2:  # the others are found by their file alone
                assert node.process is not None
                node.process.send_signal(signal.SIGHUP)
            extra = films.phantom(f"dcmtk {number}")
            extra.save_as(film, enforce_file_format=True)
            place = ("-aet", "PACS", "-aec", "CXRDRAFT", "127.0.0.1", str(node.port))
            sent = tool("storescu", *place, film)
            assert sent.returncode == 0, sent.stderr
            wait_for(lambda n=number: _num_loaded(node) >= n, 30, "the settings to be loaded")
            time.sleep(0.5)
    finally:
        for stream in streams:
            stream.end()
    num_sent = sum(len(stream.acknowledged) for stream in streams) + 5
    assert [stream.failures for stream in streams] == [[], []], node.log()
    assert _num_loaded(node) == 5
    assert node.log().count("node.started") == 6
    assert num_sent > 50
    wait_for_the_end(node, num_sent, 120)
    assert num_whole_files(node) == num_sent
    drafts = {ds.StudyInstanceUID for ds in pacs.received}
    assert len(pacs.received) == len(drafts) == num_sent
    pacs.stop()
    assert node.stop() == 0


def test_a_bad_file_changes_nothing_and_says_what_is_wrong(
    tmp_path: Path, start_node: Start
) -> None:
    settings = node_settings(tmp_path, free_port(), {"pacs": peer("PACS", free_port())})
    node = start_node(settings, command=STAND_IN)
    good = node.config.read_text()
    process = node.process
    assert process is not None
    node.config.write_text(good + "nonsense: 1\n")
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "config.refused" in node.log(), 10, "the refusal")
    state = read_state(node.root)
    assert state is not None
    assert ["nonsense: there is no such key" in one for one in state.problems] == [True]
    settings["node"]["storage"]["root"] = str(tmp_path / "elsewhere")
    settings["engine"] = {"num_threads": 1}
    node.config.write_text(yaml.safe_dump(settings))
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "needs a restart" in node.log(), 10, "the refusal")
    state = read_state(node.root)
    assert state is not None
    assert state.problems == ("needs a restart: engine.num_threads, node.storage.root",)
    taken = free_port()
    with_port = yaml.safe_load(good)
    with_port["node"]["web"] = {"enabled": True, "port": taken, "token_file": "nobody"}
    node.config.write_text(yaml.safe_dump(with_port))
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "token" in (read_state(node.root) or state).problems[0], 10, "the refusal")
    node.config.write_text(good)
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: (read_state(node.root) or state).problems == (), 10, "the good file")
    assert (
        tool("echoscu", "-aet", "PACS", "-aec", "CXRDRAFT", "127.0.0.1", str(node.port)).returncode
        == 0
    )
    assert node.stop() == 0


def test_a_port_that_is_taken_brings_the_old_settings_back(
    tmp_path: Path, start_node: Start
) -> None:
    settings = node_settings(tmp_path, free_port(), {"pacs": peer("PACS", free_port())})
    node = start_node(settings, command=STAND_IN)
    other = Pacs(free_port())
    other.start()
    before = node.port
    _rewrite(node, port=other.port)
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "config.refused" in node.log(), 20, "the refusal")
    assert "cannot listen on" in node.log()
    place = ("-aet", "PACS", "-aec", "CXRDRAFT", "127.0.0.1")
    assert tool("echoscu", *place, str(before)).returncode == 0
    other.stop()
    free = free_port()
    _rewrite(node, port=free)
    node.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "config.loaded" in node.log(), 20, "the new port")
    assert tool("echoscu", *place, str(free)).returncode == 0
    assert tool("echoscu", *place, str(before)).returncode != 0
    assert node.stop() == 0
