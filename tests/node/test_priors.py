"""A prior film is looked for before the draft, within a budget; no other patient's is used."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event

from node.app import Node
from node.config import Settings
from node.prior_source import STUDY_ROOT_GET
from node.query import STUDY_ROOT_FIND
from node.retention import Retention
from node.schema import prior
from node.sop_classes import FILM_CLASSES
from node.transactions import reading
from tests.fakes import ManualClock
from tests.films import phantom
from tests.node.conftest import (
    Pacs,
    free_port,
    send,
    settings_for,
    study_state,
    wait_for,
    wait_for_state,
)

Start = Callable[..., Node]
PERSON = {"PatientID": "7", "PatientBirthDate": "19500101"}
_LEVELS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


def film(name: str, date: str, **changes: Any) -> Dataset:
    return phantom(name, **{**PERSON, "StudyDate": date, "StudyTime": "0900", **changes})


class ArchivePacs(Pacs):
    """A PACS with films that answers every query with all that it has, whoever was asked for."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.classes = [*self.classes, STUDY_ROOT_FIND, STUDY_ROOT_GET]
        self.roles = dict.fromkeys(FILM_CLASSES, (True, True))
        self.handlers = [
            (evt.EVT_C_FIND, self._on_c_find),
            (evt.EVT_C_GET, self._on_c_get),
            (evt.EVT_REQUESTED, self._on_requested),
        ]
        self.films: list[Dataset] = []
        self.swaps: dict[str, Dataset] = {}
        self.asked: list[Dataset] = []
        self.num_calls = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.stalls_at = "STUDY"
        self.drips = False

    def _on_requested(self, event: Event) -> None:
        self.num_calls += 1

    def _stall(self, level: str) -> None:
        if level == self.stalls_at:
            self.goes_on.wait(20)

    def _on_c_find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        self.asked.append(query)
        self._stall(query.QueryRetrieveLevel)
        while self.drips and event.assoc.is_established:
            time.sleep(0.1)
            yield 0xFF00, self._answer(query, self.films[0])
        above = [uid for uid in list(_LEVELS.values()) if query.get(uid)]
        for ds in self.films:
            if all(ds.get(uid) == query.get(uid) for uid in above):
                yield 0xFF00, self._answer(query, ds)

    def _answer(self, query: Dataset, ds: Dataset) -> Dataset:
        answer = Dataset()
        for element in query:
            setattr(answer, element.keyword, ds.get(element.keyword, ""))
        answer.QueryRetrieveLevel = query.QueryRetrieveLevel
        if "ModalitiesInStudy" in query:
            answer.ModalitiesInStudy = ds.Modality
        return answer

    def _on_c_get(self, event: Event) -> Iterator[Any]:
        self._stall("GET")
        wanted = event.identifier.SOPInstanceUID
        yield 1
        (ds,) = [ds for ds in self.films if ds.SOPInstanceUID == wanted]
        yield 0xFF00, self.swaps.get(wanted, ds)


@pytest.fixture
def pacs() -> Iterator[ArchivePacs]:
    server = ArchivePacs(free_port())
    server.start()
    yield server
    server.goes_on.set()
    server.stop()


def _settings(root: Path, pacs: Pacs, *, budget_s: float = 5, **peer: Any) -> Settings:
    settings = settings_for(root, pacs.port)
    study = settings.node.study.model_copy(update={"priors_budget_s": budget_s})
    node = settings.node.model_copy(update={"study": study})
    asked = settings.peers["pacs"].model_copy(update={"priors": True, **peer})
    return settings.model_copy(update={"node": node, "peers": {"pacs": asked}})


def _draft(node: Node, ds: Dataset) -> tuple[str, dict[str, Any] | None]:
    """Send a film; return what its timeline and its result say of a prior."""
    assert send(node, ds) == [0]
    wait_for_state(node, ds, "DONE")
    (row,) = node.journal.study(ds.StudyInstanceUID)
    details = [step["detail"] for step in row["timeline"] if step["name"] == "prior"]
    return "".join(details), row["result"]["prior"]


def _no_search_goes_on() -> bool:
    return not any(thread.name == "prior-search" for thread in threading.enumerate())


def test_the_last_frontal_film_before_the_study_is_fetched(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path
) -> None:
    wanted = film("wanted", "20190101")
    pacs.films = [
        film("oldest", "20150101"),
        wanted,
        film("side", "20190101", StudyInstanceUID=wanted.StudyInstanceUID, ViewPosition="LL"),
        film("hand", "20190601", BodyPartExamined="HAND"),
        film("later", "20210101"),
    ]
    node = start_node(_settings(tmp_path / "root", pacs))
    detail, found = _draft(node, film("now", "20200101"))
    assert detail.startswith("found in ")
    assert found is not None
    assert found["study_uid"] == wanted.StudyInstanceUID
    assert found["sop_instance_uid"] == wanted.SOPInstanceUID
    assert found["date"] == "20190101"
    kept = dcmread(node.settings.node.storage.root / found["path"])
    assert kept.PixelData == wanted.PixelData
    assert study_state(node, wanted) == [], "a prior is never drafted"
    (query, *_) = pacs.asked
    assert (query.PatientID, query.StudyDate) == ("7", "-20200101")
    assert "PatientName" not in query


@pytest.mark.parametrize(
    "other",
    [{"PatientID": "8"}, {"PatientID": "70"}, {"PatientBirthDate": "19600101"}],
)
def test_the_film_of_another_patient_is_not_used_whatever_the_peer_answers(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path, other: dict[str, str]
) -> None:
    pacs.films = [film("other", "20190101", **other)]
    detail, found = _draft(start_node(_settings(tmp_path, pacs)), film("now", "20200101"))
    assert detail.startswith("none in ")
    assert "other patients" in detail
    assert found is None


@pytest.mark.parametrize("other", [{"PatientID": "8"}, {"SOPInstanceUID": "1.2.3"}])
def test_what_comes_is_not_used_where_it_is_not_what_was_answered(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path, other: dict[str, str]
) -> None:
    answered = film("answered", "20190101")
    pacs.films = [answered]
    pacs.swaps = {answered.SOPInstanceUID: film("answered", "20190101", **other)}
    node = start_node(_settings(tmp_path / "root", pacs))
    detail, found = _draft(node, film("now", "20200101"))
    assert detail.startswith("none in ")
    assert found is None
    assert not list((tmp_path / "root" / "priors").rglob("*.dcm"))


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE", "GET"])
def test_a_peer_that_stalls_delays_the_draft_by_the_budget_and_then_none(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path, level: str
) -> None:
    pacs.films = [film("wanted", "20190101")]
    pacs.stalls_at = level
    pacs.goes_on.clear()
    node = start_node(_settings(tmp_path, pacs, budget_s=0.8))
    detail, found = _draft(node, film("now", "20200101"))
    assert detail.startswith("timeout in ")
    assert 700 < float(detail.split()[2]) < 3000
    assert found is None
    num_calls = pacs.num_calls
    detail, found = _draft(node, film("next", "20200101"))
    assert "left alone" in detail
    assert pacs.num_calls == num_calls + 1, "the delivery alone"
    wait_for(_no_search_goes_on)


def test_a_peer_that_answers_without_end_costs_the_budget(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path
) -> None:
    pacs.films = [film("wanted", "20190101")]
    pacs.drips = True
    node = start_node(_settings(tmp_path, pacs, budget_s=0.8))
    detail, found = _draft(node, film("now", "20200101"))
    assert detail.startswith("timeout in ")
    assert 700 < float(detail.split()[2]) < 1500
    assert found is None
    wait_for(_no_search_goes_on, 3)


def test_a_peer_that_takes_the_call_and_says_nothing_costs_the_budget(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = _settings(tmp_path, pacs, budget_s=0.8)
        archive = settings.peers["pacs"].model_copy(update={"port": silent.getsockname()[1]})
        archive = archive.model_copy(update={"ae_title": "SILENT", "send": ()})
        pacs_alone = settings.peers["pacs"].model_copy(update={"priors": False})
        peers = {"pacs": pacs_alone, "archive": archive}
        node = start_node(settings.model_copy(update={"peers": peers}))
        detail, found = _draft(node, film("now", "20200101"))
    assert detail.split(" in ")[0] in ("timeout", "error")
    assert 700 < float(detail.split()[2]) < 1500
    assert found is None


def test_a_peer_that_fails_does_not_keep_another_from_answering(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path
) -> None:
    pacs.films = [film("wanted", "20190101")]
    settings = _settings(tmp_path, pacs)
    gone = settings.peers["pacs"].model_copy(update={"port": free_port(), "send": ()})
    peers = {"gone": gone.model_copy(update={"ae_title": "GONE"}), **settings.peers}
    node = start_node(settings.model_copy(update={"peers": peers}))
    detail, found = _draft(node, film("now", "20200101"))
    assert detail.startswith("found in ")
    assert found is not None


def test_a_film_may_be_named_without_being_fetched(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path
) -> None:
    pacs.films = [film("wanted", "20190101")]
    node = start_node(_settings(tmp_path, pacs, retrieve="none"))
    detail, found = _draft(node, film("now", "20200101"))
    assert detail.startswith("found in ")
    assert found is not None
    assert found["path"] is None


def test_no_peer_is_asked_where_none_is_to_be(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path
) -> None:
    pacs.films = [film("wanted", "20190101")]
    for number, settings in enumerate(
        (
            _settings(tmp_path / "budget", pacs, budget_s=0),
            _settings(tmp_path / "peer", pacs, priors=False),
        )
    ):
        detail, found = _draft(start_node(settings), film(f"now {number}", "20200101"))
        assert (detail, found) == ("", None)
    assert pacs.asked == []


def test_a_study_without_a_patient_id_is_drafted_unasked(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path
) -> None:
    node = start_node(_settings(tmp_path, pacs))
    detail, found = _draft(node, film("now", "20200101", PatientID=""))
    assert "no Patient ID" in detail
    assert found is None
    assert pacs.asked == []


def test_a_peer_without_the_service_is_an_error_with_its_reason(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path
) -> None:
    pacs.stop()
    pacs.classes.remove(STUDY_ROOT_GET)
    pacs.films = [film("wanted", "20190101")]
    pacs.start()
    node = start_node(_settings(tmp_path, pacs))
    detail, found = _draft(node, film("now", "20200101"))
    assert detail.startswith("error in ")
    assert "does not offer Study Root" in detail
    assert "hint: set `retrieve: none` at peer pacs" in detail
    assert found is None


def test_a_prior_goes_with_the_study_that_it_was_fetched_for(
    start_node: Start, pacs: ArchivePacs, tmp_path: Path
) -> None:
    pacs.films = [film("wanted", "20190101")]
    node = start_node(_settings(tmp_path / "root", pacs))
    _draft(node, film("now", "20200101"))
    storage = node.settings.node.storage
    clock = ManualClock(node._clock.now())
    Retention(storage, node._database, clock).recover()
    (kept,) = (storage.root / "priors").rglob("*.dcm")
    with reading(node._database) as connection:
        row = connection.execute(sa.select(prior)).one()
    assert storage.root / row.path == kept
    clock.advance(31 * 86_400)
    assert Retention(storage, node._database, clock).step()
    assert not kept.exists()
    with reading(node._database) as connection:
        assert connection.execute(sa.select(prior)).all() == []
