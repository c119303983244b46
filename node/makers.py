"""Which objects a draft becomes: one row a kind of output."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Final

from pydicom.dataset import Dataset

from engine.assessment import disagreement
from node import fhir, hl7
from node.config_kinds import MessageKind, OutputKind
from node.config_outputs import OutputSettings
from node.drafted import Drafted
from node.heatmap import build_heatmap
from node.made import Made
from node.outputs import BASIC_TEXT, COUNTERFACTUAL, FINDINGS, HEATMAP, REPORT, SYNTHETIC
from node.records import ImageReference, ShownParts
from node.rules import is_synthetic
from node.sc import build_synthetic_sc
from node.sr_document import Basis
from node.sr_findings import build_findings_sr
from node.sr_narrative import Words, build_draft_sr, words_of
from node.sr_review import add_review, lines_of

_SYNTHETIC: Final = "The film of this draft is synthetic: it shows nobody."
"""Said in words, too: HL7 and FHIR have no mark for it."""

Maker = Callable[[Drafted, OutputSettings], Dataset | Made | None]
"""Builds one kind of object or message; None where the site has it switched off."""


def make_objects(
    drafted: Drafted, settings: OutputSettings, wanted: Collection[str]
) -> Iterator[tuple[str, Made]]:
    """Yield all that is made of a draft, with its kind.

    The report and synthetic films are made for the site, whether or not they are sent; the other
    kinds only where a destination wants them.
    """
    for kind, make in MAKERS.items():
        made = make(drafted, settings) if kind in wanted or kind in KEPT else None
        if made is not None:
            yield kind, Made.of(made) if isinstance(made, Dataset) else made


def _report(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    if not settings.report.enabled:
        return None
    ds = build_draft_sr(_basis(drafted), _words(drafted), drafted.identity, settings.report)
    add_review(ds, drafted.review)
    return ds


def _findings(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    basis = _basis(drafted)
    return build_findings_sr(
        replace(basis, images=basis.images[:1]),  # the classifier saw the frontal film alone
        drafted.assessments,
        drafted.draft.text,
        drafted.identity,
        settings.findings,
        is_edited=drafted.review is not None and drafted.review.is_edited,
    )


def _synthetic(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    if drafted.drawing is None:
        return None
    return build_synthetic_sc(
        drafted.film.ds, drafted.drawing, drafted.identity, settings.synthetic, SYNTHETIC
    )


def _counterfactual(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    missing = drafted.counterfactual
    if missing is None:
        return None
    return build_synthetic_sc(
        drafted.film.ds,
        missing.drawing,
        drafted.identity,
        settings.synthetic,
        COUNTERFACTUAL,
        note=f"counterfactual: the same report without {missing.finding.lower()}",
    )


def _heatmap(drafted: Drafted, settings: OutputSettings) -> Dataset | None:
    return build_heatmap(
        drafted.film,
        drafted.assessments,
        drafted.evidence,
        drafted.draft.provenance,
        drafted.identity,
        settings.heatmap,
    )


def _pdf(drafted: Drafted, settings: OutputSettings) -> Dataset:
    from node.pdf import build_pdf  # what draws pages takes long to load

    told = (_basis(drafted), _words(drafted), drafted.identity)
    return build_pdf(*told, settings.pdf, settings.report.title)


def _hl7(drafted: Drafted, settings: OutputSettings) -> Made:
    told = (_basis(drafted), _words(drafted), drafted.identity)
    return hl7.build_oru(*told, settings.hl7, settings.report.title)


def _fhir(drafted: Drafted, settings: OutputSettings) -> Made:
    told = (_basis(drafted), _words(drafted), drafted.identity)
    return fhir.build_bundle(*told, settings.fhir, settings.report.title)


def _basis(drafted: Drafted) -> Basis:
    """Return what the drafted text rests on."""
    source, parts = drafted.film.ds, drafted.parts
    earlier = drafted.earlier and drafted.earlier.ds
    images = [source, *([_referenced(parts.lateral)] if parts.lateral else [])]
    other = [*([earlier] if earlier else []), *_film_before(parts)]
    return Basis(source, images, drafted.draft.provenance, other)


def _film_before(parts: ShownParts) -> list[Dataset]:
    return [_referenced(parts.previous.film)] if parts.previous else []


def _referenced(image: ImageReference) -> Dataset:
    """Return as much of an image as refers to it."""
    ds = Dataset()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = image.study_uid, image.series_uid
    ds.SOPClassUID, ds.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    return ds


def _words(drafted: Drafted) -> Words:
    """Return what is said of the film: the same in every form that the draft takes."""
    earlier, review = drafted.earlier, drafted.review
    words = words_of(
        _basis(drafted),
        drafted.draft,
        remarks=[
            *([_SYNTHETIC] if is_synthetic(drafted.film.ds) else ()),
            *(text for one in drafted.assessments if (text := disagreement(one))),
        ],
        prior_date=earlier.prior.date if earlier else "",
        previous_date=drafted.parts.previous.date if drafted.parts.previous else "",
    )
    return replace(words, addendum=tuple(lines_of(review))) if review else words


KEPT: Final = ("report", "synthetic", "counterfactual")
"""Made even where nobody is to be sent them."""

MAKERS: Final[dict[OutputKind | MessageKind, Maker]] = {
    "report": _report,
    "findings": _findings,
    "synthetic": _synthetic,
    "counterfactual": _counterfactual,
    "heatmap": _heatmap,
    "pdf": _pdf,
    "hl7": _hl7,
    "fhir": _fhir,
}


def kinds_in_study(settings: OutputSettings) -> tuple[str, ...]:
    """Return the kinds of object that lie in the study that they were drafted from."""
    inside = (REPORT, BASIC_TEXT, FINDINGS, HEATMAP, "pdf")
    drawn = (SYNTHETIC, COUNTERFACTUAL)
    return (*inside, *drawn) if settings.synthetic.identity == "same_study" else inside
