"""The JSON Schema of config.yaml for editors: shapes from settings, words from comments."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from node.config import Settings
from node.config_shipped import EXAMPLE_PEER, comments, shipped_text

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"


def config_schema() -> dict[str, Any]:
    """Return the schema; each key is described by its comment in the shipped file.

    Sections stand where they are used, for the same section is explained otherwise elsewhere.
    """
    schema = Settings.model_json_schema()
    sections = schema.pop("$defs")
    _describe(schema, "", sections, comments(shipped_text()))
    return {"$schema": DIALECT, **schema, "title": "config.yaml of cxr-node"}


def _describe(
    section: dict[str, Any], path: str, sections: Mapping[str, Any], words: Mapping[str, str]
) -> None:
    """Describe the keys of a section, and of those below it."""
    for name, field in section.get("properties", {}).items():
        key = f"{path}.{name}".removeprefix(".")
        for place, where in (
            (field, key),
            (field.get("additionalProperties"), f"{key}.{EXAMPLE_PEER}"),
            (field.get("items"), f"{key}.[]"),
        ):
            if isinstance(place, dict) and "$ref" in place:
                below = deepcopy(sections[place.pop("$ref").removeprefix(_REF)])
                _describe(below, where, sections, words)
                place.update(below | place)
        if key in words:
            field["description"] = words[key]
