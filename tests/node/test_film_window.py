"""The newest films beside those of training, as the ledger and the bundle tell of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from engine.bundle import MANIFEST, sha256_of
from engine.pipeline import Engine
from engine.pixels import render_file
from engine.results import Image
from engine.statistics import ROLE, FilmStatistics, measured
from node.app import Node
from node.database import open_ledger
from node.drift import MIN_FILMS, WINDOW, detail_of, drift_of, read_detail
from node.film_window import FilmWindow, Training
from node.schema import event
from tests.fakes import FakeEngine
from tests.films import CXR, needs_films, phantom
from tests.node.conftest import send, wait_for_state

DIGEST, OTHER = "ab" * 32, "cd" * 32


def training(mean: float, digest: str = DIGEST) -> Training:
    rng = np.random.default_rng(1)
    films = [{"mean": float(value)} for value in rng.normal(mean, 0.1, 500)]
    return Training(digest, FilmStatistics.of(films))


def note(engine: sa.Engine, digest: str, means: list[float]) -> None:
    rows = [
        {"study_uid": "1.2", "generation": 1, "at": 0.0, "name": "measured"}
        | {"detail": detail_of(digest, {"mean": mean})}
        for mean in means
    ]
    with engine.begin() as connection:
        connection.execute(event.insert(), rows)


def drawn(mean: float, number: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(2).normal(mean, 0.1, number)]


def test_only_the_newest_films_of_a_bundle_count(url: sa.URL) -> None:
    engine = open_ledger(url)
    window = FilmWindow(engine, [training(0.0)])
    assert window.is_measured
    assert window.drift() is None
    note(engine, OTHER, drawn(9.0, WINDOW))
    note(engine, DIGEST, drawn(0.0, MIN_FILMS))
    like = window.drift()
    assert like is not None
    assert (like.score, like.num_films) == (0.0, MIN_FILMS)
    note(engine, DIGEST, drawn(0.3, WINDOW))
    unlike = window.drift()
    assert unlike is not None
    assert unlike.score > 1
    assert unlike.num_films == WINDOW
    engine.dispose()


def test_of_two_bundles_the_larger_drift_counts(url: sa.URL) -> None:
    engine = open_ledger(url)
    note(engine, DIGEST, drawn(0.0, MIN_FILMS))
    note(engine, OTHER, drawn(0.0, MIN_FILMS))
    found = FilmWindow(engine, [training(0.0), training(0.5, OTHER)]).drift()
    assert found is not None
    assert found.score > 1
    engine.dispose()


def test_a_bundle_without_statistics_is_not_measured(tmp_path: Path, url: sa.URL) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"files": {}}))
    engine = open_ledger(url)
    found = Training.of(tmp_path)
    assert found == Training(sha256_of(tmp_path / MANIFEST), None)
    assert not FilmWindow(engine, [found, Training.of(tmp_path / "nowhere")]).is_measured
    engine.dispose()


@pytest.mark.parametrize("rejects", [(), ("the film is inverted (bones are dark)",)])
def test_a_film_is_measured_whether_it_is_drafted_from_or_not(
    start_node: Callable[..., Node], engine: FakeEngine, rejects: tuple[str, ...]
) -> None:
    engine.rejects = rejects
    node, ds = start_node(), phantom("looked at")
    send(node, ds)
    wait_for_state(node, ds, "SKIPPED" if rejects else "DONE")
    (generation,) = node.journal.study(ds.StudyInstanceUID)
    details = [one["detail"] for one in generation["timeline"] if one["name"] == "measured"]
    (found,) = [read_detail(detail) for detail in details]
    assert found[0] == engine.digest[:12]
    assert found[1]["aspect"] == ds.Rows / ds.Columns
    assert {"mean", "p50", "white", "frontal"} <= set(found[1])


def inverted(image: Image) -> Image:
    return -image


def windowed(image: Image) -> Image:
    """Cut the grey scale as a window of a CT does."""
    return np.clip((image - 0.2) / 0.4, -1, 1).astype(np.float32)


@needs_films
@pytest.mark.slow
def test_films_of_the_same_kind_have_no_drift_and_shifted_ones_have() -> None:
    rows = [json.loads(line) for line in (CXR / "manifest.jsonl").read_text().splitlines()]
    frontal = [row for row in rows if (row["split"], row["view"]) == ("val", "frontal")]
    np.random.default_rng(0).shuffle(frontal)
    engine = Engine.load()
    statistics = FilmStatistics.read(engine.bundle.path(ROLE))

    def score(change: Callable[[Image], Image]) -> float:
        films = []
        for row in frontal[:80]:
            image = change(render_file(CXR / row["file"], engine.transform))
            aspect = row["orig_height"] / row["orig_width"]
            films.append(measured(image, engine.inspect(image), aspect))
        drift = drift_of(statistics, films)
        assert drift is not None
        return drift.score

    assert score(lambda image: image) < 0.1
    assert score(inverted) > 1
    assert score(windowed) > 1
