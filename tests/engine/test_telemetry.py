"""Nothing phones home: telemetry is off before onnxruntime is imported, no socket opens."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
ORDER = """
import os, sys
import engine.pipeline
assert "onnxruntime" not in sys.modules, "imported before its telemetry was switched off"
from engine.backends.onnx_films import import_onnxruntime
import_onnxruntime()
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""


def test_telemetry_is_off_before_onnxruntime_is_imported():
    subprocess.run([sys.executable, "-c", ORDER], check=True, env=ENVIRONMENT)


CHILD = """
import numpy as np
from engine.config import EngineSettings
from node.config import WorkSettings
from node.inference import InferenceChild
child = InferenceChild(EngineSettings(), WorkSettings())
child.report(np.zeros((1, 256, 256), np.float32))
child.stop()
"""


def test_drafting_a_report_opens_no_network_connection(tmp_path):
    film = tmp_path / "film.png"
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    Image.fromarray(ramp).save(film)
    assert_no_connection(tmp_path, "-m", "engine.cli", "report", "--force", str(film))


def test_the_process_that_the_node_runs_the_model_in_opens_no_network_connection(tmp_path):
    assert_no_connection(tmp_path, "-c", CHILD)


def assert_no_connection(tmp_path, *arguments):
    if shutil.which("strace") is None:
        assert "CI" not in os.environ, "strace must be installed in CI"
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-o", str(trace), "-e", "trace=connect,sendto"]
    command = [*strace, sys.executable, *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in trace.read_text()
