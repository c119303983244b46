"""A real Orthanc is searched for the last chest film before a study, and gives it by C-GET."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.app import Node
from node.config import Settings
from tests.acceptance.peers import Orthanc, free_port, node_settings, peer, tool
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import send, wait_for_state

PERSON = {"PatientID": "7", "PatientBirthDate": "19500101", "StudyTime": "090000"}


def _file(folder: Path, name: str, *, compress: bool = False, **changes: Any) -> Path:
    """Write a film; compressed, by DCMTK, it is lossless JPEG under another UID."""
    path, plain = folder / f"{name}.dcm", folder / f"{name}.plain.dcm"
    ds = phantom(name, **{**PERSON, **changes})
    ds.save_as(plain if compress else path, enforce_file_format=True)
    if compress:
        assert tool("dcmcjpeg", "+e1", "+un", plain, path).returncode == 0
    return path


def _upload(orthanc: Orthanc, *paths: Path) -> None:
    place = ("-aet", "CRROOM1", "-aec", orthanc.aet, "127.0.0.1", str(orthanc.port))
    for path in paths:
        syntax = dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
        options = ("-xs",) if syntax.is_compressed else ()
        assert tool("storescu", *options, *place, path).returncode == 0


def _settings(folder: Path, pacs: dict[str, Any], web: str | None = None) -> Settings:
    """Return a node that has time enough for a search on a busy machine."""
    settings = node_settings(folder, free_port(), {"pacs": pacs})
    settings["node"]["study"]["priors_budget_s"] = 30
    settings["node"]["priors_web"] = {"url": web}
    return Settings.model_validate(settings)


def _drafted(node: Node, ds: Dataset) -> tuple[str, dict[str, Any] | None]:
    node.start()
    try:
        send(node, ds, calling=Orthanc.aet)
        wait_for_state(node, ds, "DONE")
        (row,) = node.journal.study(ds.StudyInstanceUID)
        assert len(node.journal.studies()) == 1, "a prior is no study of ours"
    finally:
        node.stop()
    (detail,) = [step["detail"] for step in row["timeline"] if step["name"] == "prior"]
    print(detail)
    return detail, row["result"]["prior"]


@pytest.mark.parametrize("compress", [False, True])
def test_orthanc_gives_the_prior_of_the_patient_and_no_other(
    tmp_path: Path, start_orthanc: Callable[..., Orthanc], *, compress: bool
) -> None:
    orthanc = start_orthanc(free_port(), routes=False)
    now = phantom("now", **PERSON, StudyDate="20200101")
    wanted = _file(tmp_path, "wanted", StudyDate="20190101", compress=compress)
    _upload(
        orthanc,
        wanted,
        _file(tmp_path, "now", StudyDate="20200101"),
        _file(tmp_path, "other", StudyDate="20190601", PatientID="77"),
    )
    pacs = peer(orthanc.aet, orthanc.port, ["report"]) | {"priors": True}
    settings = _settings(tmp_path, pacs)
    detail, found = _drafted(Node(settings, FakeEngine()), now)
    assert detail.startswith("found in ")
    assert found is not None
    kept, held = dcmread(settings.node.storage.root / found["path"]), dcmread(wanted)
    assert found["sop_instance_uid"] == held.SOPInstanceUID
    assert kept.PixelData == held.PixelData
    assert kept.file_meta.TransferSyntaxUID == held.file_meta.TransferSyntaxUID


def test_orthanc_has_no_prior_of_a_patient_whose_only_study_this_is(
    tmp_path: Path, start_orthanc: Callable[..., Orthanc]
) -> None:
    orthanc = start_orthanc(free_port(), routes=False)
    now = phantom("now", **PERSON, StudyDate="20200101", IssuerOfPatientID="HOSPITAL")
    _upload(
        orthanc,
        _file(tmp_path, "now", StudyDate="20200101", IssuerOfPatientID="HOSPITAL"),
        _file(tmp_path, "other", StudyDate="20190601", PatientID="77"),
        _file(tmp_path, "elsewhere", StudyDate="20190601", IssuerOfPatientID="CLINIC"),
    )
    pacs = peer(orthanc.aet, orthanc.port, ["report"]) | {"priors": True}
    settings = _settings(tmp_path, pacs)
    detail, found = _drafted(Node(settings, FakeEngine()), now)
    assert detail.startswith("none in ")
    assert found is None


@pytest.mark.parametrize("compress", [False, True])
def test_orthanc_gives_the_prior_over_dicomweb_as_well(
    tmp_path: Path, start_orthanc: Callable[..., Orthanc], *, compress: bool
) -> None:
    orthanc = start_orthanc(free_port(), routes=False)
    now = phantom("now", **PERSON, StudyDate="20200101")
    wanted = _file(tmp_path, "wanted", StudyDate="20190101", compress=compress)
    _upload(
        orthanc,
        wanted,
        _file(tmp_path, "now", StudyDate="20200101"),
        _file(tmp_path, "other", StudyDate="20190601", PatientID="77"),
    )
    pacs = peer(orthanc.aet, orthanc.port, ["report"])
    chosen = _settings(tmp_path, pacs, f"{orthanc.url}/dicom-web")
    detail, found = _drafted(Node(chosen, FakeEngine()), now)
    assert detail.startswith("found in ")
    assert detail.endswith("at dicomweb")
    assert found is not None
    kept, held = dcmread(chosen.node.storage.root / found["path"]), dcmread(wanted)
    assert found["sop_instance_uid"] == held.SOPInstanceUID
    assert kept.PixelData == held.PixelData
    assert kept.file_meta.TransferSyntaxUID == held.file_meta.TransferSyntaxUID


def test_a_dicomweb_server_that_is_away_costs_a_draft_nothing_but_its_prior(
    tmp_path: Path, start_orthanc: Callable[..., Orthanc]
) -> None:
    orthanc = start_orthanc(free_port(), routes=False)
    away = f"http://127.0.0.1:{free_port()}/dicom-web"
    settings = _settings(tmp_path, peer(orthanc.aet, orthanc.port, ["report"]), away)
    now = phantom("now", **PERSON, StudyDate="20200101")
    detail, found = _drafted(Node(settings, FakeEngine()), now)
    assert detail.startswith("error in ")
    assert "cannot connect" in detail
    assert found is None
