"""A peer that takes no Enhanced SR gets the same report as Basic Text SR, and is remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.uid import BasicTextSRStorage, EnhancedSRStorage

from node.app import Node
from node.fallback import REMEMBERED_S, Fallback
from node.records import Delivery
from node.schema import basic_text
from node.transactions import writing
from tests.films import phantom
from tests.node.conftest import Pacs, send, settings_for, wait_for, wait_for_state
from tests.node.test_sr_narrative import items

Start = Callable[..., Node]


@pytest.fixture
def old_pacs(pacs: Pacs) -> Pacs:
    pacs.stop()
    pacs.classes = [BasicTextSRStorage]
    pacs.start()
    return pacs


def said(ds):
    return [item.TextValue for item in items(ds) if item.ValueType == "TEXT"]


def test_the_report_comes_as_basic_text_and_says_the_same(start_node: Start, old_pacs: Pacs):
    node, film = start_node(), phantom("a")
    send(node, film)
    wait_for_state(node, film, "DONE")
    (got,) = old_pacs.received
    assert got.SOPClassUID == BasicTextSRStorage
    assert (got.PreliminaryFlag, got.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert any("NOT VERIFIED" in text for text in said(got))
    outputs = {row["kind"]: row for row in node.journal.study(film.StudyInstanceUID)[0]["outputs"]}
    assert outputs["basic_text"]["destination"] == "pacs"
    assert outputs["report"]["destination"] is None
    assert outputs["basic_text"]["sop_instance_uid"] == got.SOPInstanceUID


def test_the_next_report_is_not_offered_as_enhanced_again(start_node: Start, old_pacs: Pacs):
    node, first, second = start_node(), phantom("a"), phantom("b")
    send(node, first)
    wait_for_state(node, first, "DONE")
    proposed: list[set[str]] = []
    carrier = node._departures.deliverer._carriers["pacs"]
    store = carrier._scu.store

    def watched(peer, objects, classes):
        proposed.append(set(classes))
        return store(peer, objects, classes)

    carrier._scu.store = watched
    send(node, second)
    wait_for_state(node, second, "DONE")
    assert proposed == [{BasicTextSRStorage}]


def test_a_peer_that_takes_neither_is_tried_again_with_its_reason(start_node: Start, pacs: Pacs):
    pacs.stop()
    pacs.classes = []
    pacs.start()
    node, film = start_node(), phantom("c")
    send(node, film)
    wait_for(lambda: "does not take" in reason(node, film))
    assert "Enhanced SR" in reason(node, film)


def reason(node, film) -> str:
    generations = node.journal.study(film.StudyInstanceUID)
    return " ".join(row["reason"] or "" for one in generations for row in one["outputs"])


@pytest.mark.parametrize(("age_s", "remembered"), [(0, True), (REMEMBERED_S + 1, False)])
def test_a_peer_is_offered_enhanced_again_after_a_week(
    start_node: Start, old_pacs: Pacs, age_s: float, remembered: bool
):
    node = start_node()
    fallback = Fallback(node._database, node._spool)
    fallback.learn("pacs", 1e9)
    item = Delivery("1.2", EnhancedSRStorage, "1", 1, "pacs", "report", "x", 0, 0.0, "")
    assert fallback.is_due(item, 1e9 + age_s) is remembered


def test_what_a_crash_cut_short_is_the_same_when_it_is_repeated(
    start_node: Start, old_pacs: Pacs, tmp_path: Path
):
    node, film = start_node(), phantom("d")
    send(node, film)
    wait_for_state(node, film, "DONE")
    (first,) = old_pacs.received
    with writing(node._database) as connection:
        connection.execute(sa.delete(basic_text))
    again = start_node(settings_for(tmp_path / "other", old_pacs.port))
    send(again, film)
    wait_for_state(again, film, "DONE")
    assert old_pacs.received[-1].SOPInstanceUID == first.SOPInstanceUID
