"""A synthetic film tells how it was drawn: from the object alone the very same film is drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydicom import dcmread

from engine.pipeline import Engine
from node.cli import main
from node.config_outputs import SyntheticSettings
from node.drawing import OtherModel, redraw
from node.recipe import NoRecipe, read_recipe
from node.sc import RESEARCH_NAME, missing_marks
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.outputs_made import draft_sr, identity, read_back, synthetic_sc


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 16])
def test_the_identical_film_is_drawn_again_from_the_object_alone(bits):
    engine = Engine.load()
    settings = SyntheticSettings(enabled=True, bits=bits)
    first = engine.draw("The heart is enlarged. No pneumothorax.", seed=11)
    sent = read_back(synthetic_sc(phantom(), drawing=first, settings=settings))
    recipe = read_recipe(sent)
    assert recipe.bundle_digest == engine.digest
    again = synthetic_sc(
        phantom(), drawing=engine.draw(recipe.prompt, seed=recipe.seed), settings=settings
    )
    assert again.PixelData == sent.PixelData


def test_an_object_without_a_recipe_says_so():
    with pytest.raises(NoRecipe):
        read_recipe(draft_sr())


def test_a_film_of_sixteen_bits_uses_them():
    ds = synthetic_sc(settings=SyntheticSettings(enabled=True, bits=16), identity=identity())
    film = np.frombuffer(ds.PixelData, "<u2")
    assert ds.BitsStored == 16
    assert len(np.unique(film)) > 4096


@pytest.mark.slow
def test_a_film_is_drawn_on_request_and_again_by_the_command(tmp_path, capsys):
    path, config = tmp_path / "film.dcm", tmp_path / "config.yaml"
    config.write_text("{}")
    verb = ["draw", "Large left pleural effusion.", "-c", str(config), "--seed", "3"]
    assert main([*verb, "--output", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(path)
    film = dcmread(path)
    assert missing_marks(film) == ()
    assert str(film.PatientName) == RESEARCH_NAME
    assert main(["redraw", "-c", str(config), str(path)]) == 0
    assert "the identical film" in capsys.readouterr().out
    pixels = bytearray(film.PixelData)
    pixels[100_000] ^= 1
    film.PixelData = bytes(pixels)
    film.save_as(path, enforce_file_format=True)
    assert main(["redraw", "-c", str(config), str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["is_identical"] is False


def test_a_film_of_another_model_is_not_drawn_again():
    with pytest.raises(OtherModel, match="drawn by bundle"):
        redraw(FakeEngine(), synthetic_sc())
