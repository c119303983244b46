"""What viewers need of a report before they show it, as a table of rules. Pure functions.

A report can be legal and still invisible, or fell the page that shows it. Each rule stands for one
behaviour that was read in the source of a viewer (OHIF, Stone, Weasis) or met in an issue thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pydicom.dataset import Dataset

_MEASUREMENTS = "126000"
_IMAGING_MEASUREMENTS = "126010"
_LEAVES: Final = ("TEXT", "CODE")
_LINKS: Final = ("IMAGE", "COMPOSITE", "UIDREF")
_MAX_DESCRIPTION = 64
_EVIDENCE: Final = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")

Rule = Callable[[Dataset], bool]


def broken_rules(ds: Dataset) -> tuple[str, ...]:
    """Return what a viewer would stumble over in a structured report; empty: nothing."""
    return tuple(text for text, holds in RULES.items() if not holds(ds))


def crowded_series(objects: Sequence[Dataset]) -> tuple[str, ...]:
    """Return the series that hold more than one report: viewers show the first of them only."""
    counts = Counter(str(ds.SeriesInstanceUID) for ds in objects)
    return tuple(uid for uid, count in counts.items() if count > 1)


def _items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence") or ():
        yield item
        yield from _items(item)


def _name(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue", "")) if names else ""


def _is_named(ds: Dataset) -> bool:
    return bool(_name(ds)) and all(map(_name, _items(ds)))


def _template(ds: Dataset) -> str:
    templates = ds.get("ContentTemplateSequence")
    return str(templates[0].TemplateIdentifier) if templates else ""


def _title_fits(ds: Dataset) -> bool:
    return (_name(ds) == _MEASUREMENTS) == (_template(ds) == "1500")


def _has_measurements(ds: Dataset) -> bool:
    if _template(ds) != "1500":
        return True
    return any(
        _name(item) == _IMAGING_MEASUREMENTS and item.get("ContentSequence")
        for item in ds.get("ContentSequence") or ()
    )


def _status_is_told(ds: Dataset) -> bool:
    described = str(ds.get("SeriesDescription", ""))
    return "UNVERIFIED" in described.upper() and len(described) <= _MAX_DESCRIPTION


def _first_text_warns(ds: Dataset) -> bool:
    """Tell whether the first sentence of each section of the draft's own words is the warning."""
    sections = [
        item
        for item in ds.get("ContentSequence") or ()
        if item.ValueType == "CONTAINER" and _name(item) in ("121070", "121072")
    ]
    opened = [section.ContentSequence[0] for section in sections if section.get("ContentSequence")]
    if _template(ds) == "1500":
        return any("NOT VERIFIED" in str(item.get("TextValue", "")) for item in _items(ds))
    return bool(opened) and all("NOT VERIFIED" in str(item.get("TextValue", "")) for item in opened)


def _is_flat(ds: Dataset) -> bool:
    """Tell whether nothing but links hangs below a narrative's sentences and codes."""
    if _template(ds) == "1500":
        return True
    return all(
        child.ValueType in _LINKS
        for item in _items(ds)
        if item.ValueType in _LEAVES
        for child in item.get("ContentSequence") or ()
    )


def _one_line_a_text(ds: Dataset) -> bool:
    texts = (str(item.TextValue) for item in _items(ds) if item.ValueType == "TEXT")
    return not any({"\r", "\n", "\t"} & set(text) for text in texts)


def _evidence(ds: Dataset) -> list[str]:
    return [
        str(sop.ReferencedSOPInstanceUID)
        for keyword in _EVIDENCE
        for study in ds.get(keyword) or ()
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    ]


def _evidence_is_whole(ds: Dataset) -> bool:
    referenced = {
        str(sop.ReferencedSOPInstanceUID)
        for item in _items(ds)
        if item.ValueType == "IMAGE"
        for sop in item.ReferencedSOPSequence
    }
    named = _evidence(ds)
    return bool(named) and len(named) == len(set(named)) and referenced <= set(named)


RULES: Final[dict[str, Rule]] = {
    "modality is not SR: Stone hides it": lambda ds: ds.get("Modality") == "SR",
    "an item has no concept name: OHIF falls over it": _is_named,
    "title 126000 and template 1500 go together: OHIF takes one for the other": _title_fits,
    "a measurement report without measurements: OHIF falls over it": _has_measurements,
    "the series does not say UNVERIFIED: the only status that most viewers show": _status_is_told,
    "no completion flag description: dsr2html and Weasis print it": lambda ds: bool(
        ds.get("CompletionFlagDescription")
    ),
    "it is not UNVERIFIED": lambda ds: ds.get("VerificationFlag") == "UNVERIFIED",
    "the first text of a section is not the warning": _first_text_warns,
    "something hangs below a sentence or code: OHIF does not show it": _is_flat,
    "a text has several lines: viewers run them together": _one_line_a_text,
    "evidence is missing, doubled or incomplete: Stone refuses the report": _evidence_is_whole,
}
"""What is wrong where a rule does not hold, and the rule."""
