"""What can go wrong while training, on the project's one tree.

::

    CxrError
    └── TrainingError
        ├── RecipeError
        ├── CatalogError
        ├── VqaError
        ├── TaskTableError
        ├── AdoptionError
        └── JobError
"""

from __future__ import annotations

from engine.errors import CxrError


class TrainingError(CxrError):
    """Training cannot go on."""


class RecipeError(TrainingError):
    """The recipe is not valid."""


class CatalogError(TrainingError):
    """The catalog of films cannot be built or read."""


class VqaError(TrainingError):
    """The table of questions cannot be made or read."""


class AdoptionError(TrainingError):
    """The bundle cannot be trained on."""


class JobError(TrainingError):
    """A bulk job cannot be started or finished."""


class TaskTableError(TrainingError):
    """The instruction rows cannot be made or read."""
