"""Tasks at one click: a question like any other whose reply is read, and never guessed at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from engine.scheduler import Urgency
from engine.tasks.registry import TASKS, Input
from node.app import Node
from node.offers import FINDING_NAMES, OFFERS, read_task, spoken
from node.questions import MAX_CHARACTERS, QuestionRefused
from node.redact import key
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import Pacs, send, wait_for, wait_for_state
from tests.node.web_client import NAME, Client, web_settings

Start = Callable[..., Node]
TEXT = {"findings": ["The heart is large.\nNo effusion."], "impression": ["Cardiomegaly."]}


@pytest.mark.parametrize("name", OFFERS)
def test_every_offer_is_a_task_that_takes_what_the_page_has(name: str) -> None:
    asked = read_task({"task": [name], "finding": ["Edema"], **TEXT})
    task, offer = TASKS[name], OFFERS[name]
    assert {Input(one) for one in asked.given} == set(task.words)
    assert task.num_films <= 1
    assert offer.takes_finding == (Input.FINDING in task.words)
    assert "{" not in asked.line


def test_a_text_is_taken_as_it_stands_on_the_page() -> None:
    findings = read_task({"task": ["impression-from-findings"], **TEXT})
    assert findings.given == {"text": "The heart is large. No effusion."}
    whole = read_task({"task": ["image-text-matching"], **TEXT})
    assert whole.given["text"].endswith("No effusion. Cardiomegaly.")


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({}, "no such task is offered"),
        ({"task": ["progression"]}, "no such task is offered"),
        ({"task": ["severity"]}, "no finding is called"),
        ({"task": ["severity"], "finding": ["<b>"]}, "no finding is called"),
        ({"task": ["image-text-matching"]}, "no text"),
        ({"task": ["impression-from-findings"], "findings": [" \n "]}, "no text"),
        ({"task": ["impression-from-findings"], "findings": ["x" * 1201]}, "too long"),
    ],
)
def test_a_task_that_cannot_be_put_is_refused(form: dict[str, list[str]], reason: str) -> None:
    with pytest.raises(QuestionRefused, match=reason) as refused:
        read_task(form)
    assert refused.value.hint


@given(
    task=st.sampled_from([*OFFERS]),
    finding=st.sampled_from(FINDING_NAMES),
    findings=st.text(max_size=1300),
)
def test_the_line_of_a_task_is_a_question_that_can_be_kept(
    task: str, finding: str, findings: str
) -> None:
    with suppress(QuestionRefused):
        asked = read_task({"task": [task], "finding": [finding], "findings": [findings]})
        assert asked.line.isprintable()
        assert 0 < len(asked.line) <= MAX_CHARACTERS


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "yes"),
        (False, "no"),
        ("lateral", "lateral"),
        (["Edema", "Fracture"], "Edema, Fracture"),
        ([], "none"),
        ({"side": "left", "region": ""}, "left"),
    ],
)
def test_values_are_said_as_people_say_them(value: object, said: str) -> None:
    assert spoken({"parsed": True, "value": value}) == said


def test_what_cannot_be_read_is_said_to_be_nothing() -> None:
    assert spoken({"parsed": False, "value": None}) == ""


@pytest.fixture
def page(start_node: Start, tmp_path: Path, pacs: Pacs) -> tuple[Node, Client, Dataset]:
    node, ds = start_node(web_settings(tmp_path, pacs.port)), phantom("asked")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    return node, Client(node.settings.node.web.port), ds


def tasks(ds: Dataset) -> str:
    return f"/studies/{key(ds.StudyInstanceUID)}/tasks"


def test_a_program_asks_a_task_and_gets_a_value(
    page: tuple[Node, Client, Dataset], engine: FakeEngine
) -> None:
    node, client, ds = page
    asked = client.call(
        "POST", f"{tasks(ds)}?wait_s=10", {"task": "binary-disease", "finding": "Edema"}
    )
    assert (asked.status, asked.json["state"]) == (200, "answered")
    assert asked.json["question"] == "Does the film show pulmonary edema?"
    assert asked.json["status"] == "AI answer, not verified"
    read = asked.json["provenance"]["task"]
    assert (read["parsed"], read["value"]) == (True, True)
    assert asked.json["provenance"]["source"] == ds.SOPInstanceUID
    assert engine.urgencies == [Urgency.STAT]
    with node._database.connect() as connection:
        kinds = connection.exec_driver_sql("SELECT kind, user FROM access").all()
    assert ("asked", NAME) in [tuple(row) for row in kinds]


def test_a_text_task_needs_no_film(page: tuple[Node, Client, Dataset]) -> None:
    _, client, ds = page
    asked = client.call(
        "POST", f"{tasks(ds)}?wait_s=10", {"task": "impression-from-findings"} | TEXT
    )
    assert asked.json["answer"] == "Said of: The heart is large. No effusion."


def test_a_reply_that_answers_nothing_is_shown_as_nothing(
    page: tuple[Node, Client, Dataset],
) -> None:
    _, client, ds = page
    asked = client.call("POST", f"{tasks(ds)}?wait_s=10", {"task": "view"})
    assert asked.json["provenance"]["task"]["parsed"] is False
    client.log_in()
    shown = client.get(f"/studies/{key(ds.StudyInstanceUID)}").text
    assert "The reply answers nothing:</em> Yes." in shown
    assert "AI answer, not verified." in shown


def test_a_reader_asks_by_a_form(page: tuple[Node, Client, Dataset]) -> None:
    node, client, ds = page
    client.log_in()
    word = client.get(f"/studies/{key(ds.StudyInstanceUID)}").field("csrf")
    answer = client.post(tasks(ds), csrf=word, task="severity", finding="Pleural Effusion")
    assert answer.status == 303
    assert answer.headers["location"].endswith("/questions/1")
    kept = wait_for(lambda: node._questions.of_study(ds.StudyInstanceUID)[0])
    assert kept.task == {"name": "severity", "given": {"finding": "Pleural Effusion"}}
    refused = client.post(tasks(ds), csrf=word, task="severity", finding="Gout")
    assert refused.status == 422


def test_the_model_being_gone_fails_a_task_as_it_fails_a_question(
    page: tuple[Node, Client, Dataset], engine: FakeEngine
) -> None:
    node, client, ds = page
    engine.fails = True
    client.call("POST", tasks(ds), {"task": "view"})
    wait_for(lambda: node._questions.of_study(ds.StudyInstanceUID)[0].attempts == 1)
    assert wait_for(lambda: node._questions.of_study(ds.StudyInstanceUID)[0].reason)
