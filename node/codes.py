"""Codes as literal tables: value, scheme, meaning (PS3.16 context groups, PS3.3 8.8).

Literal on purpose: keyword look-ups in code dictionaries follow the dictionary, errors included.
"""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataset import Dataset


class Code(NamedTuple):
    """A coded concept."""

    value: str
    scheme: str
    meaning: str

    def item(self) -> Dataset:
        """Return the concept as the item of a code sequence."""
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = self
        return item


TITLES: dict[str, Code] = {
    "18748-4": Code("18748-4", "LN", "Diagnostic Imaging Report"),
    "43468-8": Code("43468-8", "LN", "X-Ray Report"),
    "11528-7": Code("11528-7", "LN", "Radiology Report"),
}
"""CID 7000; 126000 is a measurement report and never the title of a narrative."""

LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = Code("en", "RFC5646", "English")

OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE = Code("121007", "DCM", "Device")
DEVICE_OBSERVER_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_OBSERVER_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_OBSERVER_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_OBSERVER_MODEL_NAME = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_OBSERVER_SERIAL_NUMBER = Code("121016", "DCM", "Device Observer Serial Number")
DEVICE_OBSERVER_LOCATION = Code(
    "121017", "DCM", "Device Observer Physical Location During Observation"
)

PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
"""CID 100; the procedure that is reported is the imaging, not the algorithm."""

INDICATIONS = Code("121109", "DCM", "Indications for Procedure")
PATIENT_PRESENTATION = Code("121110", "DCM", "Patient Presentation")
PREVIOUS_FINDINGS = Code("121068", "DCM", "Previous Findings")
PREVIOUS_FINDING = Code("121069", "DCM", "Previous Finding")
FINDINGS = Code("121070", "DCM", "Findings")
FINDING = Code("121071", "DCM", "Finding")
IMPRESSIONS = Code("121072", "DCM", "Impressions")
IMPRESSION = Code("121073", "DCM", "Impression")
ADDENDUM = Code("55107-7", "LN", "Addendum")
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")

COMMENT = Code("121106", "DCM", "Comment")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")

PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
SYNTHESIZING_EQUIPMENT = Code("109100", "DCM", "Synthesizing Equipment")
"""CID 7005, the purposes of contributing equipment."""
