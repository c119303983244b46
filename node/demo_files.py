"""The files that the demo leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from engine.banner import burn
from engine.pixels import Transform, render, to_uint8
from engine.png import SYNTHETIC_NOTE, save_png
from node.picture import draft_beside_film
from node.rules import is_synthetic
from node.sr_text import as_html, as_text, status_of, title_of, walk

_SIZE = 1024
_FOOTER = "cxr-node: research software, not a medical device"


def write_report(folder: Path, report: Dataset) -> tuple[Path, ...]:
    """Write the draft as DICOM, HTML and text."""
    dicom, html, text = (folder / f"draft-report.{suffix}" for suffix in ("dcm", "html", "txt"))
    report.save_as(dicom, enforce_file_format=True)
    html.write_text(as_html(report), encoding="utf-8")
    text.write_text(as_text(report), encoding="utf-8")
    return dicom, html, text


def write_findings(folder: Path, findings: Dataset) -> tuple[Path, ...]:
    """Write the findings as DICOM and HTML."""
    dicom, html = folder / "findings.dcm", folder / "findings.html"
    findings.save_as(dicom, enforce_file_format=True)
    html.write_text(as_html(findings), encoding="utf-8")
    return dicom, html


def write_document(folder: Path, document: Dataset) -> Path:
    """Write the rendered pages."""
    path = folder / "draft.pdf"
    path.write_bytes(document.EncapsulatedDocument[: document.EncapsulatedDocumentLength])
    return path


def write_film(folder: Path, film: Dataset) -> tuple[Path, ...]:
    """Write the film as DICOM and PNG; a synthetic one gets its banner in the PNG."""
    dicom, png = folder / "film.dcm", folder / "film.png"
    film.save_as(dicom, enforce_file_format=True)
    save_png(png, _shown(film), SYNTHETIC_NOTE if is_synthetic(film) else None)
    return dicom, png


def write_drawing(folder: Path, synthetic: Dataset) -> tuple[Path, ...]:
    """Write the synthetic film as DICOM and PNG, banner and all."""
    dicom, png = folder / "synthetic-image.dcm", folder / "synthetic-image.png"
    synthetic.save_as(dicom, enforce_file_format=True)
    pixels = np.frombuffer(synthetic.PixelData, np.uint8)
    save_png(png, pixels.reshape(synthetic.Rows, synthetic.Columns), SYNTHETIC_NOTE)
    return dicom, png


def write_picture(folder: Path, film: Dataset, report: Dataset) -> Path:
    """Write the film with its draft beside it."""
    path = folder / "draft-beside-film.png"
    lines = tuple(walk(report))
    draft_beside_film(_shown(film), status_of(report), title_of(report), lines, _FOOTER).save(path)
    return path


def _shown(film: Dataset) -> NDArray[np.uint8]:
    """Return the film as it may be shown to people."""
    grey = to_uint8(render(film, Transform(size=_SIZE)))
    return burn(grey, _SIZE) if is_synthetic(film) else grey
