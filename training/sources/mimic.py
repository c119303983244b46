"""MIMIC-CXR-JPG as published: CSV tables beside a tree of films and, in it, MIMIC-CXR's reports.

::

    mimic-cxr-2.0.0-metadata.csv.gz   one row a film: view, size, date
    mimic-cxr-2.0.0-split.csv.gz      train, validate, test, by patient
    mimic-cxr-2.0.0-chexpert.csv.gz   fourteen labels a study
    files/p10/p10000032/s50414267/DICOM-ID.jpg
    files/p10/p10000032/s50414267.txt

The layout is that of PhysioNet's mimic-cxr-jpg 2.0.0; version 2.1.0 keeps its file names. Films
without a report file keep their labels. ``validate`` is val; ``test`` stays test, which no stage
trains or chooses on.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.findings import FINDINGS
from training.catalog import Catalog, Film, check, label_row
from training.errors import CatalogError
from training.sections import clean_indication, clean_report
from training.sources import mimic_report

METADATA, SPLIT, CHEXPERT = "metadata", "split", "chexpert"
SOURCE = "MIMIC-CXR-JPG"
LICENSE = "PhysioNet Credentialed Health Data License 1.5.0"
SPLIT_OF = {"train": "train", "validate": "val", "test": "test"}
VIEW_OF = {
    "PA": "frontal",
    "AP": "frontal",
    "postero-anterior": "frontal",
    "antero-posterior": "frontal",
    "LATERAL": "lateral",
    "LL": "lateral",
    "lateral": "lateral",
    "left lateral": "lateral",
}
PROJECTION_OF = {"postero-anterior": "PA", "antero-posterior": "AP", "left lateral": "LL"}

Row = dict[str, str]


def table_path(root: Path, name: str) -> Path:
    """Return where a table lies, compressed or not.

    Raises
    ------
    CatalogError
        It is not there.
    """
    found = sorted(root.glob(f"mimic-cxr-*-{name}.csv*"))
    if not found:
        raise CatalogError(
            f"no mimic-cxr-*-{name}.csv.gz under {root}", hint="download it beside files/"
        )
    return found[0]


def read_table(root: Path, name: str) -> Iterator[Row]:
    """Yield the rows of a table."""
    path = table_path(root, name)
    packed = path.read_bytes()
    text = gzip.decompress(packed) if path.suffix == ".gz" else packed
    yield from csv.DictReader(text.decode("utf-8").splitlines())


def study_dir(root: Path, row: Row) -> Path:
    """Return the folder of a study's films; its report lies beside it."""
    subject = row["subject_id"]
    return root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{row['study_id']}"


def film_path(root: Path, row: Row) -> Path:
    """Return the file of a film."""
    return study_dir(root, row) / f"{row['dicom_id']}.jpg"


def stated_view(row: Row) -> str:
    """Return the view as the header states it: its position, else the meaning of its code."""
    position = row["ViewPosition"].strip()
    return position or row.get("ViewCodeSequence_CodeMeaning", "").strip()


def taken(row: Row) -> tuple[float, float, str]:
    """Return what orders the studies of a subject: date, time of day, study."""
    return float(row["StudyDate"] or "inf"), float(row["StudyTime"] or "inf"), row["study_id"]


@dataclass(frozen=True)
class Mimic:
    """The tables of one copy of the collection, read once."""

    root: Path

    @cached_property
    def films(self) -> list[Row]:
        """The rows of the metadata table."""
        return list(read_table(self.root, METADATA))

    @cached_property
    def splits(self) -> dict[str, str]:
        """The official split of each film, by DICOM id."""
        rows = read_table(self.root, SPLIT)
        return {row["dicom_id"]: SPLIT_OF.get(row["split"], "") for row in rows}

    @cached_property
    def labels(self) -> dict[str, dict[str, float]]:
        """The stated CheXpert labels, by study."""
        rows = read_table(self.root, CHEXPERT)
        return {
            row["study_id"]: {name: float(row[name]) for name in FINDINGS if row.get(name)}
            for row in rows
        }

    @cached_property
    def previous(self) -> dict[str, str]:
        """The study of the same subject just before each study, by date and time; "" of a first."""
        times: dict[str, dict[str, tuple[float, float, str]]] = {}
        for row in self.films:
            studies = times.setdefault(row["subject_id"], {})
            studies[row["study_id"]] = min(taken(row), studies.get(row["study_id"], taken(row)))
        found: dict[str, str] = {}
        for studies in times.values():
            ordered = sorted(studies, key=lambda study: studies[study])
            found |= dict(zip(ordered, ["", *ordered], strict=False))
        return found

    @cached_property
    def reports(self) -> dict[str, dict[str, list[str]]]:
        """The sections of each study's report, by study; empty where there is no report."""
        folders = {row["study_id"]: study_dir(self.root, row) for row in self.films}
        return {study: read_report(folder) for study, folder in folders.items()}

    def reason_to_drop(self, row: Row, seen: set[str]) -> str | None:
        """Return why a row of the metadata table cannot be used, or ``None``."""
        checks = (
            ("unknown split", not self.splits.get(row["dicom_id"])),
            ("no view", stated_view(row) not in VIEW_OF),
            ("same identifier twice", row["dicom_id"] in seen),
            ("file missing", not film_path(self.root, row).is_file()),
        )
        reason = next((reason for reason, holds in checks if holds), None)
        return reason or mimic_report.fault(self.reports[row["study_id"]])

    def film(self, row: Row) -> Film:
        """Build a film from a row of the metadata table."""
        sections = self.reports[row["study_id"]]
        written = {name: mimic_report.one(sections, name) for name in mimic_report.REPORTED}
        report = clean_report(**written)
        stated = {"chexpert": self.labels.get(row["study_id"])}
        view, before = stated_view(row), self.previous[row["study_id"]]
        return Film(
            image_id=row["dicom_id"],
            path=str(film_path(self.root, row)),
            source=SOURCE,
            license=LICENSE,
            patient_id=f"mimic_{row['subject_id']}",
            study_id=f"mimic_{row['study_id']}",
            split=self.splits[row["dicom_id"]],
            view=VIEW_OF[view],
            orig_width=int(row["Columns"]),
            orig_height=int(row["Rows"]),
            findings=report.findings,
            impression=report.impression,
            labels=label_row(written | stated, report),
            indication=clean_indication(mimic_report.one(sections, "indication")),
            projection=PROJECTION_OF.get(view, view),
            earliest=not before,
            previous_study_id=before and f"mimic_{before}",
            written_findings=written["findings"],
            written_impression=written["impression"],
        )


def read_report(folder: Path) -> dict[str, list[str]]:
    """Return the sections of the report beside a study's folder; empty where there is none."""
    path = folder.with_suffix(".txt")
    return mimic_report.split(path.read_text(encoding="utf-8")) if path.is_file() else {}


def build(root: Path) -> Catalog:
    """Read a copy of MIMIC-CXR-JPG and return its catalog.

    Raises
    ------
    CatalogError
        A table is missing, a patient in two splits, or more than 5 % of the rows dropped.
    """
    mimic = Mimic(root)
    films: list[Film] = []
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    for row in mimic.films:
        reason = mimic.reason_to_drop(row, seen)
        if reason is not None:
            dropped[reason] += 1
            continue
        seen.add(row["dicom_id"])
        films.append(mimic.film(row))
    catalog = Catalog(films, dict(dropped))
    check(catalog)
    return catalog
