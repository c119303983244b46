"""The collections that can be read, by the name that a mixture gives them."""

from __future__ import annotations

from collections.abc import Mapping

from training.tasks.sources import boxes, labels, questions
from training.tasks.sources.base import Source

CREDENTIALED = "PhysioNet Credentialed Health Data License 1.5.0"

SOURCES: Mapping[str, Source] = {
    "ms-cxr": Source("MS-CXR", CREDENTIALED, frozenset({"phrase-grounding"}), boxes.ms_cxr),
    "ms-cxr-t": Source("MS-CXR-T", CREDENTIALED, frozenset({"progression"}), labels.ms_cxr_t),
    "vindr-cxr": Source(
        "VinDr-CXR", CREDENTIALED, frozenset({"abnormality-detection"}), boxes.vindr
    ),
    "siim": Source(
        "SIIM-ACR Pneumothorax",
        "competition rules: academic research and education",
        frozenset({"abnormality-detection", "pneumothorax-region"}),
        boxes.siim,
    ),
    "rsna": Source(
        "RSNA Pneumonia",
        "competition rules: non-commercial and academic research",
        frozenset({"abnormality-detection", "binary-disease"}),
        boxes.rsna,
    ),
    "chexpert": Source(
        "CheXpert",
        "Stanford University Dataset Research Use Agreement",
        frozenset({"view", "binary-disease"}),
        labels.chexpert,
    ),
    "padchest": Source(
        "PadChest",
        "PadChest Dataset Research Use Agreement",
        frozenset({"view", "binary-disease"}),
        labels.padchest,
    ),
    "vqa-rad": Source("VQA-RAD", "CC0 1.0", frozenset({"vqa", "vqa-yes-no"}), questions.vqa_rad),
    "slake": Source("SLAKE", "CC BY 4.0", frozenset({"vqa", "vqa-yes-no"}), questions.slake),
    "rad-restruct": Source(
        "Rad-ReStruct",
        "CC BY-NC-ND 4.0",
        frozenset({"vqa", "vqa-yes-no", "vqa-choice"}),
        questions.rad_restruct,
    ),
}
