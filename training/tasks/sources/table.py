"""The collections that can be read, by the name that a mixture gives them."""

from __future__ import annotations

from collections.abc import Mapping

from training.tasks.sources.base import Source

SOURCES: Mapping[str, Source] = {}
