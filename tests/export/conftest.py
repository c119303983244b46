"""Exports of the miniature run of `tests/training`."""

import numpy as np
import pytest

from engine.pipeline import Engine
from export.bundle import export_bundle
from export.cli import LICENSE
from export.config import ExportSettings
from tests.training.conftest import base_dir, films_dir, recipe, trained

__all__ = ["base_dir", "films_dir", "recipe", "trained"]


@pytest.fixture(scope="session")
def bundle_dir(trained, tmp_path_factory):
    settings = ExportSettings(
        trained.run_dir, tmp_path_factory.mktemp("export") / "bundle", LICENSE, max_length=900
    )
    return export_bundle(settings, np.asarray(trained.images), trained.frontal("train"))


@pytest.fixture(scope="session")
def engine(bundle_dir):
    return Engine.load(bundle_dir, num_threads=1)
