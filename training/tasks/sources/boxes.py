"""Collections with boxes or masks: MS-CXR, VinDr-CXR, SIIM-ACR pneumothorax, RSNA pneumonia."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from engine.tasks.registry import Input
from engine.tasks.values import Box, Place
from engine.tasks.words import PLACES
from training.errors import TaskTableError
from training.tasks.drafts import statement
from training.tasks.sources.base import Item, Row, boxed, grouped, percent, rows_of

MASK_SIDE = 1024
"""Of SIIM's masks and RSNA's films, in pixels."""
AGREED = 2
"""So many of VinDr's three readers must have drawn a box."""
SAME_PLACE = 0.3
"""Overlap from which two readers' boxes are one."""
LEVELS = ((25.0, "apex"), (42.0, "upper"), (60.0, "middle"), (100.0, "lower"))
"""How far down a frontal film a region of the lung reaches, in percent: coarse on purpose."""


def ms_cxr(folder: Path) -> Iterator[Item]:
    """Read ``MS_CXR_Local_Alignment_v1.*.csv``: phrases with their boxes, on MIMIC-CXR films."""
    columns = ("dicom_id", "label_text", "category_name", "path", "x", "y", "w", "h",
               "image_width", "image_height")  # fmt: skip
    path = only(folder, "MS_CXR_Local_Alignment_v1.*.csv")
    for (image, phrase), rows in grouped(rows_of(path, columns), "dicom_id", "label_text").items():
        *_, patient, study, _ = PurePosixPath(rows[0]["path"]).parts
        found = [percent(corners(row, "x", "y", "w", "h"), *size(row)) for row in rows]
        response, boxes = boxed(found)
        given = {Input.PHRASE: phrase}
        kind = rows[0]["category_name"]
        yield Item(
            "phrase-grounding", patient, study, (image,), response, boxes, given, finding=kind
        )


def only(folder: Path, pattern: str) -> Path:
    """Return the newest file of a pattern.

    Raises
    ------
    TaskTableError
        There is none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise TaskTableError(f"no {pattern} under {folder}", hint="unpack the collection there")
    return found[-1]


def corners(row: Row, *names: str) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom from the columns of left, top, width and height."""
    left, top, width, height = (float(row[name]) for name in names)
    return left, top, left + width, top + height


def size(row: Row) -> tuple[float, float]:
    """Return the width and height of a row's image in pixels."""
    return float(row["image_width"]), float(row["image_height"])


def vindr(folder: Path) -> Iterator[Item]:
    """Read ``annotations/annotations_train.csv``; sizes come from the heads of ``train/*.dicom``.

    Three readers drew on each film; a class whose boxes two of them do not share is left out.
    """
    columns = ("image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max")
    rows = rows_of(folder / "annotations" / "annotations_train.csv", columns)
    for (image,), drawn in grouped(rows, "image_id").items():
        width, height = dicom_size(folder / "train" / f"{image}.dicom")
        for (name,), same in grouped(drawn, "class_name").items():
            if name == "No finding":
                continue
            found = agreed([(row["rad_id"], percent(edges(row), width, height)) for row in same])
            if found:
                yield detection(image, name.lower(), found)
        if all(row["class_name"] == "No finding" for row in drawn):
            yield detection(image, "abnormality", [])


def detection(image: str, finding: str, boxes: Sequence[Box]) -> Item:
    """Return the question for the boxes of a finding on a film that is its own patient."""
    response, value = boxed(boxes, finding)
    given = {Input.FINDING: finding}
    return Item(
        "abnormality-detection", image, image, (image,), response, value, given, finding=finding
    )


def edges(row: Row) -> tuple[float, float, float, float]:
    """Return a row's four edges in pixels."""
    left, top, right, bottom = (float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
    return left, top, right, bottom


def dicom_size(path: Path) -> tuple[int, int]:
    """Return the width and height of a DICOM image, from its header alone.

    Raises
    ------
    TaskTableError
        There is no such file.
    """
    if not path.is_file():
        raise TaskTableError(f"no film at {path}", hint="unpack the collection there")
    head = dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return int(head.Columns), int(head.Rows)


def agreed(drawn: Sequence[tuple[str, Box]]) -> list[Box]:
    """Return the mean of each cluster of overlapping boxes that enough readers drew."""
    clusters: list[list[tuple[str, Box]]] = []
    for reader, box in drawn:
        near = (one for one in clusters if one[0][1].overlap(box) >= SAME_PLACE)
        cluster = next(near, None)
        if cluster is None:
            clusters.append([(reader, box)])
        else:
            cluster.append((reader, box))
    shared = [one for one in clusters if len({reader for reader, _ in one}) >= AGREED]
    return [mean_box([box for _, box in cluster]) for cluster in shared]


def mean_box(boxes: Sequence[Box]) -> Box:
    """Return the box of mean edges, in whole percent."""
    edges_of = ((box.left, box.top, box.right, box.bottom) for box in boxes)
    return Box(*(round(sum(edge) / len(boxes)) for edge in zip(*edges_of, strict=True)))


def siim(folder: Path) -> Iterator[Item]:
    """Read ``train-rle.csv``: masks of pneumothorax, run lengths down the columns; -1 is none."""
    rows = rows_of(folder / "train-rle.csv", ("ImageId", "EncodedPixels"))
    for (image,), drawn in grouped(rows, "ImageId").items():
        masks = [mask_of(row["EncodedPixels"]) for row in drawn if row["EncodedPixels"] != "-1"]
        boxes = [box_of(mask) for mask in masks]
        yield detection(image, "pneumothorax", boxes)
        if len(boxes) == 1:
            place = place_of(boxes[0])
            text = statement(f"{place.side} {PLACES[place.region]}")
            yield Item("pneumothorax-region", image, image, (image,), text, place)


def mask_of(runs: str, side: int = MASK_SIDE) -> NDArray[np.bool_]:
    """Return a mask [side, side] from pairs of gap and length, counted down the columns."""
    flat = np.zeros(side * side, dtype=bool)
    numbers, place = [int(word) for word in runs.split()], 0
    for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
        flat[place + gap : place + gap + length] = True
        place += gap + length
    return flat.reshape(side, side).T


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Return the box around a mask."""
    down, across = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(down):
        raise TaskTableError("a mask without a pixel")
    around = (across[0], down[0], across[-1] + 1, down[-1] + 1)
    return percent([float(edge) for edge in around], mask.shape[1], mask.shape[0])


def place_of(box: Box) -> Place:
    """Return side and region of a box on a frontal film: the patient's left is on the right."""
    across, down = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    region = next(name for limit, name in LEVELS if down <= limit)
    return Place("right" if across < 50 else "left", region)


def rsna(folder: Path) -> Iterator[Item]:
    """Read ``stage_2_train_labels.csv``: boxes of pneumonia, and whether there is one."""
    columns = ("patientId", "x", "y", "width", "height", "Target")
    rows = rows_of(folder / "stage_2_train_labels.csv", columns)
    for (image,), drawn in grouped(rows, "patientId").items():
        opaque = [row for row in drawn if row["Target"] == "1"]
        found = [corners(row, "x", "y", "width", "height") for row in opaque]
        yield detection(image, "pneumonia", [percent(c, MASK_SIDE, MASK_SIDE) for c in found])
        given = {Input.FINDING: "pneumonia"}
        text = "Yes, there is pneumonia." if opaque else "No, there is no pneumonia."
        yield Item(
            "binary-disease", image, image, (image,), text, bool(opaque), given,
            finding="Pneumonia",
        )  # fmt: skip
