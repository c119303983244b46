"""Collections with labels: CheXpert, PadChest, and the courses of MS-CXR-T."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from engine.findings import FINDINGS
from engine.tasks.registry import Input
from engine.tasks.terms import PROGRESS
from engine.tasks.words import NOUNS, article
from training.errors import TaskTableError
from training.tasks.sources.base import Item, Row, rows_of
from training.tasks.sources.boxes import only

CHEXPERT_SPLITS = {"train.csv": "train", "valid.csv": "val"}
"""CheXpert's files; its test set is never read."""
PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
PADCHEST_VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP", "L": "lateral"}
PADCHEST_FINDINGS = {
    "cardiomegaly": "Cardiomegaly",
    "pleural effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "pneumonia": "Pneumonia",
    "atelectasis": "Atelectasis",
    "laminar atelectasis": "Atelectasis",
    "consolidation": "Consolidation",
    "pulmonary edema": "Edema",
    "nodule": "Lung Lesion",
    "pulmonary mass": "Lung Lesion",
    "rib fracture": "Fracture",
    "clavicle fracture": "Fracture",
    "vertebral fracture": "Fracture",
    "pleural thickening": "Pleural Other",
    "mediastinal enlargement": "Enlarged Cardiomediastinum",
}
"""PadChest's terms that are one of our findings beyond doubt."""
COURSES = {
    "consolidation": "Consolidation",
    "edema": "Edema",
    "pleural_effusion": "Pleural Effusion",
    "pneumonia": "Pneumonia",
    "pneumothorax": "Pneumothorax",
}


def presence(image: str, patient: str, study: str, name: str, *, there: bool, split: str) -> Item:
    """Return the question whether a finding is present."""
    noun = NOUNS[name]
    text = f"Yes, there is {noun.phrase()}." if there else f"No, there is no {noun.singular}."
    given = {Input.FINDING: noun.singular}
    return Item(
        "binary-disease", patient, study, (image,), text, there, given, finding=name, split=split
    )


def seen_from(image: str, patient: str, study: str, view: str, split: str) -> Item:
    """Return the question on the view."""
    text = f"This is {article(view)} {view} film."
    return Item("view", patient, study, (image,), text, view, split=split)


def chexpert(folder: Path) -> Iterator[Item]:
    """Read ``train.csv`` and ``valid.csv``: 1 present, 0 absent; uncertain and blank are not asked.

    An image is named ``patient00001_study1_view1_frontal``: its file's name alone is not unique.
    """
    columns = ("Path", "Frontal/Lateral", "AP/PA", *FINDINGS)
    for name, split in CHEXPERT_SPLITS.items():
        if name == "valid.csv" and not (folder / name).is_file():
            continue
        for row in rows_of(folder / name, columns):
            *_, patient, study, file = PurePosixPath(row["Path"]).parts
            image = f"{patient}_{study}_{PurePosixPath(file).stem}"
            yield from chexpert_film(row, image, patient, f"{patient}_{study}", split)


def chexpert_film(row: Row, image: str, patient: str, study: str, split: str) -> Iterator[Item]:
    """Yield the questions on one film of CheXpert."""
    is_lateral = row["Frontal/Lateral"] == "Lateral"
    view = "lateral" if is_lateral else row["AP/PA"]
    if view in ("PA", "AP", "lateral"):
        yield seen_from(image, patient, study, view, split)
    for finding in FINDINGS[1:]:
        if not is_lateral and row[finding] in ("0", "0.0", "1", "1.0"):
            there = float(row[finding]) == 1.0
            yield presence(image, patient, study, finding, there=there, split=split)


def padchest(folder: Path) -> Iterator[Item]:
    """Read PadChest's table of labels: views, what is labelled, and that normal films have none."""
    columns = ("ImageID", "StudyID", "PatientID", "Projection", "Labels")
    for row in rows_of(folder / PADCHEST, columns):
        image, study = PurePosixPath(row["ImageID"]).stem, row["StudyID"]
        owner = (image, row["PatientID"], study)
        view = PADCHEST_VIEWS.get(row["Projection"], "")
        if view:
            yield seen_from(*owner, view, "")
        labels = padchest_labels(row["Labels"])
        found = {PADCHEST_FINDINGS[label] for label in labels if label in PADCHEST_FINDINGS}
        if view in ("PA", "AP"):
            absent = FINDINGS[1:] if labels == ["normal"] else ()
            for finding in sorted({*found, *absent}):
                yield presence(*owner, finding, there=finding in found, split="")


def padchest_labels(text: str) -> list[str]:
    """Return the labels of a row, written as a Python list; none where there is none.

    Raises
    ------
    TaskTableError
        It is no list.
    """
    if not text or text == "nan":
        return []
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError) as fault:
        raise TaskTableError(f"labels that are no list: {text[:40]}") from fault
    return [label.strip() for label in found if label.strip()]


def ms_cxr_t(folder: Path) -> Iterator[Item]:
    """Read ``MS_CXR_T_temporal_image_classification_v1.*.csv``: courses between two films."""
    columns = ("dicom_id", "previous_dicom_id", "subject_id", "study_id",
               *(f"{name}_progression" for name in COURSES))  # fmt: skip
    path = only(folder, "MS_CXR_T_temporal_image_classification_v1.*.csv")
    for row in rows_of(path, columns):
        films = tuple(PurePosixPath(row[name]).stem for name in ("dicom_id", "previous_dicom_id"))
        for column, finding in COURSES.items():
            course = row[f"{column}_progression"]
            if course in PROGRESS:
                noun = NOUNS[finding].singular
                yield Item(
                    task="progression",
                    patient_id=row["subject_id"],
                    study_id=row["study_id"],
                    image_ids=films,
                    response=f"The {noun} is {course}.",
                    value=course,
                    given={Input.FINDING: noun},
                    finding=finding,
                )
