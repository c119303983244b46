"""What training films look like, in a bundle: written, read, and nothing else touched."""

import json
import shutil

import numpy as np
import pytest

from engine.bundle import DEMO, MANIFEST, open_bundle
from engine.statistics import ROLE, FilmStatistics
from export.errors import ExportError
from export.films import RunFilms
from export.statistics import MAX_FILMS, add_statistics, spread


def films(number, view="frontal"):
    rng = np.random.default_rng(0)
    row = {"view": view, "split": "train", "orig_width": 400, "orig_height": 500}
    images = rng.integers(0, 256, (number, 256, 256), dtype=np.uint8)
    return RunFilms([row] * number, images)


def test_a_bundle_gets_its_statistics_and_nothing_else_changes(tmp_path):
    directory = shutil.copytree(DEMO, tmp_path / "bundle")
    before = open_bundle(directory).manifest
    found = add_statistics(directory, films(5), "9.9.9")
    after = open_bundle(directory)
    assert after.version == "9.9.9"
    assert FilmStatistics.read(after.path(ROLE)) == found
    assert found.num_films == 5
    assert found.features["aspect"].edges == (1.25,)
    rest = {key: value for key, value in after.manifest.items() if key not in ("version", "files")}
    assert rest == {key: before[key] for key in rest}
    for role, entry in before["files"].items():
        assert role == ROLE or after.manifest["files"][role] == entry


def test_a_run_without_frontal_films_is_refused(tmp_path):
    directory = shutil.copytree(DEMO, tmp_path / "bundle")
    with pytest.raises(ExportError, match="no frontal"):
        add_statistics(directory, films(3, "lateral"))


def test_films_are_taken_from_all_over_the_catalog():
    assert spread(np.arange(10)).tolist() == list(range(10))
    taken = spread(np.arange(3 * MAX_FILMS))
    assert len(set(taken.tolist())) == MAX_FILMS
    assert (taken[0], taken[-1]) == (0, 3 * MAX_FILMS - 1)


def test_the_manifest_stays_as_it_is_written(tmp_path):
    directory = shutil.copytree(DEMO, tmp_path / "bundle")
    version = open_bundle(directory).version
    add_statistics(directory, films(2))
    text = (directory / MANIFEST).read_text()
    assert json.loads(text)["version"] == version
    assert text.endswith("}\n")
