"""The tokenizer: its codebooks, its losses, and where its weights come from."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from engine.errors import CheckpointError
from engine.nets.quantizers import EmaQuantizer, FiniteScalarQuantizer, Quantizer
from engine.nets.vqgan import Vqgan, VqganConfig
from engine.vocabulary import NUM_CODES
from tests.training.conftest import OVERRIDES
from tests.training.reports import film
from training import config, losses
from training.classifier import fresh_classifier
from training.encode_images import codes_of
from training.errors import RecipeError
from training.perceptual import DEPTHS, IMAGENET_MEAN, IMAGENET_STD, Vgg16, load_vgg16
from training.tokenizer_train import TokenizerLoop, fresh_tokenizer, resized

LEVELS = (8, 5, 5, 5)
TAMING_KEYS = (
    "encoder.conv_in.weight", "encoder.down.0.block.1.norm2.bias",
    "encoder.down.2.block.0.nin_shortcut.weight", "encoder.down.3.downsample.conv.bias",
    "encoder.down.4.attn.1.q.weight", "encoder.mid.attn_1.proj_out.weight",
    "encoder.norm_out.weight", "decoder.up.4.attn.2.v.bias", "decoder.up.1.upsample.conv.weight",
    "decoder.up.0.block.2.conv2.weight", "decoder.mid.block_2.conv1.bias", "decoder.conv_out.bias",
    "quantize.embedding.weight", "quant_conv.weight", "post_quant_conv.bias",
)  # fmt: skip


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tiny(**changes):
    return VqganConfig(**{"num_codes": 2, "code_dim": 1, **changes})


@pytest.mark.parametrize(
    ("legacy", "of_latent", "of_code"), [(True, 6.0, -1.5), (False, 1.5, -6.0)]
)
def test_beta_weighs_the_commitment_or_as_published_the_codebook(legacy, of_latent, of_code):
    quantizer = Quantizer(tiny(beta=0.25, legacy_beta=legacy))
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.tensor([[0.0], [10.0]]))
    latent = torch.full((1, 1, 1, 1), 3.0, requires_grad=True)
    _, loss, codes = quantizer(latent)
    loss.backward()
    assert codes.item() == 0
    assert latent.grad.item() == of_latent
    assert quantizer.embedding.weight.grad[:, 0].tolist() == [of_code, 0.0]


@pytest.mark.parametrize("kind", [Quantizer, EmaQuantizer])
def test_the_gradient_of_the_reconstruction_passes_straight_through(kind):
    quantizer = kind(tiny(num_codes=8, code_dim=3)).eval()
    latent = torch.randn(1, 3, 2, 2, requires_grad=True)
    quantized, _, codes = quantizer(latent)
    torch.testing.assert_close(quantized.permute(0, 2, 3, 1), quantizer.lookup(codes))
    weights = torch.randn_like(quantized)
    (grad,) = torch.autograd.grad((quantized * weights).sum(), latent)
    torch.testing.assert_close(grad, weights)


def test_a_code_that_nothing_chooses_restarts_on_a_latent_of_the_batch():
    torch.manual_seed(0)
    quantizer = EmaQuantizer(tiny(num_codes=4, code_dim=2)).train()
    quantizer(torch.randn(2, 2, 4, 4))
    quantizer.embedding.weight[3] = 1e3
    quantizer.usage[3] = 0.05
    latent = torch.randn(2, 2, 4, 4)
    quantizer(latent)
    rows = latent.permute(0, 2, 3, 1).reshape(-1, 2)
    assert (rows == quantizer.embedding.weight[3]).all(1).any()
    assert quantizer.usage[3] == 1.0


def test_a_moving_codebook_follows_its_latents_only_while_it_trains():
    torch.manual_seed(0)
    quantizer = EmaQuantizer(tiny(num_codes=1, code_dim=2)).train()
    target = torch.tensor([2.0, -1.0])
    latent = target.reshape(1, 2, 1, 1).expand(4, 2, 4, 4)
    quantizer(latent + 1.0)
    start = quantizer.embedding.weight.clone()
    quantizer.eval()(latent)
    assert torch.equal(quantizer.embedding.weight, start)
    quantizer.train()
    for _ in range(300):
        quantizer(latent)
    torch.testing.assert_close(quantizer.embedding.weight[0], target, atol=0.01, rtol=0)


@pytest.fixture(scope="module")
def grid():
    return FiniteScalarQuantizer(VqganConfig(quantizer="fsq", code_dim=4, fsq_levels=LEVELS))


def test_every_point_of_the_grid_is_found_again(grid):
    codes = torch.arange(1000).reshape(1, 25, 40)
    rows = grid.lookup(codes).permute(0, 3, 1, 2)
    assert torch.equal(grid.nearest(torch.atanh(rows.clamp(-0.999, 0.999))), codes)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_rounding_each_coordinate_is_the_same_as_searching_the_grid(grid, seed):
    latent = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(seed)) * 2
    steps = (torch.tensor(LEVELS) - 1)[:, None, None] / 2
    rounded = ((latent.tanh() + 1) * steps).round() / steps - 1
    quantized, loss, codes = grid(latent)
    torch.testing.assert_close(quantized, rounded)
    assert codes.max() < np.prod(LEVELS)
    assert loss == 0


def test_a_grid_passes_the_gradient_of_its_squashed_latent(grid):
    latent = torch.randn(1, 4, 2, 2, requires_grad=True)
    quantized, _, _ = grid(latent)
    (grad,) = torch.autograd.grad(quantized.sum(), latent)
    torch.testing.assert_close(grad, 1 - latent.detach().tanh().square())


def test_every_code_that_a_language_model_may_draw_has_a_row_of_the_grid(grid):
    spare = grid.lookup(torch.arange(1000, NUM_CODES))
    assert torch.equal(spare, grid.lookup(torch.full((24,), 999)))


@pytest.mark.parametrize("change", ["code_dim=5", "fsq_levels=[8, 8, 8, 8]"])
def test_a_recipe_whose_grid_does_not_fit_is_refused(change):
    overrides = [*OVERRIDES, "tokenizer.quantizer=fsq", f"tokenizer.{change}"]
    with pytest.raises(RecipeError, match=r"tokenizer: .*fsq_levels"):
        config.load("demo", overrides)


def start(*changes):
    """Return a tokenizer loop over four random films, in float32."""
    recipe = config.load("demo", [*OVERRIDES, "precision='no'", *changes])
    images = np.random.default_rng(0).integers(0, 256, (4, 256, 256), dtype=np.uint8)
    films = [film(study=f"s{number}", findings="Clear lungs.") for number in range(4)]
    features = fresh_classifier(config.load("demo").classifier).eval().requires_grad_(False)
    return TokenizerLoop(recipe, recipe.tokenizer, films, images, features)


def gradient(*changes):
    fit = start(*changes)
    figures = fit.step(0)
    return fit.model.decoder.conv_out.weight.grad, figures


def test_the_clinical_weight_changes_the_gradient_and_not_the_losses():
    plain, without = gradient("tokenizer.clinical_weight=0")
    pulled, with_it = gradient("tokenizer.clinical_weight=100")
    assert without == with_it
    assert without["clinical"] > 0
    assert F.cosine_similarity(plain.flatten(), pulled.flatten(), dim=0) < 0.99


def test_a_smaller_film_shows_no_pattern_of_single_pixels():
    board = (torch.arange(256)[:, None] + torch.arange(256)).remainder(2).float()[None, None]
    assert resized(board, 256) is board
    assert resized(board, 128)[..., 4:-4, 4:-4].std() < 0.01 < board.std()


def test_films_are_compared_at_every_size_of_the_recipe():
    fit = start("tokenizer.feature_sizes=[160, 224, 256]")
    assert {fit.feature_size() for _ in range(60)} == {160, 224, 256}
    films = fit.batch(0).requires_grad_()
    _, clinical = fit.feature_losses(films, films.detach().flip(0))
    (gradient_of_films,) = torch.autograd.grad(clinical, films)
    assert gradient_of_films.abs().sum() > 0


def test_an_fsq_tokenizer_trains_and_its_codes_fit_the_vocabulary():
    fit = start("tokenizer.quantizer=fsq", "tokenizer.discriminator_start=1")
    before = fit.model.encoder.conv_in.weight.detach().clone()
    for step in range(2):
        assert all(np.isfinite(value) for value in fit.step(step).values())
    assert not torch.equal(fit.model.encoder.conv_in.weight, before)
    codes = codes_of(fit.model.eval(), fit.images)
    assert codes.shape == (4, 256)
    assert 0 <= codes.min() <= codes.max() < NUM_CODES
    with torch.no_grad():
        drawn = fit.model.decode(torch.full((1, 256), NUM_CODES - 1))
    assert drawn.isfinite().all()


def test_a_second_pass_on_the_decoder_leaves_every_code_as_it_was():
    fit = start("tokenizer.trained=decoder", "tokenizer.discriminator_start=0")
    codes = codes_of(fit.model, fit.images)
    before = fit.model.decoder.conv_out.weight.detach().clone()
    for step in range(2):
        fit.step(step)
    assert not torch.equal(fit.model.decoder.conv_out.weight, before)
    np.testing.assert_array_equal(codes_of(fit.model, fit.images), codes)


class ModelCheckpoint:
    """Stands for the callback class that Lightning pickles as a key."""


class AttributeDict(dict):
    """Stands for the mapping in which Lightning pickles hyper-parameters."""


def lightning_file(path, net):
    """Write a checkpoint of the kind that taming-transformers leaves."""
    state = net.state_dict()
    state["loss.discriminator.main.0.weight"] = torch.randn(4, 3, 4, 4)
    state["loss.perceptual_loss.lin0.model.1.weight"] = torch.randn(1, 64, 1, 1)
    best = {"best_model_score": torch.tensor(0.1), "callback": ModelCheckpoint()}
    whole = {
        "epoch": 3, "global_step": 1000, "callbacks": {ModelCheckpoint: best},
        "hyper_parameters": AttributeDict(lr=4.5e-6, seed=np.float64(1.5)),
        "state_dict": state,
    }  # fmt: skip
    torch.save(whole, path)
    return f"tokenizer.init={path}", f"tokenizer.init_sha256='{sha256(path)}'"


def test_a_taming_checkpoint_is_taken_up_exactly_without_its_losses(tmp_path):
    settings_of = config.load("demo", [*OVERRIDES, "tokenizer.quantizer=vq"]).tokenizer
    torch.manual_seed(1)
    wanted = Vqgan(settings_of.net())
    changes = lightning_file(tmp_path / "last.ckpt", wanted)
    overrides = [*OVERRIDES, "tokenizer.quantizer=vq", *changes]
    found = fresh_tokenizer(config.load("demo", overrides).tokenizer).state_dict()
    assert found.keys() == wanted.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in wanted.state_dict().items())


def test_a_taming_checkpoint_of_other_sizes_is_refused(tmp_path):
    settings_of = config.load("demo", [*OVERRIDES, "tokenizer.quantizer=vq"]).tokenizer
    changes = lightning_file(tmp_path / "last.ckpt", Vqgan(settings_of.net()))
    overrides = [*OVERRIDES, "tokenizer.quantizer=vq", "tokenizer.z_channels=16", *changes]
    with pytest.raises(CheckpointError, match="do not fit Vqgan"):
        fresh_tokenizer(config.load("demo", overrides).tokenizer)


def test_the_paper_s_network_has_the_published_names():
    with torch.device("meta"):
        names = set(Vqgan(config.load("paper").tokenizer.net()).state_dict())
    assert set(TAMING_KEYS) <= names


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """Random weights in the published layout of VGG-16, a class head included."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save({**Vgg16().state_dict(), "classifier.0.weight": torch.zeros(2, 2)}, path)
    return path


def test_vgg_16_is_read_in_its_published_layout(vgg_file):
    net = load_vgg16(str(vgg_file), sha256(vgg_file))
    weights = torch.load(vgg_file, weights_only=True)
    assert weights["features.28.weight"].shape == (512, 512, 3, 3)
    film_, mean, deviation = torch.rand(1, 1, 32, 32) * 2 - 1, IMAGENET_MEAN, IMAGENET_STD
    x = torch.cat([((film_ + 1) / 2 - m) / s for m, s in zip(mean, deviation, strict=True)], 1)
    for number in (0, 2):
        kernel, bias = (weights[f"features.{number}.{part}"] for part in ("weight", "bias"))
        x = F.relu(F.conv2d(x, kernel, bias, padding=1))
    maps = net.maps(film_)
    torch.testing.assert_close(maps[0], x)
    assert [m.shape[1] for m in maps] == [group[-1] for group in DEPTHS]
    assert [m.shape[-1] for m in maps] == [32, 16, 8, 4, 2]
    assert not any(p.requires_grad for p in net.parameters())


def test_lpips_compares_all_five_maps(vgg_file):
    fit = start(
        f"tokenizer.perceptual_weights={vgg_file}",
        f"tokenizer.perceptual_sha256='{sha256(vgg_file)}'",
        "tokenizer.feature_sizes=[64]",
    )
    drawn, films = (torch.rand(1, 1, 64, 64) * 2 - 1 for _ in range(2))
    net = load_vgg16(str(vgg_file), sha256(vgg_file))
    wanted = losses.feature_distance(net.maps(drawn), net.maps(films))
    found, _ = fit.feature_losses(drawn, films)
    torch.testing.assert_close(found, wanted)


def test_a_second_pass_over_another_network_is_refused():
    with pytest.raises(RecipeError, match="tokenizer2 must have the sizes of tokenizer"):
        config.load("demo", ["tokenizer.channels=32"])
