"""Synthetic films on request: drawn from a text, or drawn again from what a film says of itself."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset

from node.config_outputs import SyntheticSettings
from node.errors import NodeError
from node.outputs import OutputIdentity
from node.ports import Drafter
from node.recipe import read_recipe
from node.sc import build_synthetic_sc, missing_marks
from node.uids import derive_uid


class OtherModel(NodeError):
    """The film was drawn by another model than the one that is loaded."""

    default_hint = "point engine.bundle at the bundle that it names"


def draw_film(
    engine: Drafter, text: str, *, seed: int, now: datetime, settings: SyntheticSettings
) -> Dataset:
    """Return a film drawn from a text, filed under a patient that does not exist.

    Parameters
    ----------
    now
        When it is drawn, with its time zone.

    Raises
    ------
    EngineError
        The model could not draw.
    """
    drawing = engine.draw(text, seed=seed)
    identity = OutputIdentity(
        study_instance_uid=derive_uid("drawn on request", engine.digest, text, str(seed)),
        generation=1,
        bundle_digest=engine.digest,
        device_uid=engine.device_uid,
        algorithm_name=engine.name,
        algorithm_version=engine.version,
        created_at=now,
    )
    return build_synthetic_sc(None, drawing, identity, settings)


def redraw(engine: Drafter, ds: Dataset) -> bool:
    """Draw a film again from the object alone; tell whether it is the identical film.

    Raises
    ------
    NoRecipe
        The object does not say how it was drawn.
    OtherModel
        It was drawn by another bundle.
    """
    recipe = read_recipe(ds)
    if recipe.bundle_digest != engine.digest:
        raise OtherModel(
            f"drawn by bundle {recipe.bundle_version}, sha256 {recipe.bundle_digest[:12]}"
        )
    again = draw_film(
        engine,
        recipe.prompt,
        seed=recipe.seed,
        now=datetime.now().astimezone(),
        settings=SyntheticSettings(bits=16 if ds.BitsAllocated == 16 else 8),
    )
    return not missing_marks(ds) and np.array_equal(
        np.frombuffer(again.PixelData, np.uint8), np.frombuffer(ds.PixelData, np.uint8)
    )
