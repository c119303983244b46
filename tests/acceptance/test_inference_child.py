"""`cxr-node run` with the demo bundle: whatever befalls the model's process, the node listens."""

from __future__ import annotations

import array
import fcntl
import os
import signal
import termios
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from engine.pipeline import Engine
from engine.pixels import render
from node.demo import PROMPT
from node.phantom import film_from_drawing
from node.sop_classes import VERIFICATION
from tests import films, wire
from tests.acceptance.peers import NodeProcess, free_port, listens, node_settings, peer, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Start = Callable[..., NodeProcess]


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    """Return a film that the model draws and its guard accepts."""
    engine = Engine.load()
    for seed in range(12):
        film = film_from_drawing(engine.draw(PROMPT, seed=seed), datetime(2026, 1, 1, tzinfo=UTC))
        if engine.inspect(render(film, engine.transform)).accepted:
            return film
    pytest.fail("no drawing passed the guard")


def _settings(folder: Path, **work: Any) -> Any:
    settings = node_settings(folder, free_port(), {"pacs": peer("PACS", 1)})
    settings["node"]["intake"] = {"accept_synthetic": True}
    settings["node"]["work"] |= work
    return settings


def _study(drawn: Dataset, name: str) -> Dataset:
    drawn.SOPInstanceUID = drawn.file_meta.MediaStorageSOPInstanceUID = films.uid("film", name)
    drawn.StudyInstanceUID = films.uid("study", name)
    drawn.SOPClassUID = drawn.file_meta.MediaStorageSOPClassUID = films.CR
    drawn.Modality = "CR"
    return drawn


def _model_of(node: NodeProcess) -> int:
    """Return the process that the model of a node runs in."""
    assert node.process is not None
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == node.process.pid and b"node.inference_child" in words:
            return int(folder.name)
    pytest.fail("the model has no process")


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _is_asked(pid: int) -> bool:
    """Tell whether a request waits in the pipe of a process that does not read it."""
    num_bytes = array.array("i", [0])
    with Path(f"/proc/{pid}/fd/0").open("rb") as pipe:
        fcntl.ioctl(pipe, termios.FIONREAD, num_bytes)
    return num_bytes[0] > 0


def _asked_while_stopped(node: NodeProcess, ds: Dataset) -> int:
    """Stop the model, have a study drafted by it, and return its process once it is asked."""
    model = _model_of(node)
    os.kill(model, signal.SIGSTOP)
    assert wire.send(node.port, ds) == 0
    wait_for(lambda: _is_asked(model), 30, "the model to be asked")
    return model


def _state(node: NodeProcess, ds: Dataset) -> tuple[str, str]:
    (row,) = node.journal.study(ds.StudyInstanceUID)
    return row["state"], row["reason"]


def _echoes(node: NodeProcess) -> bool:
    ae = AE("PACS")
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate("127.0.0.1", node.port, ae_title="CXRDRAFT")
    status = assoc.send_c_echo().get("Status") if assoc.is_established else None
    assoc.release()
    return status == 0


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, "the model stopped (inspect): the system ended it"),
        (signal.SIGSTOP, "the model stopped (inspect): it took too long"),
    ],
)
def test_a_model_that_dies_or_hangs_costs_one_study(
    tmp_path: Path, start_node: Start, drawn: Dataset, number: signal.Signals, reason: str
) -> None:
    node = start_node(_settings(tmp_path, draft_timeout_s=16))
    one = _study(drawn, "one")
    model = _asked_while_stopped(node, one)
    os.kill(model, number)
    assert _echoes(node)
    wait_for(lambda: _state(node, one)[0] == "FAILED", 30, "the study to fail")
    assert _state(node, one)[1].startswith(reason)
    assert not _runs(model)
    assert _echoes(node)
    two = _study(drawn, "two")
    assert wire.send(node.port, two) == 0
    wait_for(lambda: _state(node, two)[0] == "DONE", 60, "the next study")
    assert "inference.stopped during=inspect" in node.log()
    assert node.log().count("inference.ready") == 2


def test_a_draft_under_way_ends_when_every_process_is_told_to(
    tmp_path: Path, start_node: Start, drawn: Dataset
) -> None:
    node = start_node(_settings(tmp_path))
    one = _study(drawn, "one")
    model = _asked_while_stopped(node, one)
    os.kill(model, signal.SIGTERM)
    os.kill(model, signal.SIGCONT)
    assert node.stop() == 0
    assert _state(node, one)[0] == "DONE"
    assert not _runs(model)


def test_the_model_dies_with_a_node_that_is_killed(tmp_path: Path, start_node: Start) -> None:
    node = start_node(_settings(tmp_path))
    model = _model_of(node)
    node.kill()
    wait_for(lambda: not _runs(model), 10, "the model to die")


def test_a_bundle_that_cannot_be_loaded_ends_the_node_before_it_listens(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    settings["engine"] = {"bundle": str(tmp_path / "nowhere")}
    node = NodeProcess(tmp_path / "node", settings)
    ended = node.call("run")
    assert ended.returncode == 1
    assert f"error: no model bundle at {tmp_path / 'nowhere'}\nhint: point" in ended.stderr
    assert not listens(node.port)


def test_too_little_memory_ends_the_node_with_what_to_change(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node", _settings(tmp_path, engine_memory_mb=500))
    ended = node.call("run")
    assert ended.returncode == 1
    assert "memory" in ended.stderr
    assert "hint: raise node.work.engine_memory_mb" in ended.stderr
