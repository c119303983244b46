"""What is said of made films: likeness, the judge's verdict, reconstructions, drawings, copies."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm

from engine.findings import FINDINGS
from engine.nets.load import load_classifier, load_tokenizer
from training.distractors import discs
from training.evaluate import drawings, reconstruction
from training.evaluate import judge as judging
from training.evaluate.drawings import (
    PREDICTIONS,
    agreement,
    balanced,
    copied,
    decode_all,
    evaluate_drawings,
    nearest,
)
from training.evaluate.judge import Judgement, aurocs, averaged, judge, mean_auroc, referenced
from training.evaluate.reconstruction import (
    auroc_loss,
    codebook_use,
    evaluate_tokenizers,
    reconstruct,
)
from training.evaluate.similarity import frechet, psnr, ssim


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def films(count, side=16, seed=0):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


def test_a_film_is_wholly_like_itself():
    some = films(3)
    torch.testing.assert_close(ssim(some, some), torch.ones(3))
    assert (psnr(some, some) >= 100).all()


def test_an_error_of_a_tenth_is_twenty_decibels():
    some = films(2) * 0.5
    torch.testing.assert_close(psnr(some + 0.1, some), torch.full((2,), 20.0))


def slow_ssim(a, b):
    """Compute SSIM window by window, as its authors define it."""
    places = np.arange(11) - 5
    window = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = (film[top : top + 11, left : left + 11] for film in (a, b))
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            var_x, var_y = ((window * (p - (window * p).sum()) ** 2).sum() for p in (x, y))
            both = (window * (x - mean_x) * (y - mean_y)).sum()
            means = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
            found.append(means * (2 * both + 9e-4) / (var_x + var_y + 9e-4))
    return np.mean(found)


def test_structural_similarity_is_the_mean_over_every_window():
    one, other = films(1, seed=1), films(1, seed=1) * 0.7 + films(1, seed=2) * 0.3
    wanted = slow_ssim(one[0, 0].double().numpy(), other[0, 0].double().numpy())
    assert 0.5 < wanted < 0.99
    assert ssim(one, other).item() == pytest.approx(wanted, abs=1e-4)


def test_the_frechet_distance_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(150, 6)) @ rng.normal(size=(6, 6)) + 1.0
    spread_a, spread_b = (np.cov(x.T, bias=True) for x in (a, b))
    gap = a.mean(0) - b.mean(0)
    root = sqrtm(spread_a @ spread_b).real
    wanted = gap @ gap + np.trace(spread_a + spread_b - 2 * root)
    assert frechet(a, b) == pytest.approx(wanted, rel=1e-8)


def test_the_frechet_distance_holds_for_fewer_films_than_features():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 20)), rng.normal(size=(9, 20)) * 2
    values, vectors = np.linalg.eigh(np.cov(a.T, bias=True))
    half = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    inner = np.linalg.eigvalsh(half @ np.cov(b.T, bias=True) @ half)
    gap = a.mean(0) - b.mean(0)
    traces = a.var(0).sum() + b.var(0).sum()
    wanted = gap @ gap + traces - 2 * np.sqrt(inner.clip(0)).sum()
    assert frechet(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, a + 3.0) == pytest.approx(20 * 9.0)


def test_the_judge_reads_films_alike_however_they_are_batched(trained, monkeypatch):
    classifier, pixels = load_classifier(trained.run_dir), np.asarray(trained.images[:5])
    whole = judge(classifier, pixels)
    monkeypatch.setattr(judging, "BATCH", 2)
    parted = judge(classifier, pixels)
    assert whole.chances.shape == (5, 14)
    np.testing.assert_allclose(parted.chances, whole.chances, atol=1e-5)
    np.testing.assert_allclose(parted.features, whole.features, rtol=1e-3, atol=1e-4)


@pytest.fixture
def few_resamples(monkeypatch):
    """Make the intervals cheap where a test looks at values."""
    for module in (drawings, reconstruction):
        monkeypatch.setattr(module, "NUM_RESAMPLES", 10)


@pytest.fixture
def verdict():
    """Labels of 200 films and the judge's probabilities, right but for a little noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 14))
    return labels, np.clip(labels * 0.8 + rng.uniform(0, 0.2, labels.shape), 0, 1)


def test_reference_labels_follow_each_finding_s_own_threshold():
    chances = np.full((1, 14), 0.4)
    found = referenced(chances, {"Edema": 0.3})
    assert [FINDINGS[i] for i in np.flatnonzero(found[0])] == ["Edema"]


def test_findings_without_cases_and_unstated_labels_are_left_out(verdict):
    labels, chances = verdict[0].astype(float), verdict[1]
    labels[:, 3] = 0.0
    labels[:100, 4] = np.nan
    chances[:100, 4] = np.random.default_rng(1).uniform(size=100)
    found = aurocs(labels, chances)
    assert "No Finding" not in found
    assert FINDINGS[3] not in found
    assert set(found.values()) == {1.0}
    assert len(found) == 12
    assert np.isnan(mean_auroc(labels[:3], chances[:3]))


@pytest.mark.usefixtures("few_resamples")
def test_drawings_that_show_their_prompts_agree_and_shuffled_ones_do_not(verdict):
    labels, chances = verdict
    right = agreement(labels, chances, {}, "")
    shuffled = np.random.default_rng(1).permutation(len(labels))
    wrong = agreement(labels, chances[shuffled], {}, "shuffled_")
    assert right["auroc_micro"].value == right["f1_macro"].value == 1.0
    assert wrong["shuffled_auroc_micro"].value == pytest.approx(0.5, abs=0.08)
    assert averaged(labels[:4], chances[:4], {}) == {}


def test_codebook_use_counts_codes_and_their_evenness():
    assert codebook_use(np.zeros((2, 256), int), 1024) == (1 / 1024, pytest.approx(1.0))
    assert codebook_use(np.arange(1024).reshape(4, 256), 1024) == (1.0, pytest.approx(1024.0))
    half = np.repeat([0, 1], 128)[None]
    assert codebook_use(half, 4) == (0.5, pytest.approx(2.0))


@pytest.mark.usefixtures("few_resamples")
def test_what_a_tokenizer_smooths_away_is_lost_area(verdict):
    labels, chances = verdict
    sharp = Judgement(chances, np.zeros((200, 4)))
    blurred = Judgement(np.full_like(chances, 0.5), np.zeros((200, 4)))
    lost = auroc_loss(labels.astype(float), sharp, blurred)
    assert lost.value == pytest.approx(0.5)
    assert auroc_loss(labels.astype(float), sharp, sharp).high == 0


def test_a_reconstruction_is_what_its_codes_decode_to(trained):
    model, pixels = load_tokenizer(trained.run_dir), np.asarray(trained.images[:3])
    made, codes = reconstruct(model, pixels)
    assert made.dtype == np.uint8
    assert made.shape == pixels.shape
    np.testing.assert_array_equal(decode_all(model, codes), made)


def test_tokenizers_are_compared_on_the_same_films_with_a_grid(trained, tmp_path):
    twin = shutil.copytree(trained.run_dir, tmp_path / "twin")
    tables = evaluate_tokenizers(trained, [twin], limit=3)
    ours, theirs = tables[trained.run_dir.name], tables[twin.name]
    assert ours["psnr_db"] == theirs["psnr_db"]
    assert 0 < ours["codebook_use"].value <= 1
    assert ours["ssim"].count == 3
    output = trained.run_dir / "evaluate" / "tokenizer"
    stored = json.loads((output / "metrics.json").read_text())
    assert stored[twin.name]["ssim"]["value"] == theirs["ssim"].value
    assert size_of(output / "grid.png") == (3 * 256, 3 * 256)


def test_half_of_the_drawn_films_have_a_finding(trained):
    rows = trained.reported("train")
    sick = {int(row) for row in rows if trained.catalog.films[row].present}
    assert 2 <= len(sick) < len(rows) - 1
    picked = balanced(trained, rows, 4).tolist()
    assert len(set(picked)) == 4
    assert len(sick & set(picked)) == 2


def test_an_exact_copy_is_flagged_and_a_fresh_film_is_not(trained):
    classifier = load_classifier(trained.run_dir)
    known_films = np.asarray(trained.images[trained.reported("train")])
    real_films = np.asarray(trained.images[trained.reported("val")])
    fresh = discs(np.random.default_rng(99), np.zeros((256, 256), np.uint8))
    made_films = np.stack([known_films[2], fresh])
    known, real, made = (judge(classifier, x) for x in (known_films, real_films, made_films))
    ours = nearest(made, made_films, known, known_films)
    assert ours.rows[0] == 2
    assert ours.likeness[0] == pytest.approx(1.0)
    flags = copied(ours, nearest(real, real_films, known, known_films))
    assert flags.tolist() == [True, False]


def test_drawings_are_predicted_first_and_then_judged(trained, bundle_dir):
    figures = evaluate_drawings(trained, bundle_dir, count=2)
    output = trained.run_dir / "evaluate" / "drawings"
    table = pq.read_table(output / PREDICTIONS).to_pylist()
    assert {row["image_id"] for row in table} <= {f.image_id for f in trained.catalog.films}
    assert all(row["prompt"] == trained.report_text(row["row"]) for row in table)
    assert all(len(row["codes"]) == 256 for row in table)
    assert figures["memorised"].count == len(table) > 0
    assert figures["frechet_drawn"].value > 0
    stored = json.loads((output / "metrics.json").read_text())
    assert stored["memorised"]["value"] == figures["memorised"].value
    assert size_of(output / "grid.png") == (len(table) * 256, 2 * 256)
