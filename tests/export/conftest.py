"""Exports of the miniature run of `tests/training`."""

import pytest

from engine.pipeline import Engine
from tests.training.conftest import base_dir, bundle_dir, films_dir, recipe, trained

__all__ = ["base_dir", "bundle_dir", "films_dir", "recipe", "trained"]


@pytest.fixture(scope="session")
def engine(bundle_dir):
    return Engine.load(bundle_dir, num_threads=1)
