"""pixelmed's template checker finds nothing in any report, and finds what is broken on purpose."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node import sr_items
from node.codes import Code
from tests.films import phantom
from tests.node.outputs_made import draft_sr
from tests.node.reports_made import reports, source

JAR = Path("/usr/share/java/pixelmed.jar")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (JAR.exists() and shutil.which("java")) and "CI" not in os.environ,
        reason="pixelmed-apps is not installed",
    ),
]
COMMAND = [
    "java",
    "-XX:TieredStopAtLevel=1",  # it runs for seconds: half of them went into optimising its code
    *(f"-Djdk.xml.xpath{limit}Limit=0" for limit in ("ExprOp", "TotalOp", "ExprGrp")),
    "-cp",
    str(JAR),
    "com.pixelmed.validate.DicomSRValidator",
]
"""The limits are lifted since JDK 17 counts the checker's own style sheet as an attack."""

EXPECTED = {"draft": "TID_2000", "basic_text": "TID_2000", "findings": "TID_1500"}
EXTENSIONS = re.compile(r'/(?:TEXT \(121106,DCM,"Comment"\)|CODE \(705057003,SCT,"Presence"\)): ')
"""TID 1501 is extensible: a comment and a qualitative evaluation may stand in a group (rows 11, 12
of newer editions than the checker's)."""
REPORTS = reports(source())


def complaints(ds: Dataset, folder: Path) -> tuple[str, list[str]]:
    """Return what the checker printed, and the lines of it that are complaints.

    It always exits with 0, and calls an illegal relationship neither error nor warning.
    """
    path = folder / "report.dcm"
    ds.save_as(path, enforce_file_format=True)
    done = subprocess.run([*COMMAND, str(path)], capture_output=True, text=True, check=True)
    words = re.compile(r"^(?:Error|Warning)|illegal relationship")
    lines = [line for line in done.stdout.splitlines() if words.search(line)]
    return done.stdout, [line for line in lines if not EXTENSIONS.search(line)]


@pytest.mark.parametrize("form", ["draft", "successor", "basic_text", "findings", "findings_air"])
def test_a_report_keeps_its_template(form, tmp_path):
    printed, found = complaints(REPORTS[form], tmp_path)
    assert found == []
    assert "Root Template Validation Complete" in printed
    assert f"Found Root Template {EXPECTED.get(form, 'TID')}" in printed


def _wrong_relationship(ds: Dataset) -> None:
    image = sr_items.image("HAS PROPERTIES", Code("121112", "DCM", "Source"), phantom())
    next(i for i in ds.ContentSequence if i.ValueType == "CONTAINER").ContentSequence.append(image)


def _no_language(ds: Dataset) -> None:
    ds.ContentSequence.pop(0)


def _unknown_heading(ds: Dataset) -> None:
    section = next(item for item in ds.ContentSequence if item.ValueType == "CONTAINER")
    section.ConceptNameCodeSequence[0].CodeValue = "121999"


@pytest.mark.parametrize("breaks", [_wrong_relationship, _no_language, _unknown_heading])
def test_a_broken_report_is_noticed(breaks, tmp_path):
    ds = draft_sr()
    breaks(ds)
    assert complaints(ds, tmp_path)[1]
