"""Nothing in a log names a patient, and one event is one line."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import logs, redact
from node.app import Node
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import associate, send, wait_for_state

Start = Callable[..., Node]
PLANTED: dict[str, Any] = {
    "PatientName": "Planted^Patience",
    "PatientID": "PLANTEDMRN",
    "PatientBirthDate": "19010203",
    "AccessionNumber": "PLANTEDACC",
    "ReferringPhysicianName": "Planted^Referrer",
    "StudyDescription": "PLANTED DESCRIPTION",
    "InstitutionName": "PLANTED HOSPITAL",
    "StudyDate": "PLANTED DATE",
}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.set_up("debug", stream)
    yield stream
    for name in ("cxr_node", "pydicom", "pynetdicom", "highdicom"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


@pytest.mark.filterwarnings("ignore")
def test_planted_names_reach_no_log(
    start_node: Start, engine: FakeEngine, log: io.StringIO
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        planted = phantom("phi", **PLANTED)
        broken = phantom("broken", **PLANTED)
        broken.PixelData = broken.PixelData[:10]
        node = start_node()
        send(node, planted, planted, broken, phantom("phi", **PLANTED, ViewPosition="AP"))
        send(node, phantom("synthetic", **PLANTED, SyntheticData="YES"))
        associate(node, calling="EVIL")
        wait_for_state(node, planted, "DONE")
        wait_for_state(node, broken, "FAILED")
    text = log.getvalue()
    for value in (*PLANTED.values(), planted.StudyInstanceUID, planted.SOPInstanceUID):
        assert value not in text
    assert "planted" not in text.lower()
    assert len(text.splitlines()) > 10
    for line in text.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z]+ [a-z_.]+( |$)", line), line


def test_a_fault_inside_a_library_is_named_without_its_text(log: io.StringIO) -> None:
    try:
        raise ValueError("Planted^Patience")
    except ValueError:
        logging.getLogger("pynetdicom.service-c").exception("Planted^Patience")
    assert "ValueError at test_logs.py" in log.getvalue()
    assert "Planted" not in log.getvalue()


@given(st.text())
def test_a_field_never_breaks_its_line(text: str) -> None:
    shown = redact.field(text)
    assert shown.isprintable()
    assert "\n" not in shown


def test_the_key_of_a_uid_is_short_and_one_way() -> None:
    assert redact.key("1.2.3") == redact.key("1.2.3") != redact.key("1.2.4")
    assert len(redact.key("1.2.3")) == 12
