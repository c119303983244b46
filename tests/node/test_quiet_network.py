"""A node opens no connection that its configuration does not ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SCRIPT = """
import sys, time
from pathlib import Path
from node.app import Node
from tests.fakes import FakeEngine
from tests.node.conftest import free_port, settings_for
metrics = {"metrics": {"enabled": True, "port": free_port()}}
settings = settings_for(Path(sys.argv[1]) / "root", 1, **metrics)
settings = settings.model_copy(update={"peers": {}})
node = Node(settings, FakeEngine())
node.open_monitor()
node.start()
time.sleep(2)
node.stop()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""


def test_a_node_with_metrics_and_no_tracing_calls_nobody(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        assert "CI" not in os.environ, "strace must be installed in CI"
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-o", str(trace), "-e", "trace=connect,sendto"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*strace, sys.executable, "-c", _SCRIPT, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in trace.read_text()
