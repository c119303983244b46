"""Which instances may be drafted from, and in which order they are tried. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.attributes import Attributes
from node.authored import equipment_purposes
from node.codes import SYNTHESIZING_EQUIPMENT
from node.sop_classes import FOR_PROCESSING
from node.uids import MANUFACTURER

_SR_CLASSES = "1.2.840.10008.5.1.4.1.1.88."
_REPORT_MODALITIES = ("SR", "DOC", "KO", "PR", "SEG", "OT")
FILM_MODALITIES = ("CR", "DX")
_CHEST = ("CHEST", "THORA", "LUNG", "RIB", "HEART")
_VIEW_ORDER = {"PA": 0, "AP": 1, "": 2}
LABELLED_OTHERWISE = 3
"""Rank of a view that is labelled, and neither PA nor AP."""


@dataclass(frozen=True)
class InstanceFacts:
    """What the header of one instance says; ViewPosition is a hint, not a fact."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    modality: str
    view_position: str
    body_part: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    path: Path
    institution: str = ""
    station: str = ""


@dataclass(frozen=True)
class ImageChoice:
    """The instances worth trying, best first, and why the others are not."""

    candidates: tuple[InstanceFacts, ...]
    rejected: tuple[tuple[InstanceFacts, str], ...]

    @property
    def reason(self) -> str:
        """Return the reasons for the rejections, each once, as one clause."""
        reasons = dict.fromkeys(reason for _, reason in self.rejected)
        return "; ".join(reasons) or "there are no instances"


def own_output(ds: Attributes, *, accept_synthetic: bool = False) -> str | None:
    """Return why an instance may not be taken in as a patient's film, or None if it may.

    Our reports and synthetic films come back with every study-level C-MOVE or routing loop; by
    their provenance they are known whatever route they took.

    Parameters
    ----------
    accept_synthetic
        Let films in that are marked synthetic. The demo alone sets it; what this node made as an
        *output* is refused all the same.
    """
    tests = _ALWAYS if accept_synthetic else (*_ALWAYS, *_SYNTHETIC)
    return next((reason for reason, is_so in tests if is_so(ds)), None)


def is_synthetic(ds: Attributes) -> bool:
    """Tell by any of its marks whether a film shows nobody; one mark is enough."""
    return any(is_so(ds) for _, is_so in _SYNTHETIC)


def choose_image(candidates: Sequence[InstanceFacts]) -> ImageChoice:
    """Order the instances of a study by how likely each is its frontal film.

    A film that is labelled lateral is tried last, not left out: the label is wrong often enough,
    and the guard looks at the picture. PA comes before AP before no label.
    """
    judged = [(facts, unusable(facts)) for facts in candidates]
    usable = [facts for facts, reason in judged if reason is None]
    rejected = tuple((facts, reason) for facts, reason in judged if reason is not None)
    return ImageChoice(tuple(sorted(usable, key=_preference)), rejected)


def choose_lateral(candidates: Sequence[InstanceFacts], frontal_uid: str) -> ImageChoice:
    """Order the instances of a study by how likely each is its lateral film.

    One that is labelled lateral comes before one without a label; of what is labelled frontal, or
    is the film that the draft is made from, none is tried: the guard has to look at each.
    """
    judged = [(facts, _no_lateral(facts, frontal_uid) or unusable(facts)) for facts in candidates]
    usable = [facts for facts, reason in judged if reason is None]
    rejected = tuple((facts, reason) for facts, reason in judged if reason is not None)
    return ImageChoice(tuple(sorted(usable, key=_lateral_preference)), rejected)


def speaks_of_chest(text: str) -> bool:
    """Tell whether a body part or a description suggests the chest."""
    return any(word in text.upper() for word in _CHEST)


def view_rank(view_position: str) -> int:
    """Return the place of a view in the order of preference: PA, AP, no label, any other."""
    return _VIEW_ORDER.get(view_position.strip().upper(), LABELLED_OTHERWISE)


def unusable(facts: InstanceFacts) -> str | None:
    """Return why no draft can be made from an instance, going by its header."""
    if facts.modality not in FILM_MODALITIES:
        return f"modality {_shown(facts.modality)} is not CR or DX"
    part = facts.body_part.upper()
    if part and not speaks_of_chest(part):
        return f"body part {_shown(part)} is not the chest"
    if facts.rows < 1 or facts.columns < 1:
        return "it holds no image"
    return None


def _no_lateral(facts: InstanceFacts, frontal_uid: str) -> str | None:
    """Return why an instance is not tried as a lateral film, going by its label."""
    is_frontal = facts.view_position.strip().upper() in ("PA", "AP")
    is_source = facts.sop_instance_uid == frontal_uid
    return "it is a frontal film" if is_frontal or is_source else None


def _shown(text: str) -> str:
    """Return a coded header value for a sentence; anything that is not one stays unsaid."""
    coded = text.isascii() and text.replace(" ", "").replace("_", "").isalnum() and len(text) <= 16
    return text if coded else "(not a coded value)" if text else "(none)"


def _preference(facts: InstanceFacts) -> tuple[int, bool, bool, int, str]:
    """Return the sort key: view, finished images first, primary first, largest, then by UID."""
    return (
        view_rank(facts.view_position),
        facts.sop_class_uid == FOR_PROCESSING,
        "SECONDARY" in facts.image_type,
        -facts.rows * facts.columns,
        facts.sop_instance_uid,
    )


def _lateral_preference(facts: InstanceFacts) -> tuple[bool, tuple[int, bool, bool, int, str]]:
    """Return the sort key: labelled otherwise than frontal first, then as frontal films."""
    return view_rank(facts.view_position) < LABELLED_OTHERWISE, _preference(facts)


def _is_report(ds: Attributes) -> bool:
    return str(ds.get("SOPClassUID", "")).startswith(_SR_CLASSES)


def _is_of_no_film_modality(ds: Attributes) -> bool:
    return str(ds.get("Modality", "")) in _REPORT_MODALITIES


def _is_from_us(ds: Attributes) -> bool:
    return str(ds.get("Manufacturer", "")) == MANUFACTURER


def _names_us(ds: Attributes) -> bool:
    equipment = ds.get("ContributingEquipmentSequence") or ()
    return any(item.get("Manufacturer") == MANUFACTURER for item in equipment)


def _is_marked_synthetic(ds: Attributes) -> bool:
    return str(ds.get("SyntheticData", "")) == "YES"


def _has_synthetic_type(ds: Attributes) -> bool:
    return "SYNTHETIC" in (ds.get("ImageType") or ())


def _names_synthesizer(ds: Attributes) -> bool:
    return any(value == SYNTHESIZING_EQUIPMENT.value for value, _ in equipment_purposes(ds))


_Test = tuple[str, Callable[[Attributes], bool]]

_ALWAYS: tuple[_Test, ...] = (
    ("it is a structured report", _is_report),
    ("it is an output of this node (Manufacturer)", _is_from_us),
    ("it is an output of this node (Contributing Equipment)", _names_us),
    ("its modality is none that films have", _is_of_no_film_modality),
)
_SYNTHETIC: tuple[_Test, ...] = (
    ("it is marked Synthetic Data", _is_marked_synthetic),
    ("its Image Type says SYNTHETIC", _has_synthetic_type),
    ("its Contributing Equipment is Synthesizing Equipment", _names_synthesizer),
)
