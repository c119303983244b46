"""The own kernels: near to onnxruntime's, and equal to themselves bit by bit in any batch."""

import itertools
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backends.base import Feed
from engine.backends.initializers import Graph, read_graph
from engine.backends.native import NativeBackend, NativeModel, shape_of
from engine.backends.onnx_cpu import OnnxCpuBackend
from engine.bundle import open_bundle
from engine.errors import BackendUnavailable, BundleIncompatible
from engine.generation import alone, write_text
from engine.native.library import open_library

BUNDLE = open_bundle()
SIZE = BUNDLE.vocabulary.size
EVERY = range(SIZE)
PROMPT = np.random.default_rng(5).integers(0, SIZE, 90).tolist()


def supported() -> bool:
    try:
        open_library()
    except BackendUnavailable as fault:
        if "processor" not in str(fault):
            raise
        return False
    return True


needs_processor = pytest.mark.skipif(not supported(), reason="the processor has no AVX-512 VNNI")


@pytest.fixture(scope="module")
def graph():
    return read_graph(BUNDLE.path("language_model"))


@pytest.fixture(scope="module")
def model(graph):
    return NativeModel(graph, BUNDLE.cache.max_length, 2)


def logits_of(model, ids, slot=None, rows=EVERY, num_wanted=1):
    return model.forward([Feed(slot or model.open_slot(), ids, rows, num_wanted)])[0]


def log_chances(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@needs_processor
def test_it_says_what_onnxruntime_says(model):
    reference = OnnxCpuBackend(BUNDLE)
    wanted = log_chances(logits_of(reference, PROMPT, num_wanted=80))
    found = log_chances(logits_of(model, PROMPT, num_wanted=80))
    assert (np.exp(wanted) * (wanted - found)).sum(-1).mean() < 0.01
    assert (wanted.argmax(-1) == found.argmax(-1)).mean() > 0.92


@needs_processor
@given(cuts=st.lists(st.integers(1, 89), max_size=5), neighbours=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_neither_pieces_nor_neighbours_change_a_bit(model, cuts, neighbours):
    whole = logits_of(model, PROMPT, num_wanted=90)
    slot = model.open_slot()
    others = [model.open_slot() for _ in range(neighbours)]
    edges = [0, *sorted(set(cuts)), 90]
    found = []
    for start, end in itertools.pairwise(edges):
        feeds = [Feed(other, PROMPT[: 3 + i], range(64), i) for i, other in enumerate(others)]
        own = Feed(slot, PROMPT[start:end], EVERY, end - start)
        found.append(model.forward([*feeds[:1], own, *feeds[1:]])[len(feeds[:1])])
    np.testing.assert_array_equal(np.concatenate(found), whole)


@needs_processor
def test_the_number_of_threads_changes_no_bit(graph, model):
    for num_threads in (1, 3):
        other = NativeModel(graph, BUNDLE.cache.max_length, num_threads)
        np.testing.assert_array_equal(logits_of(other, PROMPT), logits_of(model, PROMPT))


@needs_processor
@given(start=st.integers(0, SIZE - 1), count=st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_any_range_of_rows_is_a_part_of_all(model, start, count):
    rows = range(start, min(start + count, SIZE))
    part = logits_of(model, PROMPT[:9], rows=rows, num_wanted=2)
    np.testing.assert_array_equal(
        part, logits_of(model, PROMPT[:9], num_wanted=2)[:, rows.start : rows.stop]
    )


@needs_processor
def test_a_rewound_slot_has_forgotten(model):
    slot = model.open_slot()
    first = logits_of(model, PROMPT, slot)
    slot.rewind(40)
    logits_of(model, [7] * 60, slot)
    slot.rewind(40)
    np.testing.assert_array_equal(logits_of(model, PROMPT[40:], slot), first)


@needs_processor
def test_guesses_change_no_word_of_a_report(model):
    vocabulary = BUNDLE.vocabulary

    def written(guess):
        turns = write_text(model.open_slot(), PROMPT, vocabulary, max_new_tokens=60, guess=guess)
        return alone(model, turns)

    plain = written(lambda _: ())
    assert written(lambda ids: plain[len(ids) : len(ids) + 4]) == plain
    assert written(lambda ids: [ids[-1]] * 3) == plain


@needs_processor
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number_reaches_the_logits(graph, value):
    name = "model.layers.3.mlp.up_proj.scale"
    scales = graph.tensors[name].copy()
    scales[0, 0] = value
    broken = NativeModel(Graph({**graph.tensors, name: scales}, graph.nodes), 640, 1)
    assert not np.isfinite(logits_of(broken, PROMPT)).all()


@needs_processor
def test_it_serves_a_bundle_whole():
    backend = NativeBackend(BUNDLE)
    assert backend.encode(np.zeros((2, 1, 256, 256), np.float32)).shape == (2, 256)
    with pytest.raises(Exception, match="longer than 640 tokens"):
        backend.forward([Feed(backend.open_slot(), [1] * 641, EVERY)])


def test_another_kind_of_model_is_left_to_others(graph):
    tensors = {name: values for name, values in graph.tensors.items() if "gate_proj" not in name}
    with pytest.raises(BackendUnavailable, match="Llama family"):
        shape_of(Graph(tensors, graph.nodes), 640, 1)


def test_without_kernels_the_reason_names_the_cure(tmp_path):
    with pytest.raises(BackendUnavailable, match="not compiled") as fault:
        open_library(tmp_path)
    assert "compiler" in fault.value.hint


def test_a_processor_without_the_instructions_is_told(tmp_path):
    source = tmp_path / "other.c"
    source.write_text("int cxr_is_supported(void) { return 0; }\n")
    target = tmp_path / "_kernels.abi3.so"
    subprocess.run([shutil.which("cc"), "-shared", "-o", target, source], check=True)
    with pytest.raises(BackendUnavailable, match="AVX-512 VNNI"):
        open_library(tmp_path)


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    for content in (b"no graph", b"\x3a\xff\xff\xff\xff\x0f", b"\x08"):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(BundleIncompatible, match="cannot be read as ONNX"):
            read_graph(tmp_path / "model.onnx")
