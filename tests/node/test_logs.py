"""Nothing in a log names a patient, and one event is one line."""

from __future__ import annotations

import io
import json
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
_TAKEN = {"logger", "event", "level", "at"}
"""What a field cannot be called."""


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


@pytest.fixture
def json_log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.set_up("debug", stream, shape="json")
    yield stream
    for name in ("cxr_node", "pydicom", "pynetdicom", "highdicom"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


@pytest.mark.filterwarnings("ignore")
def test_a_log_of_json_has_an_object_a_line_and_names_nobody(
    start_node: Start, json_log: io.StringIO
) -> None:
    node, planted = start_node(), phantom("phi", **PLANTED)
    send(node, planted)
    associate(node, calling="EVIL")
    wait_for_state(node, planted, "DONE")
    try:
        raise ValueError("Planted^Patience")
    except ValueError:
        logging.getLogger("pynetdicom.service-c").exception("Planted^Patience")
    text = json_log.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"at", "level", "event"} <= line.keys() for line in lines)
    by_event = {line["event"]: line for line in lines}
    arrived = by_event["instance.new"]
    assert arrived["peer"] == "pacs"
    assert isinstance(arrived["bytes"], int)
    assert re.fullmatch("[0-9a-f]{12}", arrived["study"])
    assert by_event["library.error"]["source"] == "pynetdicom.service-c"
    assert by_event["association.refused"]["calling"].startswith("?")
    for value in (*PLANTED.values(), planted.StudyInstanceUID, planted.SOPInstanceUID):
        assert value not in text
    assert "planted" not in text.lower()


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: name not in _TAKEN), st.text()))
def test_any_field_is_one_object_on_one_line(fields: dict[str, str]) -> None:
    stream = io.StringIO()
    logs.set_up("debug", stream, shape="json")
    logs.say(logs.get_logger("test"), "some.event", **fields)
    logger = logging.getLogger("cxr_node")
    logger.handlers.clear()
    logger.propagate = True
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    found = json.loads(line)
    assert {name: found[name] for name in fields} == fields


@given(st.floats() | st.integers() | st.booleans())
def test_a_number_stays_a_number(number: float) -> None:
    assert json.loads(json.dumps(redact.value(number))) == redact.value(number)
