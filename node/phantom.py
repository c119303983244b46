"""Films of a patient who does not exist, for the demo and for trying out a connection."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import DigitalXRayImageStorageForPresentation

from engine.banner import burn
from engine.decode import read_dicom
from engine.errors import PixelError
from engine.pixels import Transform, is_raster, render_file, to_uint8
from engine.results import Drawing
from node.authored import new_object
from node.codes import SYNTHESIZING_EQUIPMENT, Code
from node.copied import UTF_8
from node.uids import derive_uid

MANUFACTURER = "cxr-node demo"
PATIENT_NAME = "PHANTOM^CHEST"

_CHEST = Code("51185008", "SCT", "Chest")
_VIEW = Code("272479007", "SCT", "postero-anterior")
_IMAGE_GROUP = 0x0028
_IMAGE_KEYWORDS = (
    "BodyPartExamined",
    "ImageType",
    "ImagerPixelSpacing",
    "Modality",
    "PatientOrientation",
    "PixelData",
    "PresentationLUTShape",
    "SyntheticData",
    "ViewPosition",
)
_SIZE = 1024
_BITS = 12


def film_from_drawing(drawing: Drawing, created_at: datetime) -> Dataset:
    """Return a drawn film as a DX object, marked as synthetic in its header."""
    grey = PilImage.fromarray(to_uint8(drawing.image))
    wide = grey.resize((_SIZE, _SIZE), PilImage.Resampling.LANCZOS)
    ds = _dx(np.asarray(wide), created_at)
    ds.SyntheticData = "YES"
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [SYNTHESIZING_EQUIPMENT.item()]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = drawing.provenance.bundle_name[:64]
    ds.ContributingEquipmentSequence = [item]
    ds.ImageComments = "SYNTHETIC"
    return ds


def connection_test(created_at: datetime) -> Dataset:
    """Return a test pattern of the phantom patient, for trying out whether a peer stores things.

    It says in its header and in its pixels that it shows nobody, and that it may be deleted.
    """
    ramp = np.tile(np.linspace(0, 255, _SIZE, dtype=np.uint8), (_SIZE, 1))
    ds = _dx(burn(ramp, _SIZE), created_at)
    ds.StudyDescription = ds.SeriesDescription = "CONNECTION TEST - DELETE"
    ds.PatientName, ds.PatientID = "PHANTOM^CONNECTION TEST", "PHANTOM-TEST"
    ds.AccessionNumber, ds.StudyID = "", "TEST"
    ds.SyntheticData, ds.ImageComments = "YES", "TEST PATTERN"
    return ds


def film_from_file(path: Path, created_at: datetime) -> Dataset:
    """Return a film of the user's as an object of the phantom patient.

    Of a DICOM file only the image is taken over, with its grey scale and its encoding: whoever it
    shows stays out of the demo. PNG and JPEG become DX.

    Raises
    ------
    PixelError
        The file cannot be rendered.
    """
    grey = to_uint8(render_file(path, Transform(size=_SIZE)))
    return _dx(grey, created_at) if is_raster(path) else _phantom_of(read_dicom(path), created_at)


def _phantom_of(source: Dataset, created_at: datetime) -> Dataset:
    """Return the image of a DICOM object under the name of the phantom."""
    if not source.get("SOPClassUID"):
        raise PixelError("the film does not say its SOP class")
    content = hashlib.sha256(bytes(source.PixelData)).hexdigest()
    ds = _identity(str(source.SOPClassUID), content, created_at)
    ds.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    for element in source:
        if element.tag.group == _IMAGE_GROUP or element.keyword in _IMAGE_KEYWORDS:
            ds[element.tag] = element
    ds.Modality = source.get("Modality") or "CR"
    return ds


def _identity(sop_class_uid: str, content: str, created_at: datetime) -> Dataset:
    """Return an object of the phantom patient without an image; same content, same UIDs."""
    made = created_at.isoformat()
    ds = new_object(sop_class_uid, derive_uid("demo instance", content, made))
    ds.SpecificCharacterSet = UTF_8
    ds.StudyInstanceUID = derive_uid("demo study", content, made)
    ds.SeriesInstanceUID = derive_uid("demo series", content, made)
    ds.PatientName, ds.PatientID, ds.PatientSex = PATIENT_NAME, "PHANTOM-1", "O"
    ds.PatientBirthDate = ds.ReferringPhysicianName = ""
    ds.AccessionNumber, ds.StudyID, ds.StudyDescription = "DEMO1", "DEMO1", "XR CHEST (DEMO)"
    ds.Manufacturer, ds.InstitutionName = MANUFACTURER, "cxr-node demo"
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.TimezoneOffsetFromUTC = created_at.strftime("%z")[:5]
    for keyword in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{keyword}Date", created_at.strftime("%Y%m%d"))
        setattr(ds, f"{keyword}Time", created_at.strftime("%H%M%S"))
    return ds


def _dx(grey: NDArray[np.uint8], created_at: datetime) -> Dataset:
    """Return 8-bit grey values as a 12-bit DX image for presentation (PS3.3 A.26)."""
    content = hashlib.sha256(grey.tobytes()).hexdigest()
    ds = _identity(DigitalXRayImageStorageForPresentation, content, created_at)
    ds.Modality, ds.PresentationIntentType = "DX", "FOR PRESENTATION"
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.PatientOrientation = ["L", "F"]
    ds.BodyPartExamined, ds.ImageLaterality = "CHEST", "U"
    ds.AnatomicRegionSequence = [_CHEST.item()]
    ds.ViewPosition, ds.PositionerType = "PA", "NONE"
    ds.ViewCodeSequence = [_VIEW.item()]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = ItemSequence()
    ds.DetectorType, ds.ImagerPixelSpacing = "DIRECT", ["0.35", "0.35"]
    ds.AcquisitionContextSequence = []
    ds.KVP = None
    _set_grey_scale(ds)
    _set_pixels(ds, np.rint(grey.astype(np.float64) / 255 * 4095).astype("<u2"))
    return ds


def _set_grey_scale(ds: Dataset) -> None:
    """Write that values are P-values, bright where much was absorbed (PS3.3 C.8.11.3)."""
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.PresentationLUTShape = "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = "2048", "4096"
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"


def _set_pixels(ds: Dataset, stored: NDArray[np.uint16]) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, _BITS, _BITS - 1
    ds.PixelRepresentation = 0
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW"
