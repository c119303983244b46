"""What the pages show of a study, read from the ledger and from headers; pixels stay closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from sqlalchemy.engine import Engine

from node.errors import UnknownName
from node.journal import Journal
from node.outputs import SYNTHETIC
from node.rules import is_synthetic
from node.schema import instance, output
from node.spool import Spool
from node.transactions import reading

_SUBJECT = {
    "Patient": "PatientName",
    "Patient ID": "PatientID",
    "Birth date": "PatientBirthDate",
    "Sex": "PatientSex",
    "Study date": "StudyDate",
    "Accession": "AccessionNumber",
    "Study": "StudyDescription",
}

_MARKS = ["SyntheticData", "ImageType", "ContributingEquipmentSequence"]


@dataclass(frozen=True)
class StudyView:
    """One study as its page shows it."""

    key: str
    study_uid: str
    subject: dict[str, str]
    shown: dict[str, Any]
    """The generation that is shown (`Journal.study`)."""
    newest: dict[str, Any]
    drafts: tuple[int, ...]
    film: Literal["", "patient", "synthetic"]
    """What the film shows; empty where it has been removed."""
    synthetic: int | None
    """Generation whose synthetic image is shown."""
    answers: frozenset[tuple[str, str]] = field(default=frozenset())

    @property
    def content(self) -> dict[str, Any] | None:
        """What the generation that is shown came to."""
        found: dict[str, Any] | None = self.shown["result"]
        return found


class Shelf:
    """Studies, their headers, and the files behind their images."""

    def __init__(self, engine: Engine, journal: Journal, spool: Spool) -> None:
        self._engine = engine
        self._journal = journal
        self._spool = spool

    def find(self, name: str) -> str:
        """Return the Study Instance UID meant by a UID or a log key.

        Raises
        ------
        UnknownName
            There is no such study.
        """
        return self._journal.find(name)

    def studies(self, state: str | None = None, text: str = "") -> Iterator[dict[str, Any]]:
        """Yield the latest studies, each in its latest generation, with whose they are.

        Parameters
        ----------
        state, text
            Only those that `Journal.studies` finds by them.
        """
        seen = set()
        for row in self._journal.studies(state=state, text=text):
            if row["study_uid"] not in seen:
                seen.add(row["study_uid"])
                yield row | {"subject": self._subject(self._source(row["study_uid"], None))}

    def view(self, study_uid: str, generation: int | None) -> StudyView:
        """Return a study in one generation; None takes the newest draft.

        Raises
        ------
        UnknownName
            There is no such generation.
        """
        rows = self._journal.study(study_uid)
        drafts = tuple(row["generation"] for row in rows if row["result"])
        wanted = generation or (drafts[-1] if drafts else rows[-1]["generation"])
        shown = next((row for row in rows if row["generation"] == wanted), None)
        if shown is None:
            raise UnknownName("the study has no such generation")
        made = [row["generation"] for row in rows if _has(row, SYNTHETIC)]
        path = self._source(study_uid, shown["result"])
        review = (shown["result"] or {}).get("review") or {}
        return StudyView(
            shown["key"],
            study_uid,
            self._subject(path),
            shown,
            rows[-1],
            drafts,
            self._kind(path),
            made[-1] if made else None,
            frozenset((asked, said) for asked, said in review.get("answers", ())),
        )

    def film(self, study_uid: str, generation: int | None) -> Path:
        """Return the file of the film that a draft was made from; None takes the newest draft.

        Raises
        ------
        UnknownName
            It has been removed.
        """
        path = self._source(study_uid, self.view(study_uid, generation).content)
        if path is None:
            raise UnknownName("the images of the study have been removed")
        return self._spool.path(path)

    def synthetic(self, study_uid: str) -> Path:
        """Return the file of the study's latest synthetic image.

        Raises
        ------
        UnknownName
            There is none.
        """
        query = (
            sa.select(output.c.path)
            .where(output.c.study_uid == study_uid, output.c.kind == SYNTHETIC)
            .order_by(output.c.generation.desc())
        )
        with reading(self._engine) as connection:
            path = connection.execute(query).scalars().first()
        if path is None:
            raise UnknownName("the study has no synthetic image")
        return self._spool.path(path)

    def _source(self, study_uid: str, content: dict[str, Any] | None) -> str | None:
        """Return the path of the film of a draft, or of the first image where there is none."""
        query = sa.select(instance.c.path).where(instance.c.study_uid == study_uid)
        if content is not None:
            query = query.where(instance.c.sop_instance_uid == content["source"])
        with reading(self._engine) as connection:
            return connection.execute(query.order_by(instance.c.received_at)).scalars().first()

    def _kind(self, path: str | None) -> Literal["", "patient", "synthetic"]:
        """Return what a film shows: a synthetic one may have been let in (`node.intake`)."""
        if path is None:
            return ""
        try:
            ds = dcmread(self._spool.path(path), stop_before_pixels=True, specific_tags=_MARKS)
            return "synthetic" if is_synthetic(ds) else "patient"
        except (OSError, InvalidDicomError, ValueError):
            return "patient"

    def _subject(self, path: str | None) -> dict[str, str]:
        """Return whose study it is, as the header says; nothing where it cannot be read."""
        values = self._header(path, [*_SUBJECT.values()]) if path else []
        return {label: value for label, value in zip(_SUBJECT, values, strict=False) if value}

    def _header(self, path: str, keywords: list[str]) -> list[str]:
        """Return some texts of a header; none where it cannot be read."""
        tags: list[str] = ["SpecificCharacterSet", *keywords]
        try:
            ds = dcmread(self._spool.path(path), stop_before_pixels=True, specific_tags=tags)
            return [str(ds.get(keyword) or "") for keyword in keywords]
        except (OSError, InvalidDicomError, ValueError):
            return []


def _has(row: dict[str, Any], kind: str) -> bool:
    return any(made["kind"] == kind for made in row["outputs"])
