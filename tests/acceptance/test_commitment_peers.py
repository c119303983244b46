"""Storage commitment with a real Orthanc, both ways, each report over an association of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from node import statuses
from node.app import Node
from node.clock import SystemClock
from node.config import Settings
from node.peer_trial import PeerTrial
from node.schema import commitment_request
from node.scu import Scu
from node.tls import Tls
from node.transactions import reading
from tests.acceptance.peers import Orthanc, free_port, node_settings, peer, wait_for
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import send, study_state


@pytest.fixture
def run_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Return a function that runs a node where an Orthanc calls it, or where it does not."""
    running: list[Node] = []

    def run(orthanc: Orthanc, *, can_be_called: bool = True) -> Node:
        while running:
            running.pop().stop()
        pacs = peer(Orthanc.aet, orthanc.port, ["report"])
        pacs |= {"commitment": True, "allow": ["echo", "store", "commitment"]}
        room = peer("CRROOM1", free_port())
        port = orthanc.node_port if can_be_called else free_port()
        settings = node_settings(tmp_path, port, {"pacs": pacs, "room": room})
        node = Node(Settings.model_validate(settings), FakeEngine())
        running.append(node)
        node.start()
        return node

    yield run
    while running:
        running.pop().stop()


def _timeline(node: Node, study_uid: str) -> list[str]:
    return [step["name"] for step in node.journal.study(study_uid)[0]["timeline"]]


def _is_asked(node: Node) -> bool:
    """Tell whether the peer was asked to commit to something."""
    with reading(node._database) as connection:
        return bool(connection.execute(sa.select(commitment_request)).all())


def test_orthanc_commits_to_a_draft_over_an_association_of_its_own(
    run_node: Callable[..., Node], start_orthanc: Callable[..., Orthanc]
) -> None:
    orthanc = start_orthanc(free_port(), routes=False)
    node, ds = run_node(orthanc), phantom("committed")
    send(node, ds, calling="CRROOM1")
    wait_for(lambda: study_state(node, ds) == ["DONE"], 30, "the commitment")
    assert _timeline(node, ds.StudyInstanceUID)[-3:] == ["sent", "committed", "done"]
    (series,) = orthanc.find("Series", Modality="SR")
    assert len(series["Instances"]) == 1


def test_a_peer_is_tried_out_to_the_commitment(
    run_node: Callable[..., Node], start_orthanc: Callable[..., Orthanc]
) -> None:
    orthanc = start_orthanc(free_port(), routes=False)
    node = run_node(orthanc)
    tls, clock = Tls(node.settings.node.tls, SystemClock()), SystemClock()
    trial = PeerTrial(node.settings, Scu(node.settings.node, tls), tls, clock, node._database)
    rows = {row.name: row for row in trial.steps("pacs", store=True)}
    assert all(row.is_good for row in rows.values()), rows
    assert "reported after" in rows["commitment"].text
    (kept,) = orthanc.find("Patient", PatientName="PHANTOM^CONNECTION TEST")
    assert kept["MainDicomTags"]["PatientID"] == "PHANTOM-TEST"
    (series,) = orthanc.find("Series", SeriesDescription="CONNECTION TEST - DELETE")
    assert len(series["Instances"]) == 1


def test_what_orthanc_lost_is_sent_to_it_again(
    run_node: Callable[..., Node], start_orthanc: Callable[..., Orthanc], tmp_path: Path
) -> None:
    orthanc = start_orthanc(free_port(), routes=False)
    node, ds = run_node(orthanc, can_be_called=False), phantom("lost there")
    send(node, ds, calling="CRROOM1")
    (series,) = wait_for(lambda: orthanc.find("Series", Modality="SR"), 30, "the draft")
    wait_for(lambda: _is_asked(node), 30, "the request")
    before = orthanc.download(series, tmp_path / "before.dcm")
    requests.delete(f"http://127.0.0.1:{orthanc.http_port}/series/{series['ID']}", timeout=10)
    again = run_node(orthanc)
    wait_for(lambda: study_state(again, ds) == ["DONE"], 30, "the commitment")
    steps = _timeline(again, ds.StudyInstanceUID)
    assert steps[-5:] == ["sent", "resent", "sent", "committed", "done"]
    (series,) = orthanc.find("Series", Modality="SR")
    assert orthanc.download(series, tmp_path / "after.dcm") == before


def test_orthanc_is_told_what_the_node_holds(
    run_node: Callable[..., Node], start_orthanc: Callable[..., Orthanc]
) -> None:
    orthanc = start_orthanc(free_port(), routes=False)
    node, ds = run_node(orthanc), phantom("asked about")
    send(node, ds, calling="CRROOM1")
    held = [ds.SOPClassUID, ds.SOPInstanceUID]
    never = [ds.SOPClassUID, "1.2.3.4"]
    assert _commitment(orthanc, held)["Status"] == "Success"
    mixed = _commitment(orthanc, held, never)
    assert mixed["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in mixed["Success"]] == [ds.SOPInstanceUID]
    (failure,) = mixed["Failures"]
    assert failure["SOPInstanceUID"] == "1.2.3.4"
    assert failure["FailureReason"] == statuses.NO_SUCH_INSTANCE


def _commitment(orthanc: Orthanc, *instances: list[str]) -> Any:
    """Let Orthanc ask the node to commit; return what it was told."""
    url = f"http://127.0.0.1:{orthanc.http_port}/modalities/cxrnode/storage-commitment"
    asked = requests.post(url, json={"DicomInstances": list(instances)}, timeout=10)
    asked.raise_for_status()
    path = f"/storage-commitment/{asked.json()['ID']}"
    wait_for(lambda: orthanc.get(path)["Status"] != "Pending", 20, "the report")
    return orthanc.get(path)
