"""Reading config.yaml: the file, the environment over it, and every error at once.

An environment variable names a setting by its path: `CXR_NODE__PORT=104` is `node.port`,
`CXR_PEERS__HOSPITAL_PACS__HOST=10.0.0.5` is `peers.hospital-pacs.host`. Its value is read as YAML.
`CXR_SECRETS_DIR` names a folder whose files do the same by their names (`node.config_over`). The
environment counts before that folder, the folder before the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from node.config import PeerSettings, Settings
from node.config_over import Override, overrides
from node.config_rules import RuleSettings
from node.config_section import Place as Location
from node.errors import ConfigInvalid, ConfigProblem

DEFAULT_CONFIG = Path("config.yaml")

_DEFAULT_HINT = "the shipped config.yaml explains every key"

_HINTS = {
    "missing": "add the key",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "write text, in quotes if it looks like a number",
    "tuple_type": "write a list: [a, b]",
    "list_type": "write a list: [a, b]",
    "dict_type": "write indented keys below it",
    "model_type": "write indented keys below it",
}


@dataclass
class _Source:
    """What was written, where each key stands, and what is wrong already."""

    origin: str
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Location, int] = field(default_factory=dict)
    overridden: dict[Location, str] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)


@dataclass(frozen=True)
class Loaded:
    """The settings, and where each was written."""

    settings: Settings
    path: Path | None
    """The file; None where there is none."""
    origins: Mapping[str, str]
    """`FILE:LINE`, `environment NAME` or `secrets NAME` by dotted path; others have defaults."""


def load_settings(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the settings; see `load`."""
    return load(path, environment).settings


def load(path: Path | None, environment: Mapping[str, str]) -> Loaded:
    """Read the settings, and where each was written.

    Parameters
    ----------
    path
        The YAML file; None takes `config.yaml` if there is one, else the defaults.
    environment
        Variables that start with `CXR_` and name a setting override the file.

    Raises
    ------
    ConfigInvalid
        Lists every problem, each with its dotted path, line and a hint.
    """
    chosen = path or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    source = _read(chosen) if chosen else _Source("defaults")
    for override in overrides(environment):
        _apply(source, override)
    try:
        settings = Settings.model_validate(source.values)
    except ValidationError as error:
        source.problems += [_explain(fault, source) for fault in error.errors()]
        raise ConfigInvalid(_in_order(source.problems)) from None
    if source.problems:
        raise ConfigInvalid(_in_order(source.problems))
    resolved = _resolve_paths(settings, chosen.parent if chosen else Path())
    return Loaded(resolved, chosen, _origins(source))


def _origins(source: _Source) -> dict[str, str]:
    written = {dotted(here): f"{source.origin}:{line}" for here, line in source.lines.items()}
    return written | {dotted(here): origin for here, origin in source.overridden.items()}


def _in_order(problems: list[ConfigProblem]) -> list[ConfigProblem]:
    return sorted(problems, key=lambda problem: (problem.line or 0, problem.path))


def _resolve_paths(settings: Settings, base: Path) -> Settings:
    """Read relative paths as relative to the configuration file."""
    resolved: Settings = _resolved(settings, base)
    return resolved


def _resolved(value: Any, base: Path) -> Any:
    """Return a setting, or a section with all below it, with absolute paths."""
    if isinstance(value, Path):
        return (base / value).absolute()
    if not isinstance(value, BaseModel):
        return value
    return value.model_copy(update={name: _resolved(below, base) for name, below in value})


def _read(path: Path) -> _Source:
    """Parse a YAML file, keeping the line of every key."""
    source = _Source(path.name)
    try:
        tree = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ConfigInvalid([ConfigProblem("", None, reason, origin=str(path))]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        text = getattr(error, "problem", None) or "this is not UTF-8 text"
        problem = ConfigProblem("", line, f"not valid YAML: {text}", origin=path.name)
        raise ConfigInvalid([problem]) from None
    if tree is None:
        return source
    if not isinstance(tree, yaml.MappingNode):
        text = "the file must hold keys and values"
        raise ConfigInvalid([ConfigProblem("", 1, text, origin=path.name)])
    source.values = _plain(tree, (), source)
    return source


def _plain(tree: yaml.Node, here: Location, source: _Source) -> Any:
    """Return a YAML node as plain values, noting lines and repeated keys."""
    source.lines.setdefault(here, tree.start_mark.line + 1)
    if isinstance(tree, yaml.MappingNode):
        return {
            name: _plain(value, (*here, name), source) for name, value in _keys(tree, here, source)
        }
    if isinstance(tree, yaml.SequenceNode):
        return [_plain(value, (*here, i), source) for i, value in enumerate(tree.value)]
    return yaml.SafeLoader("").construct_object(tree)


def _keys(
    tree: yaml.MappingNode, here: Location, source: _Source
) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the keys of a mapping; a key written twice is a problem."""
    for key_node, value in tree.value:
        name, line = str(key_node.value), key_node.start_mark.line + 1
        if (*here, name) in source.lines:
            source.problems.append(
                ConfigProblem(
                    dotted((*here, name)),
                    line,
                    f"written twice (first on line {source.lines[(*here, name)]})",
                    "keep one of them",
                    source.origin,
                )
            )
        source.lines[(*here, name)] = line
        yield name, value


def _apply(source: _Source, override: Override) -> None:
    """Write a value over what the file says."""
    here: Location = ()
    section = source.values
    for part in override.parts[:-1]:
        here = (*here, _match(section, part))
        section = _descend(section, here[-1])
    here = (*here, _match(section, override.parts[-1]))
    section[str(here[-1])] = override.value
    source.lines = {at: line for at, line in source.lines.items() if at[: len(here)] != here}
    for below in _keys_of(override.value):
        source.overridden[*here, *below] = override.origin


def _keys_of(value: object) -> Iterator[Location]:
    """Yield the way to a value, which is none, and to every key below it."""
    yield ()
    for name, below in value.items() if isinstance(value, dict) else ():
        yield from ((str(name), *rest) for rest in _keys_of(below))


def _match(section: dict[str, Any], part: str) -> str:
    """Return the key that a part of a variable's name means; `_` may stand for `-`."""
    return next((name for name in section if name.replace("-", "_").lower() == part), part)


def _descend(section: dict[str, Any], name: str | int) -> dict[str, Any]:
    """Return the mapping below a key, making it where there is none."""
    below = section.get(str(name))
    if not isinstance(below, dict):
        below = {}
        section[str(name)] = below
    return below


def _explain(fault: Any, source: _Source) -> ConfigProblem:
    """Turn one fault of pydantic into a problem with place and cure."""
    here: Location = tuple(part for part in fault["loc"] if part != "[key]")
    message = str(fault["msg"]).removeprefix("Value error, ")
    hint = _HINTS.get(fault["type"], _DEFAULT_HINT)
    if fault["type"] == "extra_forbidden":
        message, hint = "there is no such key", _similar(here)
    origin = source.overridden.get(here)
    if origin:
        return ConfigProblem(dotted(here), None, message, hint, origin)
    return ConfigProblem(dotted(here), _line(here, source), message, hint, source.origin)


def _line(here: Location, source: _Source) -> int | None:
    """Return the line of a key, or of the nearest key above it."""
    while here and here not in source.lines:
        here = here[:-1]
    return source.lines.get(here)


def dotted(here: Location) -> str:
    """Return a location as `a.b[0].c`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in here)
    return text.removeprefix(".")


def _similar(here: Location) -> str:
    """Suggest the nearest known key."""
    known = list(_fields_at(here[:-1]))
    near = difflib.get_close_matches(str(here[-1]), known, n=1)
    if near:
        return f"did you mean `{near[0]}`"
    return f"known keys: {', '.join(known)}" if known else ""


def _fields_at(here: Location) -> tuple[str, ...]:
    """Return the names of the settings below a location."""
    model: type[BaseModel] = Settings
    for part in here:
        if model is PeerSettings:
            return ()
        if part == "rules":
            return tuple(RuleSettings.model_fields) if len(here) > 2 else ()
        if part == "peers":
            return tuple(PeerSettings.model_fields) if len(here) > 1 else ()
        annotation = model.model_fields[str(part)].annotation
        if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
            return ()
        model = annotation
    return tuple(model.model_fields)
