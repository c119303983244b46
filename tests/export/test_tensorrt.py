"""TensorRT plans: built for real, and read back as far as a machine without a GPU goes."""

import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from engine.backends.base import Feed
from engine.backends.driver import lack_of_gpu
from engine.backends.half import folded
from engine.backends.initializers import read_graph
from engine.backends.onnx_cpu import OnnxCpuBackend
from engine.backends.select import survey
from engine.backends.tensorrt import TensorrtBackend, fitting_plans, plans_of, stored_weights
from engine.backends.tensorrt_engine import load_engine
from engine.backends.tensorrt_log import log_of
from engine.backends.tensorrt_plan import (
    ROLES,
    Manifest,
    folder_of,
    load_flavour,
    plan_path,
    unfit,
)
from engine.bundle import DEMO, open_bundle, sha256_of
from engine.errors import BackendUnavailable
from export.cli import main
from export.errors import ExportError
from export.graph import SCHEMES
from export.half import half_graph
from export.language_model import language_model
from export.tensorrt import (
    PlanSettings,
    build_plans,
    graph_to_build,
    outdated,
    parse,
    profiles_of,
    targets,
)
from tests.engine.exact import ExactBackend, exact_session
from tests.export import stand_in_tensorrt
from tests.export.test_published import neox

RTX = ("tensorrt_rtx",)
needs_no_gpu = pytest.mark.skipif(not lack_of_gpu(), reason="this machine has a GPU")


@pytest.fixture(scope="module")
def flavour():
    try:
        return load_flavour(RTX)
    except BackendUnavailable:
        pytest.skip("TensorRT-RTX is not installed")


@pytest.fixture(scope="module")
def demo(tmp_path_factory, flavour):
    """Yield a copy of the demo bundle with its plans, and what was said while they were built."""
    folder = tmp_path_factory.mktemp("plans") / "demo"
    shutil.copytree(DEMO, folder)
    said = []
    build_plans(open_bundle(folder), PlanSettings(RTX), said.append)
    return open_bundle(folder), said


def parsed(bundle, role, flavour):
    log = log_of(flavour)
    with graph_to_build(bundle, role) as path:
        return parse(flavour, path, log)


def tensors(network, count, get):
    found = (get(place) for place in range(count))
    return {tensor.name: (tensor.dtype.name, tuple(tensor.shape)) for tensor in found}


def test_the_language_model_becomes_native_cache_attention_and_rotation_layers(flavour):
    bundle = open_bundle()
    read = parsed(bundle, "language_model", flavour)
    layers, cache = read.layers(), bundle.cache
    assert layers["KV_CACHE_UPDATE"] == 2 * cache.num_layers
    assert layers["ROTARY_EMBEDDING"] == 2 * cache.num_layers
    assert layers["ATTENTION_INPUT"] == layers["ATTENTION_OUTPUT"] == cache.num_layers
    assert "DEQUANTIZE" not in layers
    network = read.network
    shape = (-1, cache.num_kv_heads, cache.max_length, cache.head_dim)
    inputs = tensors(network, network.num_inputs, network.get_input)
    outputs = tensors(network, network.num_outputs, network.get_output)
    for layer in range(cache.num_layers):
        for kind in "kv":
            assert inputs[f"past_{kind}_{layer}"] == ("HALF", shape)
            assert outputs[f"present_{kind}_{layer}"] == ("HALF", shape)
    assert inputs["input_ids"] == ("INT64", (-1, -1))
    assert outputs["logits"][0] == "HALF"


@pytest.mark.parametrize(
    ("role", "source", "result"),
    [
        ("encoder", {"image": ("FLOAT", (-1, 1, 256, 256))}, {"codes": ("INT64", (-1, 256))}),
        ("decoder", {"codes": ("INT64", (-1, 256))}, {"image": ("FLOAT", (-1, 1, 256, 256))}),
    ],
)
def test_the_halves_of_the_vqgan_stay_in_float32(flavour, role, source, result):
    bundle = open_bundle()
    read = parsed(bundle, role, flavour)
    network = read.network
    assert tensors(network, network.num_inputs, network.get_input) == source
    assert tensors(network, network.num_outputs, network.get_output) == result
    kinds = Counter(node.kind for node in read_graph(bundle.path(role)).nodes)
    assert read.layers()["CONVOLUTION"] == kinds["Conv"]


@pytest.mark.parametrize("precision", SCHEMES)
def test_a_gpt_neox_is_read_as_well_however_it_is_stored(flavour, tmp_path, precision):
    path = tmp_path / "neox.onnx"
    onnx.save(language_model(neox(96), 16, precision), path)
    onnx.save(half_graph(path), path)
    layers = parse(flavour, path, log_of(flavour)).layers()
    assert (layers["KV_CACHE_UPDATE"], layers["ATTENTION_OUTPUT"]) == (4, 2)


def run_language_model(model, bundle, kind):
    """Return the logits of a prompt from a graph with caches of a kind."""
    cache, ids = bundle.cache, np.random.default_rng(1).integers(0, 6000, (1, 40))
    shape = (1, cache.num_kv_heads, cache.max_length, cache.head_dim)
    names = [f"past_{kv}_{layer}" for layer in range(cache.num_layers) for kv in "kv"]
    feeds = {
        "input_ids": ids,
        "position_ids": np.arange(40)[None],
        "write_indices": np.zeros(1, np.int64),
        "logits_from": np.asarray([30]),
        **{name: np.zeros(shape, kind) for name in names},
    }
    session = exact_session(model)
    (logits,) = session.run(["logits"], feeds)
    return logits.astype(np.float32)


def test_the_graph_in_half_precision_says_what_the_bundle_says():
    bundle = open_bundle()
    path = bundle.path("language_model")
    expected = run_language_model(str(path), bundle, np.float32)
    found = run_language_model(half_graph(path).SerializeToString(), bundle, np.float16)
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()
    assert (found.argmax(-1) == expected.argmax(-1)).all()


def test_plans_are_built_once_with_a_manifest_that_says_of_what(demo, flavour):
    bundle, said = demo
    folder = folder_of(bundle, flavour.name)
    manifest = Manifest.read(folder)
    assert (manifest.flavour, manifest.version) == (flavour.name, flavour.version)
    assert manifest.bundle == bundle.digest
    assert manifest.onnx["encoder"] == bundle.manifest["files"]["encoder"]["sha256"]
    assert manifest.plans.keys() == set(ROLES)
    assert manifest.profiles == profiles_of(bundle)
    assert all(plan_path(folder, role).stat().st_size > 10 * 2**20 for role in ROLES)
    assert said == [f"{flavour.name} {flavour.version}: building plans, for there are none"]
    build_plans(bundle, PlanSettings(RTX), said.append)
    assert said[1:] == [f"{flavour.name} {flavour.version}: the plans are up to date"]


def test_plans_are_outdated_when_anything_that_they_were_made_of_differs(demo, flavour):
    bundle, _ = demo
    folder = folder_of(bundle, flavour.name)
    manifest = Manifest.read(folder)
    changes = {"version": "1.0", "bundle": "0" * 64, "capabilities": ("SM89",), "onnx": {}}
    for name, value in changes.items():
        assert outdated(manifest, replace(manifest, **{name: value}), folder) == f"{name} differs"
    broken = replace(manifest, plans={"encoder": "0" * 64})
    assert outdated(broken, manifest, folder).startswith("encoder.plan is not the file")
    assert outdated(None, manifest, folder) == "there are none"


def test_the_engine_takes_no_plans_of_another_bundle_or_version(demo, flavour, tmp_path):
    bundle, _ = demo
    manifest = plans_of(bundle, flavour).manifest
    assert unfit(manifest, bundle, flavour) == ""
    assert "another bundle" in unfit(replace(manifest, bundle="ab" * 32), bundle, flavour)
    assert "built by tensorrt_rtx 0.9" in unfit(replace(manifest, version="0.9"), bundle, flavour)
    with pytest.raises(BackendUnavailable, match="there are no tensorrt_rtx plans"):
        plans_of(replace(bundle, directory=tmp_path), flavour)
    folder = folder_of(replace(bundle, directory=tmp_path), flavour.name)
    folder.mkdir(parents=True)
    manifest.write(folder)
    with pytest.raises(BackendUnavailable, match="is not the plan that was built"):
        plans_of(replace(bundle, directory=tmp_path), flavour)
    (folder / "plans.json").write_text(json.dumps({"flavour": "tensorrt_rtx"}))
    assert Manifest.read(folder) is None


@needs_no_gpu
def test_a_plan_without_a_gpu_is_a_reason_and_not_a_crash(demo, flavour):
    bundle, _ = demo
    path = plan_path(folder_of(bundle, flavour.name), "encoder")
    with pytest.raises(BackendUnavailable, match=r"cannot load encoder\.plan: .*CUDA driver"):
        load_engine(flavour, path, log_of(flavour))
    (row,) = [row for row in survey(bundle) if row.name == "tensorrt"]
    assert "NVIDIA" in row.reason


def test_plans_are_looked_for_in_every_flavour(demo, flavour, tmp_path):
    bundle, _ = demo
    assert fitting_plans(bundle)[0] == flavour
    with pytest.raises(BackendUnavailable, match="no tensorrt_rtx plans"):
        fitting_plans(replace(bundle, directory=tmp_path))


class OnCpu(TensorrtBackend):
    """The backend on the stand-in, whose memory is the CPU's; nothing is recorded."""

    device = "cpu"
    buckets = ()

    def refuse_machine(self):
        pass


@pytest.fixture
def on_cpu(monkeypatch, tmp_path):
    """Return a backend that runs the graphs that plans are built from, as TensorRT would be run."""
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in_tensorrt)
    stream = SimpleNamespace(cuda_stream=0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    bundle, plans = open_bundle(), tmp_path / "plans" / "tensorrt"
    shutil.copytree(bundle.directory, tmp_path, dirs_exist_ok=True)
    plans.mkdir(parents=True)
    for role in ROLES:
        with graph_to_build(bundle, role) as path:
            shutil.copyfile(path, plan_path(plans, role))
    hashes = {role: sha256_of(plan_path(plans, role)) for role in ROLES}
    version = stand_in_tensorrt.__version__
    made_of = {"profiles": {}, "onnx": {}, "plans": hashes}
    Manifest("tensorrt", version, bundle.digest, "float16", (), is_stripped=False, **made_of).write(
        plans
    )
    return OnCpu(open_bundle(tmp_path))


@pytest.mark.slow
def test_the_backend_runs_plans_as_tensorrt_demands(on_cpu):
    reference, vocabulary = ExactBackend(on_cpu.bundle), on_cpu.bundle.vocabulary
    prompts = [np.random.default_rng(seed).integers(0, 6000, 150).tolist() for seed in (1, 2, 3)]
    slots = [on_cpu.open_slot() for _ in prompts]
    owns = [reference.open_slot() for _ in prompts]
    for part in (slice(128), slice(128, 149), slice(149, None)):
        feeds = zip(prompts, slots, owns, strict=True)
        both = [(Feed(s, p[part], vocabulary.text_range), Feed(o, p[part], vocabulary.text_range))
                for p, s, o in feeds]  # fmt: skip
        found = on_cpu.forward([one for one, _ in both])
        expected = reference.forward([other for _, other in both])
        for one, other in zip(found, expected, strict=True):
            assert np.abs(one - other).max() < 0.01 * np.abs(other).max()
    assert on_cpu.forward([Feed(slots[0], [5, 6], range(9), 0)])[0].shape == (0, 9)
    films = np.random.default_rng(0).uniform(-1, 1, (17, 1, 256, 256)).astype(np.float32)
    codes = on_cpu.encode(films)
    np.testing.assert_array_equal(codes, reference.encode(films))
    np.testing.assert_allclose(on_cpu.decode(codes[:2]), reference.decode(codes[:2]), atol=1e-5)
    assert on_cpu.classify(films[0]).keys() == reference.classify(films[0]).keys()


@pytest.mark.gpu
@pytest.mark.skipif(bool(lack_of_gpu()), reason="this machine has no GPU")
def test_a_plan_says_what_the_bundle_says(demo):
    bundle, _ = demo
    backend, reference = TensorrtBackend(bundle), OnnxCpuBackend(bundle)
    film = np.random.default_rng(0).uniform(-1, 1, (2, 1, 256, 256)).astype(np.float32)
    codes = backend.encode(film)
    assert (codes == reference.encode(film)).mean() > 0.99
    assert np.abs(backend.decode(codes) - reference.decode(codes)).mean() < 0.01
    ids = np.random.default_rng(1).integers(0, 6000, 40).tolist()
    rows = range(bundle.vocabulary.size)
    slots = [backend.open_slot() for _ in range(3)]
    own = reference.open_slot()
    for part in (ids, [5], [6]):
        expected = reference.forward([Feed(own, part, rows)])[0]
        for found in backend.forward([Feed(slot, part, rows) for slot in slots]):
            assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@needs_no_gpu
def test_weights_cannot_be_left_out_without_a_gpu_and_the_reason_says_so(demo, flavour, capsys):
    bundle, _ = demo
    assert main(["tensorrt", "--bundle", str(bundle.directory), "--strip"]) == 1
    said = capsys.readouterr().err
    assert "cannot leave the weights of language_model out here" in said
    assert "leave --strip out" in said
    assert Manifest.read(folder_of(bundle, flavour.name)) is not None


def test_the_weights_of_a_stripped_plan_have_the_names_of_its_graph():
    bundle = open_bundle()
    graph = half_graph(bundle.path("language_model"))
    names = {weight.name for weight in graph.graph.initializer}
    assert stored_weights(bundle, "language_model").keys() == names
    assert folded(read_graph(bundle.path("language_model"))).weights.keys() == names


def test_gpus_that_a_flavour_does_not_know_are_refused(flavour):
    with pytest.raises(ExportError, match="builds for no SM90"):
        targets(flavour, PlanSettings(RTX, capabilities=("SM89", "SM90")))
    assert targets(flavour, PlanSettings(RTX, ("SM89",))).capabilities == ("SM89",)


@pytest.mark.slow
def test_the_command_builds_for_one_gpu_what_training_made(flavour, bundle_dir, tmp_path, capsys):
    shutil.copytree(bundle_dir, tmp_path / "bundle")
    verb = ["tensorrt", "--bundle", str(tmp_path / "bundle"), "--flavour", "tensorrt_rtx"]
    assert main([*verb, "--gpu", "SM89"]) == 0
    assert "language_model.plan" in capsys.readouterr().out
    manifest = Manifest.read(tmp_path / "bundle" / "plans" / "tensorrt_rtx")
    assert manifest.capabilities == ("SM89",)


def test_without_any_tensorrt_the_command_says_which_was_looked_for():
    with pytest.raises(BackendUnavailable, match="none of no_such_flavour is installed"):
        load_flavour(("no_such_flavour",))
