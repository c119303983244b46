"""The document and DICOMweb against a real PACS: what Orthanc stored is what was drafted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from node.sr_document import BANNER
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
from tests.receivers import secret

pytestmark = films.needs_films
_DRAFT_TIMEOUT_S = 90
_USER, _PASSWORD = "cxr", "not quite a secret"
_KINDS = ["report", "pdf", "synthetic"]


def _send_to(node: NodeProcess, folder: Path, film: Any) -> None:
    """Send a film to the node as a PACS would."""
    film.save_as(folder / "film.dcm", enforce_file_format=True)
    to = ("-aec", "CXRDRAFT", "127.0.0.1", str(node.port))
    sent = tool("storescu", "-aet", "HOSPACS", *to, folder / "film.dcm")
    assert sent.returncode == 0, sent.stderr


def _stow(orthanc: Orthanc, folder: Path, password: str = _PASSWORD) -> dict[str, Any]:
    return {
        "url": f"{orthanc.url}/dicom-web",
        "send": _KINDS,
        "username": _USER,
        "password_file": str(secret(folder, password)),
    }


def _is_done(node: NodeProcess) -> bool:
    return list(node.states().values()) == ["DONE"]


def _check_document(orthanc: Orthanc, folder: Path, film: Any) -> None:
    """Read the document back and look at its pages."""
    (series,) = orthanc.find("Series", Modality="DOC")
    document = orthanc.download(series, folder / "document.dcm")
    assert document.StudyInstanceUID == film.StudyInstanceUID
    assert document.PatientID == film.PatientID
    assert faults_of(folder / "document.dcm") == []
    content = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    pdf = pypdfium2.PdfDocument(content)
    texts = [page.get_textpage().get_text_range() for page in pdf]
    pdf.close()
    assert texts
    assert all(text.count(BANNER) == 2 for text in texts)
    assert str(film.PatientID) in texts[0]


@pytest.mark.parametrize("way", ["store", "stow"])
def test_every_object_comes_back_from_orthanc(
    way: str,
    tmp_path: Path,
    start_node: Callable[..., NodeProcess],
    start_orthanc: Callable[..., Orthanc],
    good_films: list[films.Film],
) -> None:
    port = free_port()
    orthanc = start_orthanc(port, routes=False, users={_USER: _PASSWORD})
    outputs: dict[str, Any] = {"synthetic": {"enabled": True}}
    if way == "stow":
        outputs["stow"] = _stow(orthanc, tmp_path)
    peers = {"pacs": peer(orthanc.aet, orthanc.port, _KINDS if way == "store" else [])}
    node = start_node(node_settings(tmp_path, port, peers, **outputs))
    film = films.dicom(good_films[0])
    _send_to(node, tmp_path, film)
    wait_for(lambda: _is_done(node), _DRAFT_TIMEOUT_S, "the deliveries")
    assert {one["MainDicomTags"]["Modality"] for one in orthanc.find("Series")} == {
        "SR",
        "DOC",
        "OT",
    }
    _check_document(orthanc, tmp_path, film)
    (report_series,) = orthanc.find("Series", Modality="SR")
    report = orthanc.download(report_series, tmp_path / "report.dcm")
    assert report.VerificationFlag == "UNVERIFIED"
    assert faults_of(tmp_path / "report.dcm") == []


def test_a_wrong_password_and_an_outage_cost_no_draft(
    tmp_path: Path,
    start_node: Callable[..., NodeProcess],
    start_orthanc: Callable[..., Orthanc],
    good_films: list[films.Film],
) -> None:
    port = free_port()
    orthanc = start_orthanc(port, routes=False, users={_USER: _PASSWORD})
    stow = _stow(orthanc, tmp_path, password="mistyped")
    peers = {"pacs": peer(orthanc.aet, orthanc.port)}
    node = start_node(node_settings(tmp_path, port, peers, stow=stow))
    checked = node.call("check")
    assert "HTTP 401" in checked.stdout
    _send_to(node, tmp_path, films.dicom(good_films[0]))
    wait_for(lambda: "HTTP 401" in node.log(), _DRAFT_TIMEOUT_S, "a refusal")
    assert _PASSWORD not in node.log()
    assert "mistyped" not in node.log()
    orthanc.stop()
    wait_for(lambda: "cannot connect" in node.log(), 30, "an attempt at an Orthanc that is away")
    secret(tmp_path, _PASSWORD)
    orthanc.start()
    wait_for(lambda: _is_done(node), 30, "the delivery")
    assert len(orthanc.find("Instance", Modality="SR")) == 1
