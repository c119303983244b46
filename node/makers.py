"""Which objects a draft becomes: one row a kind of output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pydicom.dataset import Dataset

from node.config_outputs import OutputKind, OutputSettings
from node.drafted import Drafted
from node.sc import build_synthetic_sc
from node.sr_narrative import build_draft_sr
from node.sr_review import add_review

Maker = Callable[[Drafted, OutputSettings], Dataset | None]
"""Builds one kind of object; None where the site has it switched off."""


def make_objects(drafted: Drafted, settings: OutputSettings) -> Iterator[tuple[str, Dataset]]:
    """Yield every object that leaves the node for a draft, with its kind."""
    for kind, make in MAKERS.items():
        ds = make(drafted, settings)
        if ds is not None:
            yield kind, ds


def _report(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    if not settings.report.enabled:
        return None
    source = drafted.film.ds
    ds = build_draft_sr(source, [source], drafted.draft, drafted.identity, settings.report)
    add_review(ds, drafted.review)
    return ds


def _synthetic(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    if drafted.drawing is None:
        return None
    return build_synthetic_sc(
        drafted.film.ds, drafted.drawing, drafted.identity, settings.synthetic
    )


MAKERS: Final[dict[OutputKind, Maker]] = {"report": _report, "synthetic": _synthetic}
