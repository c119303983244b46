"""The reports as dsrdump prints them: what changes in a report shows up in review.

``CXR_GOLDEN=write pytest tests/node/test_golden.py`` writes the dumps anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.node.reports_made import reports, source

GOLDEN = Path(__file__).parents[1] / "golden"
REPORTS = reports(source())
pytestmark = pytest.mark.skipif(
    not shutil.which("dsrdump") and "CI" not in os.environ, reason="dcmtk is not installed"
)


def dump(ds: Dataset, folder: Path) -> str:
    path = folder / "report.dcm"
    ds.save_as(path, enforce_file_format=True)
    done = subprocess.run(
        ["dsrdump", "+Pl", "+Pc", "+Pu", str(path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    return "\n".join(line.rstrip() for line in lines if not line.startswith("#")) + "\n"


@pytest.mark.parametrize("form", REPORTS)
def test_a_report_reads_as_it_did(form, tmp_path):
    written = dump(REPORTS[form], tmp_path)
    path = GOLDEN / f"{form}.txt"
    if os.environ.get("CXR_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(written)
    assert path.read_text() == written


def test_no_report_has_lost_its_dump():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(REPORTS)
