"""The synthetic film as a Secondary Capture that no one can take for a patient's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from engine.banner import burn, burn_16, is_burned
from engine.pixels import to_uint8
from engine.results import Drawing
from node.authored import (
    contributing_equipment,
    equipment_purposes,
    new_object,
    provenance_line,
    set_equipment,
    set_times,
)
from node.codes import SYNTHESIZING_EQUIPMENT
from node.config_outputs import SyntheticSettings
from node.copied import UTF_8, copy_patient_and_study, own_text, text_of
from node.outputs import SYNTHETIC, OutputIdentity
from node.recipe import write_recipe

SIZE: Final = 512
IMAGE_TYPE: Final = ("DERIVED", "SECONDARY", "OTHER", "SYNTHETIC")
DERIVATION: Final = "AI-generated synthetic chest radiograph"
RESEARCH_NAME: Final = "RESEARCH^SYNTHETIC"
COMMENT: Final = "SYNTHETIC"

CLASSES: Final = {
    8: SecondaryCaptureImageStorage,
    16: MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
}
"""The class that holds a film of so many bits a pixel."""

_LITERAL_MARKS: Final = {
    "SyntheticData": "YES",
    "Modality": "OT",
    "ConversionType": "SYN",
    "ContentQualification": "RESEARCH",
    "BodyPartExamined": "CHEST",
    "ImageComments": COMMENT,
    "BurnedInAnnotation": "YES",
    "RecognizableVisualFeatures": "NO",
    "LossyImageCompression": "00",
}


def build_synthetic_sc(
    source: Dataset | None,
    drawing: Drawing,
    identity: OutputIdentity,
    settings: SyntheticSettings,
    kind: str = SYNTHETIC,
    note: str = "",
) -> Dataset:
    """Return a drawn film as a Secondary Capture object with every mark on it.

    Parameters
    ----------
    source
        The instance whose patient it is filed under when ``settings.identity`` is same_study;
        without one, or with research_patient, it is filed under a patient that does not exist.
    kind
        The kind of output, by which it gets its UIDs.
    note
        What else the derivation is to say.

    References
    ----------
    PS3.3 A.8.1 (Secondary Capture IOD), C.8.6 (SC modules), C.12.1 (Synthetic Data).
    """
    ds = new_object(CLASSES[settings.bits], identity.sop_instance_uid(kind))
    same_study = source is not None and settings.identity == "same_study"
    if source is not None and same_study:
        copy_patient_and_study(source, ds)
        ds.StudyInstanceUID = identity.study_instance_uid
    else:
        _set_research_patient(ds, identity, settings)
    timezone = text_of(source, "TimezoneOffsetFromUTC") if source is not None else ""
    set_times(ds, identity.created_at, timezone)
    if not same_study:
        ds.StudyDate, ds.StudyTime = ds.ContentDate, ds.ContentTime
    set_equipment(ds, identity)
    _set_series(ds, identity, settings, kind)
    _set_marks(ds, drawing, identity, note)
    write_recipe(ds, drawing)
    _PIXELS[settings.bits](ds, drawing)
    return ds


def missing_marks(ds: Dataset) -> tuple[str, ...]:
    """Return the marks of a synthetic film that an object lacks; the sender refuses any.

    Each mark stands alone: whoever sees one attribute, one line of a list or one half of the
    picture must still be told.
    """
    return tuple(name for name, is_there in MARKS.items() if not is_there(ds))


def _set_research_patient(
    ds: Dataset, identity: OutputIdentity, settings: SyntheticSettings
) -> None:
    """File the film under a patient and a study of its own; nothing points back to a person."""
    ds.SpecificCharacterSet = UTF_8
    digest = hashlib.sha256(identity.research_study_uid().encode()).hexdigest()
    ds.PatientName = RESEARCH_NAME
    ds.PatientID = f"{settings.patient_id_prefix}{digest[:12].upper()}"
    ds.PatientBirthDate = ""
    ds.PatientSex = ""
    ds.StudyInstanceUID = identity.research_study_uid()
    ds.StudyID = digest[:8].upper()
    ds.StudyDescription = DERIVATION
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""


def _set_series(
    ds: Dataset, identity: OutputIdentity, settings: SyntheticSettings, kind: str
) -> None:
    """Write the General Series module; the description always says that it is synthetic."""
    described = settings.series_description
    if COMMENT not in described.upper():
        described = f"{COMMENT} - {described}"[:64]
    ds.SeriesInstanceUID = identity.series_instance_uid(kind)
    ds.SeriesNumber = settings.series_number
    ds.SeriesDescription = own_text(ds, described)
    ds.InstanceNumber = identity.generation


def _set_marks(ds: Dataset, drawing: Drawing, identity: OutputIdentity, note: str) -> None:
    """Write every mark that is an attribute."""
    ds.ImageType = list(IMAGE_TYPE)
    for keyword, value in _LITERAL_MARKS.items():
        setattr(ds, keyword, value)
    prompt = hashlib.sha256(drawing.prompt.encode()).hexdigest()
    origin = f"{provenance_line(drawing.provenance)}, prompt text sha256 {prompt}"
    ds.DerivationDescription = "; ".join(filter(None, (DERIVATION, note, origin)))[:1024]
    ds.ContributingEquipmentSequence = [
        contributing_equipment(identity, SYNTHESIZING_EQUIPMENT, origin)
    ]


def _set_layout(ds: Dataset, film: NDArray[Any], bits: int) -> None:
    """Write the Image Pixel module but for its pixels (PS3.3 C.7.6.3)."""
    ds.PatientOrientation = ["L", "F"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = film.shape
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    ds.PixelData = film.astype(f"<u{bits // 8}").tobytes()
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"


def _set_pixels_8(ds: Dataset, drawing: Drawing) -> None:
    """Write 8 bit pixels, banner burned in."""
    _set_layout(ds, burn(to_uint8(drawing.image), SIZE), 8)


def _set_pixels_16(ds: Dataset, drawing: Drawing) -> None:
    """Write one frame of 16 bit pixels, banner burned in (PS3.3 C.8.6.3)."""
    _set_layout(ds, burn_16(drawing.image, SIZE), 16)
    ds.NumberOfFrames = 1
    ds.PresentationLUTShape = "IDENTITY"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"


def _has_banners(ds: Dataset) -> bool:
    """Return whether both banners are in the pixels."""
    pixels, bits = ds.get("PixelData", b""), ds.get("BitsAllocated")
    shape = (ds.get("Rows", 0), ds.get("Columns", 0))
    if bits not in CLASSES or not shape[0] or len(pixels) * 8 != shape[0] * shape[1] * bits:
        return False
    film = np.frombuffer(pixels, f"<u{bits // 8}").reshape(shape)
    return is_burned((film >> (bits - 8)).astype(np.uint8))


def _names_synthesizer(ds: Dataset) -> bool:
    """Return whether an item of the contributing equipment is Synthesizing Equipment."""
    return (SYNTHESIZING_EQUIPMENT.value, SYNTHESIZING_EQUIPMENT.scheme) in equipment_purposes(ds)


def _literal(keyword: str, value: str) -> Callable[[Dataset], bool]:
    return lambda ds: ds.get(keyword) == value


_PIXELS: Final = {8: _set_pixels_8, 16: _set_pixels_16}

MARKS: Final[dict[str, Callable[[Dataset], bool]]] = {
    "SOPClassUID": lambda ds: ds.get("SOPClassUID") in CLASSES.values(),
    "ImageType": lambda ds: tuple(ds.get("ImageType") or ()) == IMAGE_TYPE,
    **{keyword: _literal(keyword, value) for keyword, value in _LITERAL_MARKS.items()},
    "SeriesDescription": lambda ds: COMMENT in str(ds.get("SeriesDescription", "")).upper(),
    "DerivationDescription": lambda ds: str(ds.get("DerivationDescription", "")).startswith(
        DERIVATION
    ),
    "ContributingEquipmentSequence": _names_synthesizer,
    "PixelData": _has_banners,
}
"""Every mark by the name of its element, and how to see that it is there."""
