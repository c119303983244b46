"""What is written over config.yaml: environment variables, and the files of a secrets folder.

Docker and Kubernetes mount each secret as a file. One that is named like a variable sets the same
key: `CXR_NODE__PORT` to what it holds. Where the key itself names a file, it is set to the path of
the secret: `CXR_NODE__LEDGER__PASSWORD_FILE`, or shorter `CXR_NODE__LEDGER__PASSWORD`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from node.config import Settings
from node.errors import ConfigInvalid, ConfigProblem

SECRETS_DIR: Final = "CXR_SECRETS_DIR"
_PREFIX = "CXR_"
_FILE = "_file"
_TOP_KEYS = tuple(Settings.model_fields)


@dataclass(frozen=True)
class Override:
    """A value for one key, and where it is from."""

    parts: tuple[str, ...]
    """The key, in lower case; `_` may stand for `-`."""
    value: Any
    origin: str


def overrides(environment: Mapping[str, str]) -> Iterator[Override]:
    """Yield what is to be written over the file, what counts more after what counts less.

    Raises
    ------
    ConfigInvalid
        A value is no YAML, or the secrets folder cannot be read.
    """
    folder = environment.get(SECRETS_DIR)
    if folder:
        yield from _of_folder(Path(folder))
    for name, text in sorted(environment.items()):
        parts = _parts(name)
        if parts:
            origin = f"environment {name}"
            yield Override(parts, _read(text, parts, origin), origin)


def _parts(name: str) -> tuple[str, ...]:
    """Return the key that a name means; none where it means none."""
    parts = name.removeprefix(_PREFIX).lower().split("__")
    is_key = name.startswith(_PREFIX) and parts[0] in _TOP_KEYS and len(parts) > 1
    return tuple(parts) if is_key else ()


def _of_folder(folder: Path) -> Iterator[Override]:
    origin = f"environment {SECRETS_DIR}"
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and _parts(path.name))
        for path in files:
            yield _of_file(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = f"{folder} cannot be read: {getattr(error, 'strerror', None) or 'no text'}"
        hint = "name the folder where the secrets are mounted"
        raise ConfigInvalid([ConfigProblem("", None, reason, hint, origin)]) from None


def _of_file(path: Path) -> Override:
    *above, last = _parts(path.name)
    origin = f"secrets {path.name}"
    for name in (last, last + _FILE):
        if _is_path(*above, name):
            return Override((*above, name), str(path.absolute()), origin)
    parts = (*above, last)
    return Override(parts, _read(path.read_text(encoding="utf-8"), parts, origin), origin)


def _is_path(*parts: str) -> bool:
    """Tell whether a key names a file."""
    model: Any = Settings
    for part in parts:
        field = model.model_fields.get(part) if _is_section(model) else None
        if field is None:
            return False
        model = field.annotation
    return model in (Path, Path | None)


def _is_section(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _read(text: str, parts: tuple[str, ...], origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        problem = ConfigProblem(".".join(parts), None, "not valid YAML", "quote it", origin)
        raise ConfigInvalid([problem]) from None
