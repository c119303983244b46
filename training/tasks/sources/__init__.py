"""Readers of published collections, each of its own columns: `SOURCES` by name."""

from training.tasks.sources.table import SOURCES

__all__ = ["SOURCES"]
