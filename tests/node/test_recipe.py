"""A synthetic film tells how it was drawn: from the object alone the very same film is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from engine.pipeline import Engine
from node.config_outputs import SyntheticSettings
from node.recipe import NoRecipe, read_recipe
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
