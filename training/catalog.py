"""One table of films: where each is, which patient, which split, which report, which labels.

The table is the only thing that the rest of training reads. Every row that the sources hold and
the table does not is counted under the reason why, and a run fails when too many are dropped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.findings import FINDINGS, NIH_TO_FINDING
from engine.labeler import label
from engine.pixels import Transform, render_file, to_uint8
from training import parquet
from training.errors import CatalogError
from training.sections import Report, clean_indication, clean_report

SPLITS = ("train", "val")
MAX_DROPPED_SHARE = 0.05
AGE = re.compile(r"(\d{1,3}(?:\.\d+)?)Y?")
OLDEST = 120
"""In years: some headers hold ages of four hundred."""


def present_in(labels: Sequence[float | None]) -> frozenset[str]:
    """Return the findings that fourteen labels (or none at all) call present or possible."""
    pairs = zip(FINDINGS[1:], labels[1:], strict=True) if labels else ()
    return frozenset(name for name, value in pairs if value in (1.0, -1.0))


@dataclass(frozen=True)
class Film:
    """One image with everything that training may know about it.

    ``labels`` has one entry per name in `engine.findings.FINDINGS`: 1 present, 0 absent, -1
    uncertain, ``None`` not mentioned. ``projection`` is PA, AP or the like as the source states
    it; ``earliest`` marks the films of a patient's first study, ``previous_study_id`` names the
    study before another; the ``written`` sections are the report before cleaning, which only
    evaluation reads; ``age`` is in years.
    """

    image_id: str
    path: str
    source: str
    license: str
    patient_id: str
    study_id: str
    split: str
    view: str
    orig_width: int
    orig_height: int
    findings: str
    impression: str
    labels: list[float | None] = field(default_factory=list)
    indication: str = ""
    projection: str = ""
    sex: str = ""
    age: float | None = None
    device: str = ""
    mesh: str = ""
    earliest: bool = True
    previous_study_id: str = ""
    written_findings: str = ""
    written_impression: str = ""

    @property
    def has_report(self) -> bool:
        """Tell whether a cleaned report is left for the film."""
        return bool(self.findings or self.impression)

    @property
    def present(self) -> frozenset[str]:
        """The findings that the labels call present or possible."""
        return present_in(self.labels)


@dataclass(frozen=True)
class Catalog:
    """The films and, by reason, how many source rows were left out."""

    films: list[Film]
    dropped: dict[str, int]

    def digest(self) -> str:
        """Return a sha256 over identities, splits and texts: the data manifest of a model."""
        lines = sorted(
            json.dumps([f.image_id, f.split, f.findings, f.impression, f.labels])
            for f in self.films
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def label_row(manifest_row: dict[str, Any], report: Report) -> list[float | None]:
    """Return the fourteen labels of a row: of its report where it has one, else as stated.

    Reports are labelled by `engine.labeler`, so that training, thresholds and evaluation mean the
    same by a finding; as they were written, since cleaning takes sentences out and not what the
    film shows.
    """
    written = [manifest_row.get(section) or "" for section in ("findings", "impression")]
    if report.text:
        return list(label("\n".join(written)))
    stated: dict[str, float] = dict(manifest_row.get("chexpert") or {})
    raw = manifest_row.get("nih_label_raw")
    if raw:
        stated = nih_labels(raw)
    if stated and "No Finding" not in stated:
        stated["No Finding"] = 0.0
    found = (stated.get(name) for name in FINDINGS)
    return [None if value is None else float(value) for value in found]


def nih_labels(raw: str) -> dict[str, float]:
    """Return labels for one NIH ChestX-ray14 string: its classes are exhaustive, so absent is 0."""
    present = {NIH_TO_FINDING.get(part, "") for part in raw.split("|")}
    known = {name: float(name in present) for name in set(NIH_TO_FINDING.values())}
    known["No Finding"] = float(raw == "No Finding")
    return known


def age_of(stated: str | float | None) -> float | None:
    """Return an age in years as manifests ("71.0") and DICOM ("077Y") state it, else ``None``."""
    found = AGE.fullmatch(str(stated or "").strip())
    years = float(found.group(1)) if found else None
    return years if years is not None and years <= OLDEST else None


def device_of(row: dict[str, Any]) -> str:
    """Return what a row tells of its detector: modality and bits, empty if nothing."""
    bits = (row.get("dicom") or {}).get("bits_stored")
    return " ".join(part for part in (row.get("modality"), bits and f"{bits} bit") if part)


def film_from_manifest(row: dict[str, Any], root: Path) -> Film:
    """Build a film from one row of ``manifest.jsonl``."""
    report = clean_report(row.get("findings"), row.get("impression"))
    return Film(
        image_id=row["id"],
        path=str(root / row["file"]),
        source=row["source_dataset"],
        license=row["license"],
        patient_id=row["patient_id"],
        study_id=row["study_id"],
        split=row["split"],
        view=row["view"],
        orig_width=int(row.get("orig_width") or row["width"]),
        orig_height=int(row.get("orig_height") or row["height"]),
        findings=report.findings,
        impression=report.impression,
        labels=label_row(row, report),
        indication=clean_indication(row.get("indication")),
        projection=row.get("view_position") or "",
        sex=(row.get("sex") or "").upper(),
        age=age_of(row.get("age")),
        device=device_of(row),
        mesh="; ".join(row.get("labels") or ()),
        written_findings=row.get("findings") or "",
        written_impression=row.get("impression") or "",
    )


def reason_to_drop(row: dict[str, Any], root: Path, seen: set[str]) -> str | None:
    """Return why a manifest row cannot be used, or ``None``."""
    checks = (
        ("unknown split", row.get("split") not in SPLITS),
        ("held-out test study", row.get("r2gen_split") == "test"),
        ("duplicate of another film", bool(row.get("duplicate_of"))),
        ("no view", row.get("view") not in ("frontal", "lateral")),
        ("rotated or upside down", bool(row.get("quality_note"))),
        ("same identifier twice", row["id"] in seen),
        ("file missing", not (root / row["file"]).is_file()),
    )
    return next((reason for reason, holds in checks if holds), None)


def read_manifest(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``root/manifest.jsonl``."""
    path = root / "manifest.jsonl"
    if not path.is_file():
        raise CatalogError(f"no manifest.jsonl under {root}")
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def build(root: Path) -> Catalog:
    """Read a folder of films in any layout of `LAYOUTS` and return its catalog.

    Raises
    ------
    CatalogError
        No known layout, a patient in two splits, or more than 5 % of the rows dropped.
    """
    for pattern, build_layout in LAYOUTS:
        if any(root.glob(pattern)):
            return build_layout(root)
    expected = " or ".join(pattern for pattern, _ in LAYOUTS)
    raise CatalogError(f"no films under {root}", hint=f"the folder must hold {expected}")


def build_mimic(root: Path) -> Catalog:
    """Read a copy of MIMIC-CXR-JPG."""
    # the source builds this module's films, so it can only be imported once they are defined
    from training.sources import mimic

    return mimic.build(root)


def build_manifest(root: Path) -> Catalog:
    """Read a folder with ``manifest.jsonl``."""
    films: list[Film] = []
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    for row in read_manifest(root):
        reason = reason_to_drop(row, root, seen)
        if reason is not None:
            dropped[reason] += 1
            continue
        seen.add(row["id"])
        films.append(film_from_manifest(row, root))
    catalog = Catalog(films, dict(dropped))
    check(catalog)
    return catalog


LAYOUTS: tuple[tuple[str, Callable[[Path], Catalog]], ...] = (
    ("manifest.jsonl", build_manifest),
    ("mimic-cxr-*-metadata.csv*", build_mimic),
)
"""How a folder of films is recognised, and what reads it."""


def check(catalog: Catalog) -> None:
    """Refuse a catalog whose splits share a patient or that lost too much."""
    splits: dict[str, set[str]] = {}
    for film in catalog.films:
        splits.setdefault(film.patient_id, set()).add(film.split)
    shared = sum(len(found) > 1 for found in splits.values())
    if shared:
        raise CatalogError(f"{shared} patients stand in two splits")
    lost = sum(catalog.dropped.values())
    if lost > MAX_DROPPED_SHARE * (lost + len(catalog.films)):
        raise CatalogError(f"too many rows dropped: {catalog.dropped}")


def write(catalog: Catalog, path: Path) -> None:
    """Write the catalog as Parquet, its drop counts and digest in the schema's metadata."""
    notes = {"dropped": catalog.dropped, "digest": catalog.digest()}
    parquet.store([asdict(film) for film in catalog.films], path, notes=notes)


def read(path: Path) -> Catalog:
    """Read a catalog written by `write`."""
    if not path.is_file():
        raise CatalogError(f"no catalog at {path}", hint="run `cxr-train catalog` first")
    table = pq.read_table(path)
    notes = table.schema.metadata or {}
    films = [Film(**row) for row in table.to_pylist()]
    return Catalog(films, json.loads(notes.get(b"dropped", b"{}")))


def film_pixels(film: Film, transform: Transform) -> NDArray[np.uint8]:
    """Return one film as uint8 [256, 256], through the very transform that the node applies.

    Films that their source has squashed already go through it too: a fifth of them keep a grey
    floor that no DICOM file has, and the percentile clip takes it away.
    """
    return to_uint8(render_file(Path(film.path), transform))


def write_images(films: Iterable[Film], transform: Transform, path: Path) -> NDArray[np.uint8]:
    """Write films into one ``.npy`` of uint8 [N, 256, 256], in order; return it mapped."""
    rows = list(films)
    partial = path.with_suffix(".partial.npy")
    shape = (len(rows), transform.size, transform.size)
    images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    for index, film in enumerate(rows):
        images[index] = film_pixels(film, transform)
    images.flush()
    partial.replace(path)
    return np.load(path, mmap_mode="r")


def read_images(path: Path) -> NDArray[np.uint8]:
    """Map the image array written by `write_images`."""
    if not path.is_file():
        raise CatalogError(f"no image array at {path}", hint="run `cxr-train catalog` first")
    return np.load(path, mmap_mode="r")
