"""Power-loss ordering, seen by the kernel: what a C-STORE has on disk before it is answered.

`strace` writes down every call of a node that receives; for each image the order must be: written,
file synchronised, renamed, folder synchronised, ledger synchronised, and only then the response.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from tests.acceptance.peers import NodeProcess, free_port, node_settings, peer
from tests.films import CR, phantom, uid

NUM_IMAGES = 12
_TRACED = "write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2,sendto,sendmsg,recvfrom"
_LINE = re.compile(r"^\d+ +(?P<call>\w+)\((?P<arguments>.*)$")
_UNFINISHED = re.compile(r"^(?P<thread>\d+) +(?P<call>\w+)\((?P<arguments>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(?P<thread>\d+) +<\.\.\. (?P<call>\w+) resumed>(?P<rest>.*)$")


@dataclass(frozen=True)
class _Call:
    """One system call: where it stands in the trace, at its end."""

    at: int
    name: str
    arguments: str


def _calls(trace: Path) -> list[_Call]:
    """Return the calls in the order in which they ended; a synchronisation counts from there."""
    begun: dict[str, str] = {}
    calls = []
    for at, line in enumerate(trace.read_text(errors="replace").splitlines()):
        if unfinished := _UNFINISHED.match(line):
            begun[unfinished["thread"]] = unfinished["arguments"]
        elif resumed := _RESUMED.match(line):
            whole = begun.pop(resumed["thread"], "") + resumed["rest"]
            calls.append(_Call(at, resumed["call"], whole))
        elif whole_line := _LINE.match(line):
            calls.append(_Call(at, whole_line["call"], whole_line["arguments"]))
    return calls


def _first(calls: list[_Call], after: int, names: str, *parts: str) -> int:
    """Return where the first such call after a place ended."""
    for call in calls:
        if (
            call.at > after
            and call.name in names.split()
            and all(p in call.arguments for p in parts)
        ):
            return call.at
    raise AssertionError(f"no {names} of {parts} after line {after}")


def _such(calls: list[_Call], names: str, *parts: str) -> list[_Call]:
    """Return the calls of some names whose arguments have some parts."""
    named = [call for call in calls if call.name in names.split()]
    return [call for call in named if all(part in call.arguments for part in parts)]


@pytest.mark.skipif(shutil.which("strace") is None, reason="not installed: strace")
@pytest.mark.slow
def test_no_image_is_acknowledged_before_it_is_on_disk(
    tmp_path: Path, start_node: Callable[..., NodeProcess]
) -> None:
    trace = tmp_path / "trace"
    tried = subprocess.run(["strace", "-o", str(trace), "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no process may be traced by this user: {tried.stderr.decode().strip()}")
    strace = ["strace", "-f", "-yy", "-s", "0", "-e", f"trace={_TRACED}", "-o", str(trace)]
    settings = node_settings(tmp_path, free_port(), {"room": peer("PACS", free_port())})
    settings["node"]["study"] |= {"quiet_s": 60}
    stand_in = [*strace, sys.executable, "-m", "tests.acceptance.stand_in_node"]
    node = start_node(settings, command=stand_in)
    _send(node.port)
    _stop_traced(node)
    calls = _calls(trace)
    renames = [
        call for call in calls if call.name.startswith("rename") and "/images/" in call.arguments
    ]
    assert len(renames) == NUM_IMAGES
    sends = "sendto sendmsg write writev"
    for rename in renames:
        aside, target = re.findall(r'"([^"]+)"', rename.arguments)
        writes = [
            call.at for call in calls if call.name == "write" and f"<{aside}>" in call.arguments
        ]
        begun, written = writes[0], writes[-1]
        synced = _first(calls, written, "fsync fdatasync", f"<{aside}>")
        folder_synced = _first(calls, rename.at, "fsync fdatasync", f"<{Path(target).parent}>")
        ledger_synced = _first(calls, folder_synced, "fsync fdatasync", "ledger.sqlite-wal")
        answered = _first(calls, begun, sends, "<TCP:", f":{node.port}->")
        order = (begun, written, synced, rename.at, folder_synced, ledger_synced, answered)
        assert order == tuple(sorted(order)), f"out of order: {order}"
    print(f"{NUM_IMAGES} images: written, synchronised, renamed, entered, then answered")


def _stop_traced(node: NodeProcess) -> None:
    """Stop the node below strace, which itself ends with it."""
    assert node.process is not None
    tracer = node.process.pid
    (child,) = Path(f"/proc/{tracer}/task/{tracer}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
    node.process.wait(60)


def _send(port: int) -> None:
    ae = AE("PACS")
    ae.add_requested_context(CR)
    assoc = ae.associate("127.0.0.1", port, ae_title="CXRDRAFT")
    assert assoc.is_established
    for number in range(NUM_IMAGES):
        ds: Any = phantom("traced", size=300, SOPInstanceUID=uid("traced", number))
        assert assoc.send_c_store(ds).Status == 0
    assoc.release()
