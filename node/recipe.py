"""How a synthetic film was drawn, written into it: enough to draw the very same film again.

A private block, since no standard attribute holds a prompt of any length: creator
``CXR-NODE RECIPE``, group 0099, element 01, UT, JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from pydicom.dataset import Dataset

from engine.results import Drawing
from node.errors import NodeError

GROUP = 0x0099
CREATOR = "CXR-NODE RECIPE"
_ELEMENT = 0x01


class NoRecipe(NodeError):
    """The object does not say how it was drawn."""

    default_hint = "only synthetic films of this node can be drawn again"


@dataclass(frozen=True)
class Recipe:
    """What `engine.pipeline.Engine.draw` needs, and the bundle that it needs it of."""

    prompt: str
    seed: int
    bundle_digest: str
    bundle_version: str
    prompt_version: str
    backend: str


def write_recipe(ds: Dataset, drawing: Drawing) -> None:
    """Write how a film was drawn."""
    made = drawing.provenance
    recipe = Recipe(
        prompt=drawing.prompt,
        seed=made.seed or 0,
        bundle_digest=made.bundle_digest,
        bundle_version=made.bundle_version,
        prompt_version=made.prompt_version,
        backend=made.backend,
    )
    block = ds.private_block(GROUP, CREATOR, create=True)
    block.add_new(_ELEMENT, "UT", json.dumps(asdict(recipe)))


def read_recipe(ds: Dataset) -> Recipe:
    """Return how a film was drawn.

    Raises
    ------
    NoRecipe
        It has no such block, or one that cannot be read.
    """
    try:
        text = ds.private_block(GROUP, CREATOR)[_ELEMENT].value
        return Recipe(**json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise NoRecipe from error
