"""The torch backend computes what the graph says: onnxruntime in float32 is the witness."""

import numpy as np
import pytest
import torch

from engine.backends.base import Feed
from engine.backends.initializers import read_graph
from engine.backends.torch import TorchBackend
from engine.backends.torch_program import program_of
from engine.bundle import open_bundle
from engine.errors import BackendUnavailable, GenerationFault
from engine.generation import alone, draw_codes, write_text
from engine.sampling import Sampling
from tests.engine.exact import ExactBackend

BUNDLE = open_bundle()
SIZE = BUNDLE.vocabulary.size
EVERY = range(SIZE)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@pytest.fixture(scope="module")
def exact():
    return ExactBackend(BUNDLE)


@pytest.fixture(scope="module")
def backend():
    return TorchBackend(BUNDLE, num_threads=2)


def ids_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, SIZE, count).tolist()


def logits(backend, slot, ids, rows=EVERY, num_wanted=1):
    return backend.forward([Feed(slot, ids, rows, num_wanted)])[0]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in bfloat16")
def test_prompt_and_steps_agree_with_the_graph(exact, backend):
    one, other = exact.open_slot(), backend.open_slot()
    ids = ids_of(180)
    for part in (ids[:128], ids[128:150], ids[150:155], *([token] for token in ids[155:160])):
        wanted = min(3, len(part))
        found = logits(backend, other, part, num_wanted=wanted)
        expected = logits(exact, one, part, num_wanted=wanted)
        np.testing.assert_allclose(found, expected, atol=2e-4)
    assert other.length == one.length


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in bfloat16")
def test_feeds_of_all_sizes_in_one_call_are_what_they_are_alone(exact, backend):
    feeds, alones = [], []
    for seed, (held, count, wanted) in enumerate([(9, 1, 1), (3, 4, 3), (20, 40, 1), (5, 2, 0)]):
        ids, slot, reference = ids_of(held + count, seed), backend.open_slot(), exact.open_slot()
        rows = range(10 * seed, 3000 + seed)
        logits(backend, slot, ids[:held], num_wanted=0)
        logits(exact, reference, ids[:held])
        feeds.append(Feed(slot, ids[held:], rows, wanted))
        alones.append(logits(exact, reference, ids[held:], rows, max(1, wanted))[:wanted])
    for found, expected in zip(backend.forward(feeds), alones, strict=True):
        assert found.shape == (expected.shape[0], expected.shape[1])
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.slow
def test_a_report_is_the_same_to_the_letter(exact, backend):
    prompt = ids_of(60, seed=4)
    texts = [
        alone(each, write_text(each.open_slot(), prompt, BUNDLE.vocabulary, max_new_tokens=24))
        for each in (exact, backend)
    ]
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_a_guided_drawing_is_the_same_code_by_code(exact, backend):
    codes = []
    for each in (exact, backend):
        prompts = [(each.open_slot(), ids_of(20, seed=8)), (each.open_slot(), ids_of(9, seed=9))]
        wish = {"sampling": Sampling(0.7, 0.8), "seed": 3, "guidance": 1.0}
        turns = draw_codes(prompts, BUNDLE.vocabulary, **wish)
        feeds = next(turns)
        found = []
        for _ in range(12):
            feeds = turns.send(each.forward(feeds))
            found.append(feeds[0].token_ids[0])
        codes.append(found)
    assert codes[0] == codes[1]


def test_a_rewound_sequence_forgets_and_a_full_one_takes_no_more(backend):
    slot = backend.open_slot()
    ids = ids_of(12)
    first = logits(backend, slot, ids)
    logits(backend, slot, ids_of(5, seed=2))
    slot.rewind(6)
    np.testing.assert_allclose(logits(backend, slot, ids[6:]), first, atol=1e-3)
    with pytest.raises(GenerationFault, match="longer than"):
        logits(backend, slot, [1] * (slot.room + 1))


@pytest.mark.slow
def test_a_cache_that_grows_keeps_what_it_holds(exact):
    backend = TorchBackend(BUNDLE, num_threads=2)
    reference, slots = exact.open_slot(), []
    for _ in range(5):
        slots.append(backend.open_slot())
        logits(backend, slots[-1], ids_of(7))
    logits(exact, reference, ids_of(7))
    expected = logits(exact, reference, [5])
    for found in backend.forward([Feed(slot, [5], EVERY) for slot in slots]):
        np.testing.assert_allclose(found, expected, atol=2e-4)


def test_films_are_looked_at_as_everywhere(exact, backend):
    film = np.random.default_rng(0).uniform(-1, 1, (2, 1, 256, 256)).astype(np.float32)
    assert (backend.encode(film) == exact.encode(film)).mean() > 0.99
    assert backend.classify(film[0]).keys() == exact.classify(film[0]).keys()


def test_an_operator_that_is_not_known_is_named():
    graph = read_graph(BUNDLE.path("encoder"))
    with pytest.raises(BackendUnavailable, match="nothing for the operator"):
        program_of(graph, "cpu", torch.float32)


@pytest.mark.gpu
@needs_cuda
def test_recorded_steps_agree_with_the_graph_on_a_gpu(exact):
    backend = TorchBackend(BUNDLE)
    slots = [backend.open_slot() for _ in range(3)]
    reference = exact.open_slot()
    logits(exact, reference, ids_of(30))
    for slot in slots:
        logits(backend, slot, ids_of(30), num_wanted=0)
    for token in ids_of(6, seed=1):
        expected = logits(exact, reference, [token])[0]
        for found in backend.forward([Feed(slot, [token], EVERY) for slot in slots]):
            scale = np.abs(expected).max()
            assert np.abs(found[0] - expected).max() < 0.05 * scale
    assert backend.recordings
