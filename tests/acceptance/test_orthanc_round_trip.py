"""A hospital's Orthanc routes real films to `cxr-node run` and gets drafts back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import films
from tests.acceptance.peers import (
    NodeProcess,
    Orthanc,
    faults_of,
    free_port,
    node_settings,
    peer,
    tool,
    wait_for,
)

pytestmark = films.needs_films
_DRAFT_TIMEOUT_S = 90


def _film(good_films: list[films.Film], *, inverted: bool) -> films.Film:
    """Return a film with or without inverted grey values, as its real header says."""
    photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
    return next(f for f in good_films if f.header["Photometric Interpretation"] == photometric)


def _send_to(orthanc: Orthanc, folder: Path, *objects: Any) -> None:
    """Send films to the PACS as a modality would."""
    paths = []
    for number, ds in enumerate(objects):
        paths.append(folder / f"film{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    sent = tool(
        "storescu", "-aet", "CRROOM1", "-aec", orthanc.aet, "127.0.0.1", str(orthanc.port), *paths
    )
    assert sent.returncode == 0, sent.stderr


@pytest.mark.parametrize("identity", ["research_patient", "same_study"])
def test_the_draft_comes_back_into_its_study_and_the_synthetic_image_where_it_belongs(
    identity: str,
    tmp_path: Path,
    start_node: Callable[..., NodeProcess],
    start_orthanc: Callable[..., Orthanc],
    good_films: list[films.Film],
) -> None:
    port = free_port()
    orthanc = start_orthanc(port)
    synthetic = {"enabled": True, "identity": identity}
    peers = {"pacs": peer(orthanc.aet, orthanc.port, ["report", "synthetic"])}
    node = start_node(node_settings(tmp_path, port, peers, synthetic=synthetic))
    film = films.dicom(_film(good_films, inverted=identity == "same_study"))
    _send_to(orthanc, tmp_path, film)
    wait_for(
        lambda: list(node.states().values()) == ["DONE"], _DRAFT_TIMEOUT_S, "the draft's delivery"
    )

    (study,) = orthanc.find("Study", StudyInstanceUID=film.StudyInstanceUID)
    (report_series,) = orthanc.find("Series", Modality="SR")
    assert report_series["ParentStudy"] == study["ID"]
    report = orthanc.download(report_series, tmp_path / "report.dcm")
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.22"
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.CompletionFlag == "PARTIAL"
    assert report.SeriesDescription == "AI DRAFT REPORT - UNVERIFIED"
    assert report.PatientID == film.PatientID
    assert report.AccessionNumber == film.AccessionNumber
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID
    assert faults_of(tmp_path / "report.dcm") == []

    (drawn_series,) = orthanc.find("Series", Modality="OT")
    drawn = orthanc.download(drawn_series, tmp_path / "drawn.dcm")
    assert drawn.SyntheticData == "YES"
    assert faults_of(tmp_path / "drawn.dcm") == []
    if identity == "same_study":
        assert drawn_series["ParentStudy"] == study["ID"]
        assert drawn.PatientID == film.PatientID
    else:
        assert drawn_series["ParentStudy"] != study["ID"]
        assert drawn.PatientID.startswith("RESEARCH-")
        assert film.PatientID not in str(drawn.PatientName)
    _check_no_loop(orthanc, node)
    assert node.stop() == 0


def _check_no_loop(orthanc: Orthanc, node: NodeProcess) -> None:
    """The objects that came back make their study stable again; nothing more may follow."""
    wait_for(lambda: all(study["IsStable"] for study in orthanc.find("Study")), 20, "a stable PACS")
    assert len(orthanc.find("Series", Modality="SR")) == 1
    assert len(node.status()["studies"]) == 1
    assert "refused" not in node.log()


def test_an_orthanc_that_was_down_gets_the_draft_when_it_is_back(
    tmp_path: Path,
    start_node: Callable[..., NodeProcess],
    start_orthanc: Callable[..., Orthanc],
    good_films: list[films.Film],
) -> None:
    port = free_port()
    orthanc = start_orthanc(port)
    peers = {
        "pacs": peer(orthanc.aet, orthanc.port, ["report"]),
        "room": peer("CRROOM1", free_port()),
    }
    node = start_node(node_settings(tmp_path, port, peers))
    orthanc.stop()
    film = films.dicom(good_films[0])
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    arguments = ("-aet", "CRROOM1", "-aec", "CXRDRAFT", "127.0.0.1", str(port))
    assert tool("storescu", *arguments, tmp_path / "film.dcm").returncode == 0
    wait_for(lambda: "cannot connect" in node.log(), _DRAFT_TIMEOUT_S, "a failed delivery")
    orthanc.start()
    wait_for(lambda: list(node.states().values()) == ["DONE"], 30, "the delivery")
    assert len(orthanc.find("Series", Modality="SR")) == 1
