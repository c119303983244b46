"""A checkpoint as LLM-CXR was published becomes a bundle that answers as its parts do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from engine.backends.base import Feed
from engine.backends.initializers import read_graph
from engine.backends.onnx_cpu import OnnxCpuBackend
from engine.backends.torch_program import program_of
from engine.bundle import DEMO, open_bundle
from engine.nets.vqgan import Vqgan, VqganConfig
from engine.pipeline import Engine
from engine.vocabulary import NUM_CODES
from export.bundle import FILES, entries
from export.cli import main
from export.errors import ExportError
from export.graph import SCHEMES
from export.language_model import language_model, save, weights_beside
from export.neox import split_heads
from export.published import read_words, vocabulary_of
from tests.engine.exact import exact_session

END, RESPONSE = "### End", "### Response:\n"


def words() -> Tokenizer:
    """Return a byte-level tokenizer with the marks of dolly's."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = ByteLevel()
    made.add_special_tokens([END, RESPONSE])
    return made


def neox(num_rows: int, *, width=64, heads=4, layers=2, parallel=True) -> GPTNeoXForCausalLM:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=num_rows,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=2048,
        use_parallel_residual=parallel,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25,
        },
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPTNeoXForCausalLM(config).eval()
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.1)
    return model


def taming(path) -> Vqgan:
    """Write a Lightning checkpoint with the shapes of the published tokenizer."""
    torch.manual_seed(1)
    made = Vqgan(VqganConfig(in_channels=3)).eval()
    state = dict(made.state_dict()) | {"loss.discriminator.main.0.weight": torch.zeros(4)}
    torch.save({"state_dict": state, "epoch": 4}, path)
    return made


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Yield the folder of a bundle made of published parts, and the parts."""
    folder = tmp_path_factory.mktemp("published")
    tokenizer = words()
    model = neox(tokenizer.get_vocab_size() + NUM_CODES)
    model.save_pretrained(folder / "model")
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    vqgan = taming(folder / "vqgan.ckpt")
    (folder / "LICENSE").write_text("research only")
    verb = ["import-llm-cxr", "--model", str(folder / "model"), "--precision", "float32"]
    verb += ["--vqgan", str(folder / "vqgan.ckpt"), "--license", str(folder / "LICENSE")]
    assert main([*verb, "--output", str(folder / "bundle")]) == 0
    return folder / "bundle", model, vqgan


@pytest.mark.slow
def test_the_bundle_writes_what_the_published_model_writes(published):
    directory, model, _ = published
    backend = OnnxCpuBackend(open_bundle(directory))
    ids = list(range(40, 90))
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0, -1].numpy()
    slot = backend.open_slot()
    (found,) = backend.forward([Feed(slot, ids, range(len(expected)))])
    np.testing.assert_allclose(found[-1], expected, atol=2e-4)
    with torch.no_grad():
        expected = model(torch.tensor([[*ids, 7]])).logits[0, -1].numpy()
    (found,) = backend.forward([Feed(slot, [7], range(len(expected)))])
    np.testing.assert_allclose(found[-1], expected, atol=2e-4)


@pytest.mark.slow
def test_its_films_become_the_codes_of_the_published_tokenizer_and_back(published):
    directory, _, vqgan = published
    backend = OnnxCpuBackend(open_bundle(directory))
    film = np.random.default_rng(0).uniform(-1, 1, (1, 256, 256)).astype(np.float32)
    with torch.no_grad():
        codes = vqgan.encode(torch.from_numpy(film)[None].expand(-1, 3, -1, -1))[0].numpy()
        drawn = vqgan.decode(torch.from_numpy(codes)[None]).mean(1).numpy()
    assert (backend.encode(film[None])[0] == codes).mean() >= 0.99
    np.testing.assert_allclose(backend.decode(codes[None])[0], drawn, atol=0.05)


@pytest.mark.slow
def test_the_engine_drafts_and_draws_with_it_and_claims_nothing_unmeasured(published):
    engine = Engine.load(published[0])
    film = np.random.default_rng(0).uniform(-1, 1, (1, 256, 256)).astype(np.float32)
    assert engine.report(film).provenance.prompt_version == "alpaca-1"
    assert len(engine.draw("No pneumothorax.", seed=1).codes) == 256
    assert engine.proven == frozenset()
    assert engine.transform.resize == "centre_crop"


@pytest.mark.parametrize("parallel", [True, False])
def test_both_orders_of_a_layer_are_exported(parallel, tmp_path):
    import onnx
    import onnxruntime

    model = neox(96, parallel=parallel)
    path = tmp_path / "graph.onnx"
    onnx.save(language_model(model, 16, "float32"), path)
    session = onnxruntime.InferenceSession(path)
    ids = np.arange(8, dtype=np.int64)[None]
    feeds = {
        "input_ids": ids,
        "position_ids": ids,
        "write_indices": np.zeros(1, np.int64),
        "logits_from": np.zeros(1, np.int64),
    }
    feeds |= {
        f"past_{kind}_{index}": np.zeros((1, 4, 16, 16), np.float32)
        for kind in "kv"
        for index in range(2)
    }
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(session.run(["logits"], feeds)[0], expected, atol=1e-4)


@pytest.mark.slow
def test_a_layer_of_the_published_shape_is_exported(tmp_path):
    """2,560 wide, 32 heads of 80 of which 20 turn, 51,305 rows: one of its 32 layers, as int8."""
    model = neox(51305, width=2560, heads=32, layers=1)
    graph = language_model(model, 64, "int8")
    rows = next(w for w in graph.graph.initializer if w.name == "embed.q")
    assert list(rows.dims) == [51305, 2560]


def test_fused_heads_are_taken_apart_as_they_were_put_together():
    fused = np.arange(2 * 3 * 4, dtype=np.float32)[:, None]
    query, key, value = (part[:, 0].tolist() for part in split_heads(fused, 2))
    assert (query, key, value) == (
        [0, 1, 2, 3, 12, 13, 14, 15],
        [4, 5, 6, 7, 16, 17, 18, 19],
        [8, 9, 10, 11, 20, 21, 22, 23],
    )


def test_a_table_of_another_size_is_refused_with_both_numbers():
    size = words().get_vocab_size()
    with pytest.raises(ExportError, match=str(size + NUM_CODES)):
        vocabulary_of(words(), size + NUM_CODES + 7)


def test_a_folder_without_a_tokenizer_says_how_to_get_one(tmp_path):
    with pytest.raises(ExportError, match=r"no tokenizer\.json"):
        read_words(tmp_path)


def test_a_file_that_is_no_vqgan_is_refused(tmp_path, capsys):
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, path)
    model = neox(words().get_vocab_size() + NUM_CODES, width=32, heads=2, layers=1)
    model.save_pretrained(tmp_path / "model")
    words().save(str(tmp_path / "model" / "tokenizer.json"))
    verb = ["import-llm-cxr", "--model", str(tmp_path / "model"), "--vqgan", str(path)]
    verb += ["--license", str(DEMO / "LICENSE-weights.txt"), "--output", str(tmp_path / "out")]
    assert main(verb) == 1
    assert "holds no VQ-GAN" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_beside_a_graph_are_in_the_manifest_of_either_way_to_a_bundle(tmp_path):
    for name in FILES.values():
        (tmp_path / name).write_bytes(b"x")
    assert entries(tmp_path).keys() == FILES.keys()
    weights_beside(tmp_path / FILES["language_model"]).write_bytes(b"y")
    assert entries(tmp_path)["language_model_weights"]["path"] == "language_model.weights"


@pytest.mark.parametrize("precision", SCHEMES)
@pytest.mark.parametrize("parallel", [True, False])
def test_torch_carries_the_graph_out_as_onnxruntime_does(parallel, precision, tmp_path):
    path = tmp_path / "graph.onnx"
    save(language_model(neox(96, parallel=parallel), 16, precision), path)
    program = program_of(read_graph(path), "cpu", torch.float32)
    ids, caches = (
        torch.arange(20, 28)[None],
        [f"past_{kv}_{layer}" for layer in (0, 1) for kv in "kv"],
    )
    feeds = {"input_ids": ids, "position_ids": torch.arange(8)[None]}
    feeds |= {"write_indices": torch.zeros(1, dtype=torch.int64)}
    feeds |= {name: torch.zeros(1, 4, 16, 16) for name in caches}
    given = {name: value.numpy() for name, value in feeds.items()} | {"logits_from": np.array([2])}
    expected, *_ = exact_session(str(path)).run(["logits"], given)
    found = program.run({**feeds, "logits_from": 2}, range(10, 60)).numpy()
    np.testing.assert_allclose(found, expected[..., 10:60], atol=2e-4)


def test_the_small_reader_of_graphs_reads_what_onnx_reads():
    import onnx

    for role in ("language_model", "encoder", "classifier"):
        path = open_bundle().path(role)
        graph, nodes = onnx.load(path).graph, read_graph(path).nodes
        assert [(n.op_type, tuple(n.input), tuple(n.output)) for n in graph.node] == [
            (n.kind, n.inputs, n.outputs) for n in nodes
        ]
        for node, read in zip(graph.node, nodes, strict=True):
            values = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            numbers = {name: one for name, one in values.items() if isinstance(one, int | float)}
            lists = {name: tuple(one) for name, one in values.items() if isinstance(one, list)}
            assert read.attributes == numbers
            assert read.lists == {name: one for name, one in lists.items() if one}
