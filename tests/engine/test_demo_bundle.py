"""The bundle that ships: its size, its honesty, and what its guard lets through."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from engine.errors import PixelError
from engine.pipeline import Engine
from engine.pixels import render_file
from tests.films import SHARED, needs_films

PROPER_CHEST_FILMS = {
    "RG1_J2KI.dcm",
    "CR-MONO1-10-chest",
    "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm",
    "1.3.6.1.4.1.11129.5.5.110503645592756492463169821050252582267888.dcm",
}


@pytest.fixture(scope="module")
def engine():
    return Engine.load(num_threads=2)


def test_the_bundle_is_small_and_says_what_it_is_for(engine):
    sizes = [entry["bytes"] for entry in engine.bundle.manifest["files"].values()]
    assert sum(sizes) <= 80 * 2**20
    assert "research" in engine.license.lower()
    assert "Not a medical device" in engine.intended_use
    assert engine.bundle.manifest["metrics"]["conditioning"]["dataset"]


@needs_films
def test_the_guard_accepts_proper_chest_films_and_nothing_else(engine):
    folder = SHARED / "dicom"
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    accepted, num_rendered = set(), 0
    for row in rows:
        try:
            with warnings.catch_warnings(action="ignore"):
                image = render_file(folder / row["file"], engine.transform)
        except PixelError:
            continue
        num_rendered += 1
        if engine.inspect(image).accepted:
            accepted.add(Path(row["file"]).name)
    assert num_rendered > 30
    assert accepted == PROPER_CHEST_FILMS


@needs_films
def test_the_guard_tells_validation_films_by_view_turn_and_inversion(engine):
    lines = (SHARED / "cxr" / "manifest.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "val"][::40]
    wrong = []
    for row in rows:
        image = render_file(SHARED / "cxr" / row["file"], engine.transform)
        frontal = row["view"] == "frontal"
        turned = np.ascontiguousarray(np.rot90(image, 2, axes=(1, 2)))
        verdicts = [engine.inspect(each).accepted for each in (image, turned, -image)]
        wrong += [row["id"]] if verdicts != [frontal, False, False] else []
    assert len(wrong) <= 0.1 * len(rows), wrong


def test_the_engine_answers_in_text_and_draws_what_its_guard_knows(engine):
    drawing = engine.draw("The lungs are clear.", seed=0)
    assert set(drawing.codes) <= set(range(1024))
    report = engine.report(drawing.image)
    assert report.findings
    assert report.text.startswith("Findings:")
