"""The model that the configuration names, loaded."""

from __future__ import annotations

from node.config import Settings
from node.ports import Drafter


def load_engine(settings: Settings) -> Drafter:
    """Load the model.

    Raises
    ------
    BundleError, BackendUnavailable
        The bundle is refused, or nothing here can run it.
    """
    from engine.pipeline import Engine  # its networks take long to load: not for `--help`

    return Engine.load(
        settings.engine.bundle,
        backend=settings.engine.backend,
        num_threads=settings.engine.num_threads,
    )
