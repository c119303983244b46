"""A node with every channel on: each receiver gets the draft once, also after it was away."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.app import Node
from node.checks import run_checks
from node.config import Settings
from node.config_file import load_settings
from node.config_kinds import OutputKind
from node.errors import ConfigInvalid
from tests.films import phantom, uid
from tests.node.conftest import Pacs, send, settings_for, study_state, wait_for, wait_for_state
from tests.node.planted import MARKER
from tests.receivers import Fhir, Mllp, Stow

Start = Callable[..., Node]
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
KINDS = {"report", "pdf"}


@dataclass(frozen=True)
class Receivers:
    """One of each kind, on loopback."""

    stow: Stow
    hl7: Mllp
    fhir: Fhir

    def start(self) -> None:
        for one in (self.stow.server, self.hl7, self.fhir.server):
            one.start()

    def stop(self) -> None:
        for one in (self.stow.server, self.hl7, self.fhir.server):
            one.stop()

    def settings(self, root: Path, pacs: Pacs) -> Settings:
        plain = settings_for(root, pacs.port).model_dump()
        plain["outputs"] |= {
            "stow": {"url": self.stow.url, "send": ["report", "pdf"], "timeout_s": 5},
            "hl7": {"host": "127.0.0.1", "port": self.hl7.port, "timeout_s": 5},
            "fhir": {"url": self.fhir.url, "version": self.fhir.version, "timeout_s": 5},
        }
        plain["peers"]["pacs"]["send"] = ["report", "pdf"]
        return Settings.model_validate(plain)

    def counts(self) -> tuple[int, int, int]:
        """Return how often each has the draft: objects, messages, reports."""
        reports = self.fhir.of_type("DiagnosticReport")
        return len(self.stow.stored), len(self.hl7.received), len(reports)


@pytest.fixture(params=["R4", "R5"])
def receivers(request: pytest.FixtureRequest, pacs: Pacs) -> Iterator[Receivers]:
    pacs.stop()
    pacs.classes = [*pacs.classes, PDF]
    pacs.start()
    made = Receivers(Stow(), Mllp(), Fhir(request.param))
    made.start()
    yield made
    made.stop()


def _rows(node: Node, ds: Dataset) -> list[dict[str, Any]]:
    return [row for made in node.journal.study(ds.StudyInstanceUID) for row in made["outputs"]]


def test_every_channel_gets_the_draft_once(
    start_node: Start, receivers: Receivers, pacs: Pacs, tmp_path: Path
) -> None:
    node, ds = start_node(receivers.settings(tmp_path / "r", pacs)), phantom("channels")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert receivers.counts() == (2, 1, 1)
    assert {str(made.Modality) for made in receivers.stow.stored} == {"SR", "DOC"}
    assert {str(made.Modality) for made in pacs.received} == {"SR", "DOC"}
    assert {made.StudyInstanceUID for made in receivers.stow.stored} == {ds.StudyInstanceUID}
    assert str(ds.StudyInstanceUID) in receivers.hl7.received[0]
    (report,) = receivers.fhir.of_type("DiagnosticReport")
    assert report["subject"]["identifier"]["value"] == ds.PatientID
    sent = Counter(row["destination"] for row in _rows(node, ds) if row["status"] == "sent")
    assert sent == {"pacs": 2, "stow": 2, "hl7": 1, "fhir": 1}


def test_every_kind_of_object_passes_the_guard_on_its_way(
    start_node: Start, receivers: Receivers, pacs: Pacs, tmp_path: Path
) -> None:
    plain = receivers.settings(tmp_path / "r", pacs).model_dump()
    plain["outputs"]["synthetic"] |= {"enabled": True, "counterfactual": True}
    plain["outputs"]["stow"]["send"] = list(get_args(OutputKind))
    plain["peers"]["pacs"]["send"] = []
    node, ds = start_node(Settings.model_validate(plain)), phantom("all kinds")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    made = {row["kind"] for row in _rows(node, ds)}
    assert {"report", "findings", "pdf", "synthetic"} <= made
    assert len(receivers.stow.stored) == len(made - {"hl7", "fhir"})


def test_receivers_that_were_away_get_it_once_when_they_are_back(
    start_node: Start, receivers: Receivers, pacs: Pacs, tmp_path: Path
) -> None:
    receivers.stop()
    node, ds = start_node(receivers.settings(tmp_path / "r", pacs)), phantom("outage")
    send(node, ds)
    wait_for(
        lambda: (
            all(row["attempts"] >= 2 for row in _rows(node, ds) if row["destination"] != "pacs")
            and _rows(node, ds)
        )
    )
    assert study_state(node, ds) == ["DELIVERING"]
    assert len(pacs.received) == 2, "those that are away hold up nobody"
    receivers.start()
    wait_for_state(node, ds, "DONE")
    time.sleep(0.5)  # longer than the longest wait between two attempts
    assert receivers.counts() == (2, 1, 1)


def test_refusals_park_one_destination_and_name_no_patient(
    start_node: Start, receivers: Receivers, pacs: Pacs, tmp_path: Path
) -> None:
    receivers.hl7.codes = ["AR"]
    issue = {"severity": "error", "code": "business-rule", "diagnostics": f"{MARKER} is unknown"}
    receivers.fhir.refusals = [(422, {"resourceType": "OperationOutcome", "issue": [issue]})]
    node, ds = start_node(receivers.settings(tmp_path / "r", pacs)), phantom("refused")
    send(node, ds)
    wait_for_state(node, ds, "FAILED")
    reasons = {row["destination"]: row["reason"] for row in _rows(node, ds) if row["reason"]}
    assert reasons == {"hl7": "acknowledged AR", "fhir": "HTTP 422 business-rule"}
    assert MARKER not in str(node.journal.study(ds.StudyInstanceUID))


def test_a_late_image_makes_a_second_message(
    start_node: Start, receivers: Receivers, pacs: Pacs, tmp_path: Path
) -> None:
    node, ds = start_node(receivers.settings(tmp_path / "r", pacs)), phantom("late")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    send(node, phantom("late", SOPInstanceUID=uid("instance", "later")))
    wait_for_state(node, ds, "DONE", "DONE")
    assert receivers.counts() == (4, 2, 2)
    assert len(receivers.fhir.of_type("ImagingStudy")) == 1


def test_the_audit_trail_knows_whose_message_it_was(
    start_node: Start, receivers: Receivers, pacs: Pacs, tmp_path: Path
) -> None:
    settings = receivers.settings(tmp_path / "r", pacs)
    node, ds = start_node(settings), phantom("audited", PatientID="AUDITED-7")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    node.stop()
    lines = (settings.node.storage.root / "audit.jsonl").read_text().splitlines()
    transfers = [line for line in lines if receivers.fhir.url in line]
    assert transfers
    assert all("AUDITED-7" in line for line in transfers)


def test_check_tries_every_channel(receivers: Receivers, pacs: Pacs, tmp_path: Path) -> None:
    settings = receivers.settings(tmp_path / "r", pacs)
    names = {"outputs.stow", "outputs.hl7", "outputs.fhir"}
    good = {one.name: one for one in run_checks(settings, lambda _: "none") if one.name in names}
    assert {name for name, one in good.items() if one.is_good} == names
    receivers.stop()
    bad = {one.name: one for one in run_checks(settings, lambda _: "none") if one.name in names}
    assert {name for name, one in bad.items() if not one.is_good and one.hint} == names
    receivers.start()


def test_nothing_of_a_channel_is_made_where_it_is_off(start_node: Start, pacs: Pacs) -> None:
    node, ds = start_node(), phantom("off")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    files = [p for p in (node.settings.node.storage.root / "outputs").rglob("*") if p.is_file()]
    assert [dcmread(path).Modality for path in files] == ["SR"]


@pytest.mark.parametrize("name", ["stow", "hl7", "fhir"])
def test_no_peer_has_the_name_of_a_channel(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"peers:\n  {name}: {{ae_title: P, host: h, port: 104}}\n")
    with pytest.raises(ConfigInvalid, match=f"`{name}` is the destination"):
        load_settings(path, {})
