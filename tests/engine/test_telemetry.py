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
from engine.backends.onnx_cpu import import_onnxruntime
import_onnxruntime()
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""


def test_telemetry_is_off_before_onnxruntime_is_imported():
    subprocess.run([sys.executable, "-c", ORDER], check=True, env=ENVIRONMENT)


def test_drafting_a_report_opens_no_network_connection(tmp_path):
    if shutil.which("strace") is None:
        assert "CI" not in os.environ, "strace must be installed in CI"
        pytest.skip("strace is not installed")
    film, trace = tmp_path / "film.png", tmp_path / "trace"
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    Image.fromarray(ramp).save(film)
    command = [sys.executable, "-m", "engine.cli", "report", "--force", str(film)]
    strace = ["strace", "-f", "-o", str(trace), "-e", "trace=connect,sendto"]
    done = subprocess.run(
        [*strace, *command], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in trace.read_text()
