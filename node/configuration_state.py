"""Which configuration is in force, and what was wrong with a newer one; for people to see."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_NAME = "configuration.json"


@dataclass(frozen=True)
class ConfigurationState:
    """The configuration in force."""

    loaded_at: float
    """When it was put into force, in seconds since 1970."""
    path: str = ""
    """Its file; empty where there is none."""
    problems: tuple[str, ...] = ()
    """Why a newer file was not taken; none where the newest is in force."""
    refused_at: float | None = None
    """When that was."""

    def as_json(self) -> dict[str, Any]:
        """Return the state as JSON-ready values."""
        return asdict(self)


def write_state(root: Path, state: ConfigurationState) -> None:
    """Leave the state in the storage root, for `cxr-node status`; a full disk ends nothing."""
    aside = root / f"{_NAME}.partial"
    with suppress(OSError):
        aside.write_text(json.dumps(state.as_json()), encoding="utf-8")
        aside.replace(root / _NAME)


def read_state(root: Path) -> ConfigurationState | None:
    """Return the state that the last node left in a storage root; None where there is none."""
    try:
        values = json.loads((root / _NAME).read_bytes())
        return ConfigurationState(**{**values, "problems": tuple(values["problems"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
