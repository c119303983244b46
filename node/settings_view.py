"""Settings as a list: every key by its dotted path, with its value and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from pydantic import BaseModel

from node.config import Settings

HIDDEN: Final = "(hidden)"


@dataclass(frozen=True)
class Effective:
    """One key as it is in force."""

    key: str
    value: Any
    """As YAML would hold it; hidden where it is itself a secret."""
    origin: str
    """`default`, `config.yaml:LINE`, `environment NAME` or `secrets NAME`."""


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield every setting below a section by its dotted path."""
    if isinstance(value, BaseModel):
        below: Mapping[str, object] = dict(value)
    elif isinstance(value, Mapping):
        below = value
    else:
        yield path, value
        return
    for name, leaf in below.items():
        yield from leaves(leaf, f"{path}.{name}".removeprefix("."))


def changed(before: Settings, after: Settings) -> tuple[str, ...]:
    """Return the dotted paths of the settings that differ, in alphabetical order."""
    old, new = dict(leaves(before)), dict(leaves(after))
    return tuple(sorted(key for key in {*old, *new} if old.get(key, ...) != new.get(key, ...)))


def effective(settings: Settings, origins: Mapping[str, str]) -> list[Effective]:
    """Return every key with its value and origin; no secret is shown.

    Parameters
    ----------
    origins
        Where keys were written, by their dotted paths (`node.config_file.Loaded.origins`); what is
        not in it has its default.
    """
    return [
        Effective(key, _shown(value, origin), origin)
        for key, value in leaves(settings)
        for origin in [origins.get(key, "default")]
    ]


def _shown(value: object, origin: str) -> Any:
    is_path = isinstance(value, PurePath)
    return HIDDEN if origin.startswith("secrets ") and not is_path else _plain(value)


def _plain(value: object) -> Any:
    """Return a value as JSON can hold it."""
    match value:
        case BaseModel():
            return {name: _plain(below) for name, below in value}
        case Mapping():
            return {str(name): _plain(below) for name, below in value.items()}
        case tuple() | list():
            return [_plain(one) for one in value]
        case PurePath():
            return str(value)
    return value
