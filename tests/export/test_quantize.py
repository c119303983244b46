"""Ways of storing a language model: what they keep, and which one is chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.base import Feed
from engine.backends.native import NativeBackend
from engine.backends.onnx_cpu import OnnxCpuBackend
from engine.bundle import open_bundle
from engine.errors import BackendUnavailable
from engine.nets.load import load_language_model
from export.cli import main
from export.errors import ExportError
from export.graph import SCHEMES, Scheme, quantize_blocks
from export.quantize import Measured, choose, restored

IDS = list(range(3, 40))


@given(st.integers(1, 70), st.integers(1, 5), st.sampled_from([8, 4]), st.sampled_from([32, 128]))
def test_a_value_comes_back_within_half_a_step(inner, columns, bits, block):
    weight = np.random.default_rng(inner).normal(size=(inner, columns)).astype(np.float32)
    values, scales = quantize_blocks(weight, 0, Scheme(bits, block))
    assert scales.shape == (-(-inner // block), columns)
    steps = np.repeat(scales, block, axis=0)[:inner]
    assert (np.abs(values.astype(np.float32) * steps - weight) <= steps * 0.501).all()


@pytest.fixture(scope="module")
def stored(trained, bundle_dir, tmp_path_factory):
    """The miniature model in every way."""
    model, bundle = load_language_model(trained.run_dir), open_bundle(bundle_dir)
    folder = tmp_path_factory.mktemp("stored")
    return {name: restored(model, bundle, name, folder / name) for name in SCHEMES}


@pytest.mark.parametrize("precision", [name for name in SCHEMES if name != "float32"])
def test_every_way_runs_in_onnxruntime_and_is_near_float32(stored, precision):
    def logits(bundle):
        backend = OnnxCpuBackend(bundle, 1)
        slot, rows = backend.open_slot(), range(bundle.vocabulary.size)
        return backend.forward([Feed(slot, IDS, rows, len(IDS))])[0]

    wanted, found = logits(stored["float32"]), logits(stored[precision])
    closest = np.corrcoef(wanted.ravel(), found.ravel())[0, 1]
    assert closest > (0.999 if precision.startswith("int8") else 0.9)
    assert open_bundle(stored[precision].directory).manifest["precision"] == precision


@pytest.mark.parametrize("precision", ["float32", "int8-128", "int4"])
def test_the_own_kernels_leave_other_ways_to_onnxruntime(stored, precision):
    with pytest.raises(BackendUnavailable):
        NativeBackend(stored[precision])


def measured(precision, kl, top1, token_ms):
    return Measured(precision, "onnx_cpu", 1, kl, top1, 100.0, token_ms)


def test_the_fastest_of_the_faithful_is_chosen():
    ways = [measured("float32", 0, 1, 9), measured("int8", 0.01, 0.95, 4)]
    unfaithful = measured("int4", 0.3, 0.7, 1)
    assert choose([*ways, unfaithful]).precision == "int8"
    with pytest.raises(ExportError, match="none keeps"):
        choose([unfaithful])


def test_the_verb_prints_what_it_measured_and_writes_what_it_chose(
    trained, bundle_dir, tmp_path, capsys
):
    target = tmp_path / "chosen"
    verb = ["quantize", "--run", str(trained.run_dir), "--bundle", str(bundle_dir)]
    assert main([*verb, "--count", "2", "--output", str(target)]) == 0
    printed = capsys.readouterr().out
    assert all(name[:4] in printed for name in SCHEMES)
    assert open_bundle(target).manifest["precision"] in printed
