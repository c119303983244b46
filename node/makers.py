"""Which objects a draft becomes: one row a kind of output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pydicom.dataset import Dataset

from node import fhir, hl7
from node.config_outputs import MessageKind, OutputKind, OutputSettings
from node.drafted import Drafted
from node.made import Made
from node.sc import build_synthetic_sc
from node.sr_narrative import build_draft_sr

Maker = Callable[[Drafted, OutputSettings], Dataset | Made | None]
"""Builds one kind of object or message; None where the site has it switched off."""


def make_objects(drafted: Drafted, settings: OutputSettings) -> Iterator[tuple[str, Made]]:
    """Yield all that leaves the node for a draft, with its kind."""
    for kind, make in MAKERS.items():
        made = make(drafted, settings)
        if made is not None:
            yield kind, Made.of(made) if isinstance(made, Dataset) else made


def _report(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    if not settings.report.enabled:
        return None
    source = drafted.film.ds
    return build_draft_sr(source, [source], drafted.draft, drafted.identity, settings.report)


def _synthetic(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    if drafted.drawing is None:
        return None
    return build_synthetic_sc(
        drafted.film.ds, drafted.drawing, drafted.identity, settings.synthetic
    )


def _pdf(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    if not settings.pdf.enabled:
        return None
    from node.pdf import build_pdf  # what draws pages takes long to load

    title = settings.report.title
    return build_pdf(drafted.film.ds, drafted.draft, drafted.identity, settings.pdf, title)


def _hl7(drafted: Drafted, settings: OutputSettings) -> Made | None:
    if settings.hl7.host is None:
        return None
    title = settings.report.title
    return hl7.build_oru(drafted.film.ds, drafted.draft, drafted.identity, settings.hl7, title)


def _fhir(drafted: Drafted, settings: OutputSettings) -> Made | None:
    if settings.fhir.url is None:
        return None
    title = settings.report.title
    return fhir.build_bundle(drafted.film.ds, drafted.draft, drafted.identity, settings.fhir, title)


MAKERS: Final[dict[OutputKind | MessageKind, Maker]] = {
    "report": _report,
    "synthetic": _synthetic,
    "pdf": _pdf,
    "hl7": _hl7,
    "fhir": _fhir,
}


def kinds_in_study(settings: OutputSettings) -> tuple[str, ...]:
    """Return the kinds of object that lie in the study that they were drafted from."""
    inside: tuple[OutputKind, ...] = ("report", "pdf")
    return (*inside, "synthetic") if settings.synthetic.identity == "same_study" else inside
