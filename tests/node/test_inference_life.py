"""The life of the model's process: its limits, its end, and the node that it belongs to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from node.app import Node
from node.errors import InferenceFault
from node.inference import InferenceChild
from tests.films import phantom
from tests.node.conftest import (
    Pacs,
    associate,
    is_gone,
    send,
    settings_for,
    study_state,
    wait_for,
    wait_for_state,
)

DARK = np.full((1, 256, 256), -0.5, np.float32)
Make = Callable[..., InferenceChild]


def test_a_call_under_way_is_left_alone_when_the_node_stops(make: Make) -> None:
    child = make("hangs", draft_timeout_s=12)
    child.warm_up()
    faults: list[BaseException] = []

    def report() -> None:
        try:
            child.report(DARK)
        except InferenceFault as fault:
            faults.append(fault)

    busy = threading.Thread(target=report)
    busy.start()
    time.sleep(0.3)
    child.stop()
    assert not faults, "its study is not to fail because the node stops"
    busy.join()
    assert len(faults) == 1


def test_the_process_has_its_limits_and_leaves_signals_to_the_node(make: Make) -> None:
    child = make("plain", engine_memory_mb=3000)
    child.warm_up()
    pid = child.pid
    assert pid is not None
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    wanted = {"Max core file size": "0", "Max address space": str(3000 << 20)}
    for name, value in wanted.items():
        (line,) = (line for line in limits if line.startswith(name))
        assert line.removeprefix(name).split()[:2] == [value, value]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    child.report(DARK)
    assert child.pid == pid


def test_the_process_ends_with_the_node_whatever_it_is_doing() -> None:
    code = (
        "import os, pathlib, signal, threading, time\n"
        "import numpy as np\n"
        "from engine.config import EngineSettings\n"
        "from node.config import WorkSettings\n"
        "from node.inference import InferenceChild\n"
        "engine = EngineSettings(bundle=pathlib.Path('/hangs'))\n"
        "child = InferenceChild(engine, WorkSettings(), 'tests.node.strange_child')\n"
        "child.warm_up()\n"
        "dark = np.full((1, 256, 256), -1, np.float32)\n"
        "threading.Thread(target=child.report, args=(dark,), daemon=True).start()\n"
        "time.sleep(0.3)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    wait_for(lambda: is_gone(int(parent.stdout)), 10)


def test_a_killed_process_fails_its_study_and_neither_the_next_nor_the_listener(
    make: Make, pacs: Pacs, tmp_path: Path
) -> None:
    child = make("slow")
    node = Node(settings_for(tmp_path / "root", pacs.port), child)
    node.warm_up()
    node.start()
    try:
        killed, after = phantom("killed"), phantom("after")
        send(node, killed)
        wait_for_state(node, killed, "RUNNING")
        time.sleep(0.2)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        assoc = associate(node)
        assert assoc.send_c_echo().Status == 0
        assoc.release()
        wait_for_state(node, killed, "FAILED")
        reason = node.journal.study(killed.StudyInstanceUID)[0]["reason"]
        assert reason.startswith("the model stopped (report): the system ended it")
        send(node, after)
        wait_for(lambda: study_state(node, after) == ["DONE"], 30)
    finally:
        node.stop()
