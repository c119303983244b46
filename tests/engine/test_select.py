"""Which backend runs: the best that is here, and a reason for every better one."""

import logging

import pytest

from engine.backends.driver import gpu_capability, lack_of_gpu, refuse_no_gpu
from engine.backends.onnx_cuda import OnnxCudaBackend, lack_of_cuda
from engine.backends.onnx_films import import_onnxruntime
from engine.backends.select import BACKENDS, open_backend, survey
from engine.bundle import open_bundle
from engine.config import EngineSettings
from engine.errors import BackendUnavailable

BUNDLE = open_bundle()
GPU_BACKENDS = ("tensorrt", "torch", "onnx_cuda")
needs_no_gpu = pytest.mark.skipif(not lack_of_gpu(), reason="this machine has a GPU")


def test_the_setting_knows_every_backend_in_the_order_of_preference():
    allowed = EngineSettings.model_json_schema()["properties"]["backend"]["enum"]
    assert allowed == ["auto", *BACKENDS]


@needs_no_gpu
def test_a_survey_says_of_every_backend_why_it_cannot_run():
    rows = {row.name: row for row in survey(BUNDLE)}
    assert list(rows) == list(BACKENDS)
    assert all("NVIDIA" in rows[name].reason for name in GPU_BACKENDS)
    assert rows["onnx_cpu"].is_available
    assert all(row.is_available == (not row.reason) for row in rows.values())


@needs_no_gpu
def test_a_machine_without_a_gpu_falls_back_and_gives_one_quiet_line_a_backend(caplog):
    with caplog.at_level(logging.INFO, "engine"):
        opened = open_backend(BUNDLE)
    assert opened.name in ("native", "onnx_cpu")
    lines = [record for record in caplog.records if "backend skipped" in record.getMessage()]
    names = [record.args[0].partition(":")[0] for record in lines]
    assert names == list(BACKENDS)[: list(BACKENDS).index(opened.name)]
    assert {record.levelno for record in lines} == {logging.INFO}


@needs_no_gpu
@pytest.mark.parametrize("name", ["tensorrt", "onnx_cuda"])
def test_a_backend_that_is_asked_for_by_name_says_why_it_does_not_run(name):
    with pytest.raises(BackendUnavailable, match=f"backend {name}: no NVIDIA driver"):
        open_backend(BUNDLE, name)


def test_a_backend_is_opened_by_its_name_and_no_other():
    assert open_backend(BUNDLE, "onnx_cpu", 1).name == "onnx_cpu"
    assert open_backend(BUNDLE, "torch", 2).name == "torch"
    with pytest.raises(BackendUnavailable, match="unknown backend gpu"):
        open_backend(BUNDLE, "gpu")


def test_an_onnxruntime_without_cuda_is_named_with_what_it_has():
    runtime = import_onnxruntime()
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    assert "no CUDAExecutionProvider, only" in lack_of_cuda(runtime)


def test_a_missing_driver_is_a_reason_and_no_error():
    assert lack_of_gpu("libno-such-driver.so") == "no NVIDIA driver (libno-such-driver.so)"
    assert gpu_capability("libno-such-driver.so") == ""


@needs_no_gpu
def test_what_needs_a_gpu_refuses_to_open_without_one():
    with pytest.raises(BackendUnavailable):
        refuse_no_gpu()
    with pytest.raises(BackendUnavailable):
        OnnxCudaBackend(BUNDLE)
