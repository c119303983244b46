"""Findings as words in a prompt: what the classifier sees, told to the language model.

The image codes say what a film looks like; a line of likely findings says what a network trained
for nothing else makes of it (the device of RaDialog, arXiv 2311.18681, section 3). A bundle that
was trained with such lines holds one threshold a finding; without thresholds there is no line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from engine.findings import FINDINGS

NAMES: tuple[str, ...] = FINDINGS[1:]
"""Every observation but ``No Finding``, which is what an empty line says."""

HEADING = "Likely findings: "
NOTHING = "none"


def likely(chances: Mapping[str, float], thresholds: Mapping[str, float]) -> frozenset[str]:
    """Return the findings whose probability reaches their threshold."""
    return frozenset(name for name, least in thresholds.items() if chances[name] >= least)


def line(names: Collection[str]) -> str:
    """Return the prompt's line for a set of findings, in the order of `engine.findings`."""
    listed = ", ".join(name.lower() for name in NAMES if name in names)
    return f"{HEADING}{listed or NOTHING}."
