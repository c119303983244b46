"""Collections of questions: VQA-RAD, SLAKE and Rad-ReStruct; chest radiographs in English only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from engine.tasks.registry import Input
from engine.tasks.terms import yes_or_no
from engine.tasks.words import LETTERS
from training.errors import TaskTableError
from training.tasks.drafts import statement
from training.tasks.sources.base import Item, json_of

VQA_RAD = "VQA_RAD Dataset Public.json"
SLAKE_FILES = {"train.json": "train", "validate.json": "val"}
SLAKE_CHEST = ("Lung", "Chest", "Chest_lung")
RESTRUCT_PARTS = {"train_qa_pairs": "train", "val_qa_pairs": "val"}
"""Parts that are read; ``test`` is never."""
RESTRUCT_IMAGES = "id_to_img_mapping_frontal_reports.json"


def question(text: str, answer: str, image: str, patient: str, split: str) -> Item:
    """Return a question with a short answer: yes or no by its own task."""
    given = {Input.TEXT: text.strip()}
    said = answer.strip()
    if said.lower() in ("yes", "no"):
        is_yes = yes_or_no(said) == "yes"
        return Item(
            "vqa-yes-no", patient, patient, (image,), statement(said.lower()), is_yes, given,
            finding=text.strip(), split=split,
        )  # fmt: skip
    return Item(
        "vqa", patient, patient, (image,), statement(said), None, given,
        finding=text.strip(), split=split,
    )  # fmt: skip


def vqa_rad(folder: Path) -> Iterator[Item]:
    """Read the public JSON of VQA-RAD; phrases marked ``test_…`` are its test part."""
    keys = ("image_name", "image_organ", "question", "answer", "phrase_type")
    for row in rows_in(folder / VQA_RAD, keys):
        if row["image_organ"] == "CHEST" and not row["phrase_type"].startswith("test"):
            image = PurePosixPath(row["image_name"]).stem
            yield question(row["question"], str(row["answer"]), image, image, "")


def slake(folder: Path) -> Iterator[Item]:
    """Read ``train.json`` and ``validate.json`` of SLAKE; an image is named by its folder."""
    keys = ("img_name", "question", "answer", "q_lang", "modality", "location")
    for name, split in SLAKE_FILES.items():
        for row in rows_in(folder / name, keys):
            is_chest = row["modality"] == "X-Ray" and row["location"] in SLAKE_CHEST
            if is_chest and row["q_lang"] == "en":
                image = PurePosixPath(row["img_name"]).parts[0]
                yield question(row["question"], str(row["answer"]), image, image, split)


def rows_in(path: Path, keys: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a JSON list.

    Raises
    ------
    TaskTableError
        It is no list of objects with these keys.
    """
    found = json_of(path)
    if not isinstance(found, list):
        raise TaskTableError(f"{path.name} is no list")
    for row in found:
        if not isinstance(row, dict) or not set(keys) <= row.keys():
            raise TaskTableError(f"{path.name}: a row lacks one of {', '.join(keys)}")
        yield row


def rad_restruct(folder: Path) -> Iterator[Item]:
    """Read ``train_qa_pairs`` and ``val_qa_pairs``: questions that build on the ones before.

    A row is question, answers, history and a note of the options. The films are those of the
    Indiana collection, so patients and splits are the catalog's.
    """
    images = json_of(folder / RESTRUCT_IMAGES)
    for part, split in RESTRUCT_PARTS.items():
        for path in sorted((folder / part).glob("*.json")):
            names = images.get(path.stem) or []
            for asked, answers, history, note in json_of(path):
                for name in names[:1]:
                    image = PurePosixPath(name).stem
                    patient = image.partition("_")[0]
                    text = with_history(asked, history)
                    yield structured(text, answers, note["options"], image, patient, split)


def with_history(asked: str, history: Sequence[Sequence[Any]]) -> str:
    """Return a question with what was asked and answered before it."""
    before = [f"{one} {', '.join(answers)}." for one, answers in history]
    return " ".join([*before, asked])


def structured(
    text: str, answers: Sequence[str], options: Sequence[str], image: str, patient: str, split: str
) -> Item:
    """Return one question of a structured report: yes or no, or those options that hold."""
    if set(map(str.lower, options)) == {"yes", "no"} and len(answers) == 1:
        return question(text, answers[0], image, patient, split)
    # of many options those that hold come first, so that none of them is cut off
    ordered = sorted(options, key=lambda option: option not in answers)[: len(LETTERS)]
    chosen = tuple(sorted(ordered))
    held = [option for option in chosen if option in answers]
    return Item(
        "vqa-choice", patient, patient, (image,), statement(", ".join(held) or "None of these"),
        frozenset(held), {Input.TEXT: text}, chosen, text, split,
    )  # fmt: skip
