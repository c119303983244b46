"""The JSON Schema of config.yaml for editors: shapes from settings, words from comments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from node.config import Settings
from node.config_shipped import EXAMPLE_PEER, comments, shipped_text

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"


def config_schema() -> dict[str, Any]:
    """Return the schema; each key is described by its comment in the shipped file."""
    schema = Settings.model_json_schema()
    _describe(schema, "", schema.get("$defs", {}), comments(shipped_text()))
    return {"$schema": DIALECT, **schema, "title": "config.yaml of cxr-node"}


def _describe(
    section: dict[str, Any], path: str, sections: Mapping[str, Any], words: Mapping[str, str]
) -> None:
    """Describe the keys of a section, and of those below it."""
    for name, field in section.get("properties", {}).items():
        key = f"{path}.{name}".removeprefix(".")
        below, where = _below(field, key)
        if key in words:
            field["description"] = words[key]
        if below in sections:
            _describe(sections[below], where, sections, words)


def _below(field: Mapping[str, Any], key: str) -> tuple[str, str]:
    """Return the section that a key holds, alone, by name or in a list, and where it is shown."""
    for place, where in (
        (field, key),
        (field.get("additionalProperties"), f"{key}.{EXAMPLE_PEER}"),
        (field.get("items"), f"{key}.[]"),
    ):
        if isinstance(place, Mapping) and "$ref" in place:
            return str(place["$ref"]).removeprefix(_REF), where
    return "", key
