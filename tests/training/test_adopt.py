"""Networks read back from a bundle are the bundle's, and later stages go on from them."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch

from engine.backends.select import open_backend
from engine.bundle import open_bundle, sha256_of
from engine.nets.checkpoints import latest
from engine.nets.classifier import FilmClassifier, film_tensor
from engine.nets.load import (
    hint_thresholds,
    load_classifier,
    load_language_model,
    load_tokenizer,
)
from export.bundle import export_bundle, write_tokenizer_halves
from export.cli import LICENSE
from export.config import ExportSettings
from export.errors import ExportError
from export.kept import Kept
from export.language_model import language_model
from export.novelty import FeatureStatistics
from export.onnx import ClassifierHead, traced
from tests.training.conftest import OVERRIDES
from training import config
from training.adopt import networks
from training.adopt.graph import Graph, dequantised
from training.adopt.stages import adopt
from training.cli import main
from training.errors import AdoptionError
from training.stages import Run


def shaken(net):
    """Give every norm and bias of a network values of its own, as training does."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(0.5 + noise if name.endswith(("weight", "var")) else 0.1 * noise)
    return net.eval().requires_grad_(False)


MEASURED = ("classifier", "guard", "tokenizer", "reports")


@pytest.fixture(scope="module")
def films(trained):
    return film_tensor(np.asarray(trained.images[:4]))


def replaced(bundle_dir, target, **files):
    """Return a copy of a bundle, with figures, in which some roles are played by other files."""
    shutil.copytree(bundle_dir, target)
    manifest = json.loads((target / "bundle.json").read_text())
    manifest["metrics"] = {name: {"made": 1} for name in MEASURED}
    for role, path in files.items():
        entry = manifest["files"][role]
        shutil.copy(path, target / entry["path"])
        entry["sha256"] = sha256_of(path)
    (target / "bundle.json").write_text(json.dumps(manifest))
    return open_bundle(target)


def with_tokenizer(model, bundle_dir, folder):
    """Return a copy of a bundle that holds another tokenizer."""
    write_tokenizer_halves(model, folder)
    halves = {role: folder / f"{role}.onnx" for role in ("encoder", "decoder")}
    return replaced(bundle_dir, folder / "bundle", **halves)


@pytest.fixture(scope="module")
def bundle(bundle_dir, trained, films, tmp_path_factory):
    """The bundle of `trained`, its codes spread among the latents: any rounding decides a tie.

    They are halves to begin with: the tracer squares so small a codebook before it is halved.
    """
    model = load_tokenizer(trained.run_dir)
    latents = model.quant_conv(model.encoder(films)).transpose(0, 1).flatten(1)
    noise = torch.randn(1024, len(latents), generator=torch.Generator().manual_seed(0))
    spread = latents.mean(1) + noise * latents.std(1)
    model.quantize.embedding.weight.copy_(spread.half())
    return with_tokenizer(model, bundle_dir, tmp_path_factory.mktemp("apart"))


@pytest.fixture(scope="module")
def adopted(bundle, recipe, trained, tmp_path_factory):
    """A run on the films of `trained` that goes on from its bundle."""
    run = Run(recipe, tmp_path_factory.mktemp("adopted"))
    assert adopt(bundle, recipe, run.run_dir).passed
    for name in ("catalog.parquet", "images.npy", "vqa.parquet", "instructions.parquet"):
        shutil.copy(trained.run_dir / name, run.run_dir / name)
    return run


def test_codes_and_films_are_the_bundle_s(adopted, bundle, films):
    backend, model = open_backend(bundle), load_tokenizer(adopted.run_dir)
    codes = backend.encode(films.numpy())
    np.testing.assert_array_equal(model.encode(films).numpy(), codes)
    drawn = model.decode(torch.from_numpy(codes)).numpy()
    np.testing.assert_allclose(drawn, backend.decode(codes), atol=1e-4)


def test_probabilities_and_thresholds_are_the_bundle_s(adopted, bundle, films):
    backend, model = open_backend(bundle), load_classifier(adopted.run_dir)
    chances = model(films)["findings"].sigmoid().numpy()
    told = [backend.classify(film)["findings"] for film in films.numpy()]
    np.testing.assert_allclose(chances, told, atol=1e-5)
    assert hint_thresholds(adopted.run_dir) == bundle.manifest["hints"]


def test_the_language_model_is_the_tuned_one_within_int8(adopted, trained):
    ours, theirs = (load_language_model(run.run_dir) for run in (adopted, trained))
    ids = torch.tensor([theirs.prompts.about_image("Report.", range(256))])
    with torch.no_grad():
        found, wanted = (m.model(ids).logits.log_softmax(-1) for m in (ours, theirs))
    assert float((wanted.exp() * (wanted - found)).sum(-1).mean()) < 1e-4
    assert ours.prompts.text_ids("No edema.") == theirs.prompts.text_ids("No edema.")
    assert ours.prompts.vocabulary == theirs.prompts.vocabulary


def test_an_adopted_model_is_written_out_as_the_same_bundle(adopted, bundle):
    model = load_language_model(adopted.run_dir).model
    again = language_model(model, 900, "int8")
    before = onnx.load(bundle.path("language_model"))
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in before.graph.initializer}
    for one in again.graph.initializer:
        values = onnx.numpy_helper.to_array(one)
        if one.data_type == onnx.TensorProto.INT8:
            np.testing.assert_array_equal(values, stored[one.name])
        else:
            np.testing.assert_allclose(values, stored[one.name], rtol=1e-5, atol=1e-4)


def test_later_stages_go_on_and_a_bundle_of_theirs_names_its_parent(adopted, bundle, tmp_path):
    values = adopted.recipe.model_dump(mode="json")
    second = {**values["tokenizer"], "trained": "decoder", "steps": 2, "discriminator_start": 1}
    run = Run(config.Recipe.model_validate({**values, "tokenizer2": second}), adopted.run_dir)
    run.train_tokenizer("tokenizer2")
    run.encode()
    run.train_language_model(None, "sft4")
    before, after = (latest(run.run_dir / s).part("model") for s in ("tokenizer", "tokenizer2"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)
    settings = ExportSettings(
        run.run_dir, tmp_path / "made", LICENSE, max_length=900, parent_dir=bundle.directory
    )
    export_bundle(settings, np.asarray(run.images), run.frontal("train"))
    made = open_bundle(tmp_path / "made").manifest
    assert made["parent"]["digest"] == bundle.digest
    assert made["parent"]["license"] == bundle.manifest["license"]
    assert made["instructions"]["licences"].keys() == {"none"}
    files = bundle.manifest["files"]
    kept = {role for role in files if made["files"][role]["sha256"] == files[role]["sha256"]}
    assert kept == {"encoder", "classifier", "tokenizer", "license"}
    # the decoder was trained on, and with it whatever draws; the reports are others, too
    assert made["metrics"] == {name: {"made": 1} for name in ("classifier", "guard")}


def test_a_parent_that_is_none_is_refused(trained, bundle, tmp_path):
    with pytest.raises(ExportError, match="does not go on from"):
        Kept.of(trained.run_dir, bundle.directory)


def test_finished_stages_are_not_trained_again(adopted):
    weights = latest(adopted.run_dir / "classifier").tensors
    adopted.train_classifier()
    adopted.train_tokenizer()
    assert latest(adopted.run_dir / "classifier").tensors.keys() == weights.keys()


@pytest.mark.parametrize("backbone", ["densenet121", "efficientnet_lite0"])
def test_folded_norms_come_back_whatever_the_backbone(backbone, bundle_dir, tmp_path, films):
    torch.manual_seed(0)
    model = shaken(FilmClassifier(backbone))
    statistics = FeatureStatistics.of(model, np.zeros((4, 256, 256), np.uint8), np.arange(4))
    path = tmp_path / "classifier.onnx"
    traced(ClassifierHead(model, statistics), films[:2], path, half_weights=False)
    bundle = replaced(bundle_dir, tmp_path / "bundle", classifier=path)
    found = networks.classifier(bundle, backbone)
    ours, theirs = found(films)["findings"], model(films)["findings"]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("quantizer", ["vq", "fsq"])
def test_every_quantiser_comes_back(quantizer, recipe, bundle_dir, tmp_path, films):
    sizes = {"quantizer": quantizer, "fsq_levels": (8, 5, 5, 5)}
    settings = recipe.tokenizer.model_copy(update=sizes)
    model = shaken(networks.Vqgan(settings.net()))
    bundle = with_tokenizer(model, bundle_dir, tmp_path)
    found = networks.tokenizer(bundle, settings.net())
    codes = torch.from_numpy(open_backend(bundle).encode(films.numpy()))
    assert torch.equal(found.encode(films), codes)
    gap = found.quantize.embedding.weight - model.quantize.embedding.weight
    assert gap.abs().max() < 1e-3


def test_blocks_get_their_own_scale():
    values = torch.full((64, 2), 2, dtype=torch.int8)
    scales = torch.tensor([[1.0, 10.0], [0.5, 0.0]])
    found = dequantised(values, scales)
    assert found[:32].unique(dim=0).tolist() == [[2.0, 20.0]]
    assert found[32:].unique(dim=0).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("transform.resize=pad", "transform: the bundle has"),
        ("base.prompt_version=alpaca-1", "prompt_version"),
        ("tokenizer.quantizer=vq", "quantiser"),
        ("tokenizer.num_res_blocks=2", "group norms"),
        ("tokenizer.z_channels=16", "do not fit"),
        ("classifier.backbone=densenet121", "classifier"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(override, words, bundle_dir, tmp_path, capsys):
    settings = [word for one in (*OVERRIDES, override) for word in ("--set", one)]
    call = ["adopt", "--bundle", str(bundle_dir), "--run", str(tmp_path), "--recipe", "demo"]
    assert main([*call, *settings]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert not list(tmp_path.iterdir())


def test_a_run_that_has_begun_is_left_alone(adopted, bundle, recipe):
    with pytest.raises(AdoptionError, match="has checkpoints of classifier"):
        adopt(bundle, recipe, adopted.run_dir)


def test_a_file_that_is_no_graph_is_named(tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(b"not a graph")
    with pytest.raises(AdoptionError, match=r"encoder\.onnx is not an ONNX graph"):
        Graph.read(tmp_path / "encoder.onnx")


def test_the_shipped_bundle_fits_the_recipe_that_goes_on_from_it(tmp_path, capsys):
    assert main(["adopt", "--recipe", "continue", "--run", str(tmp_path / "run")]) == 0
    assert "codes_equal: 1\n" in capsys.readouterr().out
