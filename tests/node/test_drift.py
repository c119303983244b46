"""Drift: a number that is small for films like those of training, and large for others."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bundle import DEMO, open_bundle
from engine.errors import BundleCorrupt
from engine.results import Inspection
from engine.statistics import ROLE, Feature, FilmStatistics, count, measured
from node.drift import (
    MIN_FILMS,
    WINDOW,
    by_chance,
    detail_of,
    drift_of,
    psi,
    read_detail,
    shift,
)

COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=8)
VALUES = st.lists(st.floats(-1, 1), min_size=20, max_size=200)


def shares_of(counts):
    return [number / sum(counts) for number in counts]


@given(COUNTS.filter(any))
def test_films_as_in_training_have_no_drift(counts):
    assert psi(shares_of(counts), counts) == pytest.approx(0, abs=1e-9)


@given(st.data(), COUNTS.filter(any))
def test_the_index_is_finite_and_never_negative(data, counts):
    sizes = st.lists(st.integers(0, 500), min_size=len(counts), max_size=len(counts))
    other = data.draw(sizes.filter(any))
    found = psi(shares_of(counts), other)
    assert 0 <= found < 100


@given(st.integers(50, 400), st.integers(0, 49))
def test_the_further_films_move_to_one_bin_the_larger_the_index(total, moved):
    even = [0.2] * 5
    base = [total // 5] * 5
    more = [base[0] - min(moved, base[0]), *base[1:4], base[4] + min(moved, base[0])]
    assert psi(even, more) >= psi(even, base) - 1e-12


@given(VALUES)
def test_the_bins_of_training_hold_every_value_once(values):
    feature = Feature.of(values)
    counted = count(values, feature.edges)
    assert sum(counted) == len(values)
    assert feature.shares == pytest.approx([n / len(values) for n in counted], abs=1e-5)
    assert sum(feature.shares) == pytest.approx(1, abs=1e-4)


@given(VALUES, st.randoms())
def test_the_order_of_films_does_not_matter(values, rng):
    feature = Feature.of(values)
    mixed = list(values)
    rng.shuffle(mixed)
    assert shift(feature, values, 1000) == shift(feature, mixed, 1000)


def test_chance_alone_exceeds_the_allowance_once_in_a_thousand_windows():
    rng = np.random.default_rng(7)
    feature = Feature.of(rng.normal(size=2000).tolist())
    for num_films in (MIN_FILMS, WINDOW):
        windows = rng.normal(size=(2000, num_films))
        false = sum(shift(feature, one.tolist(), 2000) > 0 for one in windows)
        assert false < 12, num_films
    assert by_chance(5, 50, 10**9) * 50 == pytest.approx(18.47, abs=0.3)  # chi-squared, 4 df


def test_too_few_films_say_nothing():
    films = [{"mean": 0.1}] * (MIN_FILMS - 1)
    training = FilmStatistics.of([{"mean": value / 100} for value in range(100)])
    assert drift_of(training, films) is None
    drift = drift_of(training, [*films, {"mean": 0.1}])
    assert drift is not None
    assert (drift.feature, drift.num_films) == ("mean", MIN_FILMS)
    assert drift.score > 1


@given(st.dictionaries(st.sampled_from(["mean", "p5", "white"]), st.floats(-9, 9)))
def test_the_numbers_of_a_film_come_back_from_the_timeline(values):
    rounded = {name: round(value, 4) for name, value in values.items()}
    digest, found = read_detail(detail_of("ab" * 32, rounded))
    assert digest == ("ab" * 32)[:12]
    assert found == pytest.approx(rounded, rel=1e-4, abs=1e-4)


@given(st.text(max_size=60))
def test_any_text_can_be_read_as_numbers_of_a_film(text):
    _, found = read_detail(text)
    assert all(np.isfinite(value) for value in found.values())


def test_statistics_come_back_and_hold_no_film():
    rng = random.Random(3)
    films = [{"mean": rng.random(), "aspect": 1.0} for _ in range(100)]
    made = FilmStatistics.of(films)
    assert len(json.dumps(made.as_json())) < 400
    assert made.features["aspect"].shares == (1.0, 0.0)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"format": 1, "films": 3, "features": {}}',
        '{"format": 1, "films": 3, "features": {"mean": {"edges": [2, 1], "shares": [1, 0, 0]}}}',
    ],
)
def test_broken_statistics_are_refused(tmp_path, content):
    path = tmp_path / "statistics.json"
    path.write_text(content)
    with pytest.raises(BundleCorrupt, match="no statistics of films"):
        FilmStatistics.read(path)


def test_a_film_is_measured():
    image = np.linspace(-1, 1, 256, dtype=np.float32).repeat(256).reshape(1, 256, 256)
    values = measured(image, Inspection(True, "frontal", (), {"frontal": 0.91234567}), 1.2)
    assert values["mean"] == pytest.approx(0, abs=1e-4)
    assert values["p50"] == pytest.approx(0, abs=0.01)
    assert values["black"] == pytest.approx(0.025, abs=0.01)
    assert (values["aspect"], values["frontal"]) == (1.2, 0.9123)


def test_the_demo_bundle_says_what_its_training_films_look_like():
    bundle = open_bundle()
    statistics = FilmStatistics.read(bundle.path(ROLE))
    assert bundle.directory == DEMO
    assert statistics.num_films == 2000
    assert {"mean", "contrast", "aspect", "inverted", "novelty"} <= set(statistics.features)
