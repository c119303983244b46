"""Where the classifier's evidence lies, laid over the film: for reference, and it says so.

A Secondary Capture of the patient's own film, not a synthetic one: it names the film as its source
and shows it beside the maps. It explains the classifier, which is not the writer of the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from engine.assessment import Assessment
from engine.banner import burn
from engine.pixels import to_uint8
from engine.results import Evidence, Provenance
from node import sr_items
from node.authored import (
    contributing_equipment,
    new_object,
    provenance_line,
    set_equipment,
    set_times,
)
from node.codes import PROCESSING_EQUIPMENT
from node.config_outputs import HeatmapSettings
from node.copied import copy_patient_and_study, own_text, text_of
from node.drafted import Film
from node.outputs import HEATMAP, OutputIdentity
from node.rules import is_synthetic

SIDE: Final = 512
BANNER: Final = "AI HEAT MAP - FOR REFERENCE - NOT DIAGNOSTIC"
DERIVATION: Final = "AI heat map of classifier evidence"
IMAGE_TYPE: Final = ("DERIVED", "SECONDARY", "OTHER", "HEATMAP")
_MAX_MAPS = 3
_BAR = 36
_OPACITY = 0.55
_SILENT: Final = ("No Finding",)
"""What is nowhere to be seen has no place on a map."""

_MARKS: Final = {
    "Modality": "OT",
    "ConversionType": "WSD",
    "ContentQualification": "RESEARCH",
    "BodyPartExamined": "CHEST",
    "ImageComments": BANNER,
    "BurnedInAnnotation": "YES",
    "LossyImageCompression": "00",
}


def build_heatmap(
    film: Film,
    assessments: Sequence[Assessment],
    evidence: Mapping[str, Evidence],
    provenance: Provenance,
    identity: OutputIdentity,
    settings: HeatmapSettings,
) -> Dataset | None:
    """Return the maps of the likeliest findings beside the film; None where none is present.

    References
    ----------
    PS3.3 A.8.1 (Secondary Capture IOD), C.8.6 (SC modules).
    """
    shown = _shown(assessments, evidence)
    if not shown:
        return None
    ds = new_object(SecondaryCaptureImageStorage, identity.sop_instance_uid(HEATMAP))
    copy_patient_and_study(film.ds, ds)
    ds.StudyInstanceUID = identity.study_instance_uid
    set_equipment(ds, identity)
    set_times(ds, identity.created_at, text_of(film.ds, "TimezoneOffsetFromUTC"))
    ds.SeriesInstanceUID = identity.series_instance_uid(HEATMAP)
    ds.SeriesNumber = settings.series_number
    ds.SeriesDescription = own_text(ds, settings.series_description)
    ds.InstanceNumber = identity.generation
    _set_marks(ds, film, shown, provenance, identity)
    maps = [(_caption(one), evidence[one.finding]) for one in shown]
    grey = to_uint8(film.image)
    _set_pixels(ds, panels(burn(grey, SIDE) if is_synthetic(film.ds) else grey, maps))
    return ds


def missing_heatmap_marks(ds: Dataset) -> tuple[str, ...]:
    """Return the marks that a heat map lacks; the sender refuses any."""
    missing = [name for name, value in _MARKS.items() if ds.get(name) != value]
    if tuple(ds.get("ImageType") or ()) != IMAGE_TYPE:
        missing.append("ImageType")
    if not str(ds.get("DerivationDescription", "")).startswith(DERIVATION):
        missing.append("DerivationDescription")
    return (*missing, *(() if _has_banner(ds) else ("PixelData",)))


def panels(film: NDArray[np.uint8], maps: Sequence[tuple[str, Evidence]]) -> NDArray[np.uint8]:
    """Return film and maps side by side, uint8 [512 + bars, 512 (n + 1), 3], banners burned in."""
    grey = PilImage.fromarray(film).convert("L").resize((SIDE, SIDE), PilImage.Resampling.LANCZOS)
    page = PilImage.new("RGB", (SIDE * (len(maps) + 1), SIDE + 2 * _BAR))
    page.paste(grey.convert("RGB"), (0, _BAR))
    for place, (_, evidence) in enumerate(maps, 1):
        page.paste(_overlaid(grey, evidence), (place * SIDE, _BAR))
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(18)
    for place, caption in enumerate(["Film as the model saw it", *(text for text, _ in maps)]):
        middle = place * SIDE + SIDE // 2
        pen.text((middle, _BAR // 2), BANNER, "yellow", font, "mm")
        pen.text((middle, SIDE + _BAR + _BAR // 2), caption, "white", font, "mm")
    return np.asarray(page, dtype=np.uint8)


def _shown(assessments: Sequence[Assessment], evidence: Mapping[str, Evidence]) -> list[Assessment]:
    """Return the present findings that have a map, the likeliest first."""
    present = [
        one
        for one in assessments
        if one.presence == "present" and one.finding in evidence and one.finding not in _SILENT
    ]
    return sorted(present, key=lambda one: -(one.certainty or 0))[:_MAX_MAPS]


def _caption(assessment: Assessment) -> str:
    """Return finding and probability: a bare percentage is read as the size of a pneumothorax."""
    return f"{assessment.finding}: probability {100 * (assessment.certainty or 0):.0f} %"


def _overlaid(grey: PilImage.Image, evidence: Evidence) -> PilImage.Image:
    """Return the film, red where the evidence for a finding is strong."""
    positive = np.clip(evidence, 0, None)
    strength = positive / max(float(positive.max()), 1e-6)
    coarse = PilImage.fromarray(strength.astype(np.float32))
    smooth = np.asarray(coarse.resize((SIDE, SIDE), PilImage.Resampling.BICUBIC))
    weight = _OPACITY * np.clip(smooth, 0, 1)[..., None]
    red = np.array([255.0, 40.0, 0.0])
    mixed = np.asarray(grey, np.float32)[..., None] * (1 - weight) + red * weight
    return PilImage.fromarray(mixed.round().astype(np.uint8))


def _set_marks(
    ds: Dataset,
    film: Film,
    shown: Sequence[Assessment],
    provenance: Provenance,
    identity: OutputIdentity,
) -> None:
    """Write that it is derived, from what, by what and for what."""
    ds.ImageType = list(IMAGE_TYPE)
    for keyword, value in _MARKS.items():
        setattr(ds, keyword, value)
    named = ", ".join(_caption(one) for one in shown)
    origin = provenance_line(provenance)
    ds.DerivationDescription = f"{DERIVATION} ({named}); {origin}"[:1024]
    ds.SourceImageSequence = [sr_items.sop_reference(film.ds)]
    ds.ContributingEquipmentSequence = [
        contributing_equipment(identity, PROCESSING_EQUIPMENT, origin)
    ]
    if is_synthetic(film.ds):
        ds.SyntheticData = "YES"


def _set_pixels(ds: Dataset, picture: NDArray[np.uint8]) -> None:
    """Write the Image Pixel module: 8 bit RGB (PS3.3 C.7.6.3)."""
    ds.PatientOrientation = ""
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = picture.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    ds.PixelData = picture.tobytes()
    ds["PixelData"].VR = "OB"


def _has_banner(ds: Dataset) -> bool:
    """Return whether every panel carries the banner."""
    rows, columns = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    pixels = ds.get("PixelData", b"")
    if rows != SIDE + 2 * _BAR or columns % SIDE or not columns:
        return False
    if len(pixels) != rows * columns * 3:
        return False
    top = np.frombuffer(pixels, np.uint8).reshape(rows, columns, 3)[:_BAR]
    blank = panels(
        np.zeros((SIDE, SIDE), np.uint8),
        [("", np.zeros((1, 1), np.float32))] * (columns // SIDE - 1),
    )
    return bool(np.array_equal(top, blank[:_BAR]))
