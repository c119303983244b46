"""MPPS, IAN and C-FIND make a study complete earlier; none of them is ever waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event

from node import statuses
from node.announced import IAN_CLASS, MPPS_CLASS
from node.app import Node
from node.config import Settings
from node.query import STUDY_ROOT_FIND
from tests.films import phantom, uid
from tests.node.commitment_peers import calling
from tests.node.conftest import (
    Pacs,
    associate,
    free_port,
    send,
    settings_for,
    study_state,
    wait_for,
    wait_for_state,
)

Start = Callable[..., Node]
STEP = "1.2.3.4"
SLOW = {"quiet_s": 30, "hard_cap_s": 60, "confirmed_quiet_s": 0.2, "successor_every_s": 0}


class CountingPacs(Pacs):
    """A PACS that says how many images it has."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.classes = [*self.classes, STUDY_ROOT_FIND]
        self.handlers = [(evt.EVT_C_FIND, self._on_c_find)]
        self.count: int | None = None
        self.asked: list[Dataset] = []

    def _on_c_find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        self.asked.append(event.identifier)
        if self.count is None:
            yield 0xA700, None
            return
        answer = Dataset()
        answer.QueryRetrieveLevel = "STUDY"
        answer.StudyInstanceUID = event.identifier.StudyInstanceUID
        answer.NumberOfStudyRelatedInstances = self.count
        yield 0xFF00, answer


@pytest.fixture
def pacs() -> Iterator[CountingPacs]:
    server = CountingPacs(free_port())
    server.start()
    yield server
    server.stop()


def _settings(tmp_path: Path, pacs: Pacs, **peer: Any) -> Settings:
    settings = settings_for(tmp_path / "root", pacs.port, study=SLOW)
    peer["allow"] = ("echo", "store", "mpps", "ian")
    pacs_too = settings.peers["pacs"].model_copy(update=peer)
    other = pacs_too.model_copy(update={"ae_title": "OTHER", "send": (), "query": False})
    return settings.model_copy(update={"peers": {"pacs": pacs_too, "other": other}})


def _create(node: Node, sop_class_uid: str, ds: Dataset) -> int:
    with calling(node, sop_class_uid) as assoc:
        status, _ = assoc.send_n_create(ds, sop_class_uid, STEP)
    return int(status.Status)


def _set(node: Node, ds: Dataset, *, title: str = "PACS") -> int:
    with calling(node, MPPS_CLASS, title=title) as assoc:
        status, _ = assoc.send_n_set(ds, MPPS_CLASS, STEP)
    return int(status.Status)


def _step(*films: Dataset) -> Dataset:
    ds = Dataset()
    ds.PerformedProcedureStepStatus = "IN PROGRESS"
    ds.ScheduledStepAttributesSequence = []
    for study_uid in dict.fromkeys(film.StudyInstanceUID for film in films):
        item = Dataset()
        item.StudyInstanceUID = study_uid
        ds.ScheduledStepAttributesSequence.append(item)
    return ds


def _end(status: str, *films: Dataset) -> Dataset:
    ds = Dataset()
    ds.PerformedProcedureStepStatus = status
    series = Dataset()
    series.ReferencedImageSequence = [_reference(film) for film in films]
    ds.PerformedSeriesSequence = [series]
    return ds


def _available(*films: Dataset) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID = films[0].StudyInstanceUID
    series = Dataset()
    series.ReferencedSOPSequence = [_reference(film) for film in films]
    ds.ReferencedSeriesSequence = [series]
    return ds


def _reference(film: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = film.SOPClassUID
    item.ReferencedSOPInstanceUID = film.SOPInstanceUID
    return item


def _two(name: str) -> tuple[Dataset, Dataset]:
    return phantom(name), phantom(name, SOPInstanceUID=uid("instance", f"{name} lateral"))


def test_a_completed_step_closes_the_study_with_its_last_image(
    start_node: Start, pacs: CountingPacs, tmp_path: Path
) -> None:
    node, (one, two) = start_node(_settings(tmp_path, pacs)), _two("mpps")
    assert _create(node, MPPS_CLASS, _step(one)) == statuses.SUCCESS
    send(node, one)
    ended = _set(node, _end("COMPLETED", one, two))
    assert ended == statuses.SUCCESS
    assert study_state(node, one) == ["RECEIVING"], "one image is still to come"
    assoc = associate(node)
    assoc.send_c_store(two)
    wait_for_state(node, one, "DONE")
    assoc.release()


def test_a_notification_of_availability_closes_the_study(
    start_node: Start, pacs: CountingPacs, tmp_path: Path
) -> None:
    node, (one, two) = start_node(_settings(tmp_path, pacs)), _two("ian")
    send(node, one, two)
    assert _create(node, IAN_CLASS, _available(one, two)) == 0
    wait_for_state(node, one, "DONE")


@pytest.mark.parametrize("status", ["DISCONTINUED", "IN PROGRESS"])
def test_a_step_that_is_not_completed_closes_nothing(
    start_node: Start, pacs: CountingPacs, tmp_path: Path, status: str
) -> None:
    node, ds = start_node(_settings(tmp_path, pacs)), phantom(status)
    _create(node, MPPS_CLASS, _step(ds))
    send(node, ds)
    assert _set(node, _end(status, ds)) == statuses.SUCCESS
    with pytest.raises(AssertionError, match="in vain"):
        wait_for(lambda: study_state(node, ds) != ["RECEIVING"], timeout_s=0.6)


def test_a_step_that_names_what_is_no_image_is_not_held_up_by_it(
    start_node: Start, pacs: CountingPacs, tmp_path: Path
) -> None:
    node, ds = start_node(_settings(tmp_path, pacs)), phantom("report too")
    report = phantom("dose", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67")
    _create(node, MPPS_CLASS, _step(ds))
    _set(node, _end("COMPLETED", ds, report))
    send(node, ds)
    wait_for_state(node, ds, "DONE")


def test_the_life_of_a_step_is_kept_to(
    start_node: Start, pacs: CountingPacs, tmp_path: Path
) -> None:
    node, ds = start_node(_settings(tmp_path, pacs)), phantom("life")
    ended = _end("COMPLETED", ds)
    assert _set(node, ended) == statuses.NO_SUCH_INSTANCE
    assert _create(node, MPPS_CLASS, ended) == 0x0106
    assert _create(node, MPPS_CLASS, _step(ds)) == statuses.SUCCESS
    again = _create(node, MPPS_CLASS, _step(ds))
    assert again == statuses.DUPLICATE_INSTANCE
    other = _set(node, ended, title="OTHER")
    assert other == statuses.NO_SUCH_INSTANCE
    assert _set(node, ended) == statuses.SUCCESS
    late = _set(node, ended)
    assert late == statuses.PROCESSING_FAILURE
    nothing = Dataset()
    nothing.SpecificCharacterSet = "ISO_IR 100"
    assert _create(node, IAN_CLASS, nothing) == 0x0106


def test_a_study_that_a_peer_holds_as_many_images_of_is_closed_early(
    start_node: Start, pacs: CountingPacs, tmp_path: Path
) -> None:
    pacs.count = 1
    node, ds = start_node(_settings(tmp_path, pacs, query=True)), phantom("counted")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert pacs.asked[0].StudyInstanceUID == ds.StudyInstanceUID
    late = phantom("counted", SOPInstanceUID=uid("instance", "counted late"))
    pacs.count = 3  # two images and our report
    send(node, late)
    wait_for_state(node, ds, "DONE", "DONE")


def test_a_peer_that_holds_more_is_asked_again_and_again_in_measure(
    start_node: Start, pacs: CountingPacs, tmp_path: Path
) -> None:
    pacs.count = 2
    node, ds = start_node(_settings(tmp_path, pacs, query=True)), phantom("more")
    send(node, ds)
    wait_for(lambda: len(pacs.asked) >= 2)
    assert study_state(node, ds) == ["RECEIVING"]
    pacs.count = 1
    wait_for_state(node, ds, "DONE")
    assert len(pacs.asked) <= 5


def test_a_peer_that_cannot_answer_is_left_alone(
    start_node: Start, pacs: CountingPacs, tmp_path: Path
) -> None:
    node, ds = start_node(_settings(tmp_path, pacs, query=True)), phantom("rests")
    send(node, ds)
    wait_for(lambda: pacs.asked)
    with pytest.raises(AssertionError, match="in vain"):
        wait_for(lambda: len(pacs.asked) > 1, timeout_s=2.5)
    assert study_state(node, ds) == ["RECEIVING"]
