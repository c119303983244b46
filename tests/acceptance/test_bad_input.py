"""Whatever comes in: one clear line in the log and in `status`, the right DICOM status, no loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE

from node.redact import stranger
from node.sop_classes import IMAGE_CLASSES, TRANSFER_SYNTAXES
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

Start = Callable[..., NodeProcess]
DICOM = films.SHARED / "dicom"
_ENDED = {"DONE", "SKIPPED", "FAILED"}


def _send(node: NodeProcess, folder: Path, ds: Dataset, *, calling: str = "ROOM") -> str:
    """Send an object with storescu; return what it prints."""
    path = folder / "sent.dcm"
    ds.save_as(path, enforce_file_format=True)
    return _send_file(node, path, calling=calling)


def _send_file(node: NodeProcess, path: Path, *options: str, calling: str = "ROOM") -> str:
    arguments = ("-aet", calling, "-aec", "CXRDRAFT", "127.0.0.1", str(node.port), path)
    sent = tool("storescu", "-v", *options, *arguments)
    return sent.stdout + sent.stderr


def _lines(node: NodeProcess, *words: str) -> list[str]:
    return [line for line in node.log().splitlines() if all(word in line for word in words)]


def _reason(node: NodeProcess, ds: Dataset) -> tuple[str, str]:
    """Return the state in which a study ends, and why."""
    uid = ds.StudyInstanceUID
    wait_for(lambda: node.states().get(uid) in _ENDED, 60, "the study to end")
    row = node.journal.study(uid)[-1]
    return row["state"], row["reason"]


@pytest.fixture
def node(tmp_path: Path, start_node: Start) -> NodeProcess:
    peers = {"room": peer("ROOM", free_port())}
    return start_node(node_settings(tmp_path, free_port(), peers))


def test_an_unknown_caller(node: NodeProcess, tmp_path: Path) -> None:
    shown = _send(node, tmp_path, films.phantom("x"), calling="STRANGER")
    assert "Calling AE Title Not Recognized" in shown
    known_by = stranger("STRANGER")
    assert len(_lines(node, "association.refused", known_by, f"ae_title: {known_by}")) == 1
    assert _lines(node, "STRANGER") == []
    assert node.status()["rejections"][0]["reason"] == "calling AE title is not known"


def test_a_class_that_the_node_does_not_take(node: NodeProcess, tmp_path: Path) -> None:
    ds = films.phantom("ct", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")
    assert "No valid Presentation Context" in _send(node, tmp_path, ds)
    assert node.status()["studies"] == []


def test_a_data_set_that_is_not_what_it_says(node: NodeProcess, tmp_path: Path) -> None:
    ds = films.phantom("broken")
    ds.StudyInstanceUID = ""
    ds.save_as(tmp_path / "broken.dcm", enforce_file_format=True)
    shown = _send_file(node, tmp_path / "broken.dcm")
    assert "0xc000" in shown.lower() or "CannotUnderstand" in shown
    (line,) = _lines(node, "instance.refused")
    assert "StudyInstanceUID is missing" in line
    assert "StudyInstanceUID is missing" in node.status()["rejections"][0]["reason"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"BodyPartExamined": "HAND"}, "body part HAND is not the chest"),
        ({"Modality": "XC"}, "modality XC is not CR or DX"),
    ],
    ids=["hand", "photograph"],
)
def test_a_study_without_a_chest_film(
    node: NodeProcess, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    ds = films.phantom("hand", **changes)
    _send(node, tmp_path, ds)
    assert _reason(node, ds) == ("SKIPPED", f"no frontal film: {reason}")
    assert len(_lines(node, "study.skipped", reason)) == 1


@films.needs_films
def test_a_study_of_lateral_films_only(node: NodeProcess, tmp_path: Path) -> None:
    ds = films.dicom(films.films("lateral")[2], size=512)
    _send(node, tmp_path, ds)
    state, reason = _reason(node, ds)
    assert state == "SKIPPED"
    assert reason.startswith("no acceptable film: ")
    assert len(_lines(node, "study.skipped")) == 1


def test_pixels_that_cannot_be_read(node: NodeProcess, tmp_path: Path) -> None:
    ds = films.phantom("short")
    ds.PixelData = ds.PixelData[:1000]
    _send(node, tmp_path, ds)
    state, reason = _reason(node, ds)
    assert state == "FAILED"
    assert reason.startswith("unreadable pixels: ")
    assert len(_lines(node, "study.failed", "unreadable pixels")) == 1


def test_a_full_disk(tmp_path: Path, start_node: Start) -> None:
    settings = node_settings(tmp_path, free_port(), {"room": peer("ROOM", free_port())})
    settings["node"]["storage"]["free_min_gb"] = 1e9
    node = start_node(settings)
    shown = _send(node, tmp_path, films.phantom("full"))
    assert "0xa700" in shown.lower() or "OutOfResources" in shown
    assert len(_lines(node, "instance.refused", "0xA700", "below the watermark")) == 1
    assert "watermark" in node.status()["rejections"][0]["reason"]
    assert (
        tool("echoscu", "-aet", "ROOM", "-aec", "CXRDRAFT", "127.0.0.1", str(node.port)).returncode
        == 0
    )


def test_a_missing_bundle(tmp_path: Path) -> None:
    settings = node_settings(tmp_path, free_port(), {})
    settings["engine"] = {"bundle": str(tmp_path / "nothing")}
    node = NodeProcess(tmp_path, settings)
    failed = node.call("run")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert len(failed.stderr.splitlines()) == 2
    rows = {row["name"]: row for row in json.loads(node.call("check", "--json").stdout)}
    assert not rows["bundle"]["is_good"]


def _sendable() -> dict[Path, Dataset]:
    """Return the shared DICOM files of the classes and syntaxes that the node takes.

    Each becomes a study of its own: many share one Study Instance UID without being one study.
    """
    found: dict[Path, Dataset] = {}
    for path in sorted(path for path in DICOM.rglob("*") if path.is_file()):
        ds = dcmread(path, force=True)
        if ds.get("SOPClassUID") not in IMAGE_CLASSES or "SOPInstanceUID" not in ds:
            continue
        if "TransferSyntaxUID" not in ds.file_meta:
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        if ds.file_meta.TransferSyntaxUID in TRANSFER_SYNTAXES:
            ds.StudyInstanceUID = films.uid("shared", path.name)
            ds.SOPInstanceUID = films.uid("shared instance", path.name)
            found[path] = ds
    return found


def _c_store(port: int, ds: Dataset) -> int | None:
    """Send an object in its own transfer syntax; return the status."""
    ae = AE("ROOM")
    ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    assoc = ae.associate("127.0.0.1", port, ae_title="CXRDRAFT")
    assert assoc.is_established
    answer = assoc.send_c_store(ds)
    assoc.release()
    return int(answer.Status) if "Status" in answer else None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not DICOM.exists(), reason="the shared DICOM files are not here (CXR_SHARED)")
def test_every_shared_file_ends_well_and_every_report_is_valid(
    tmp_path: Path, start_node: Start, start_orthanc: Callable[..., Orthanc]
) -> None:
    """Each file is refused with a status, or its study ends with a report or a reason."""
    port = free_port()
    orthanc = start_orthanc(port, routes=False)
    peers = {"pacs": peer(orthanc.aet, orthanc.port, ["report"]), "room": peer("ROOM", 1)}
    node = start_node(node_settings(tmp_path, port, peers))
    statuses = {path.name: _c_store(port, ds) for path, ds in _sendable().items()}
    assert len(statuses) > 30
    assert None not in statuses.values()
    assert set(statuses.values()) <= {0x0000, 0xA900, 0xC000}
    wait_for(lambda: set(node.states().values()) <= _ENDED, 200, "every study to end")
    studies = node.journal.studies(limit=1000)
    assert len(studies) == list(statuses.values()).count(0x0000)
    assert all(row["reason"] for row in studies if row["state"] != "DONE")
    reports = orthanc.find("Series", Modality="SR")
    assert len(reports) == [row["state"] for row in studies].count("DONE") > 0
    for number, series in enumerate(reports):
        path = tmp_path / f"report{number}.dcm"
        orthanc.download(series, path)
        assert faults_of(path) == []
