"""The review page over HTTP: strangers stay out, forms are meant, programs get JSON."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from pydicom.dataset import Dataset

from node.app import Node
from node.checks import run_checks
from node.cli import main
from node.redact import key
from node.reviews import Reviews
from node.schema import result
from node.transactions import writing
from node.web.server import WebPortTaken
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.conftest import Pacs, send, wait_for, wait_for_state
from tests.node.web_client import NAME, TOKEN, Client, web_settings
from tests.pki import Authority

Start = Callable[..., Node]
"""Starts a node with settings."""


@pytest.fixture
def page(start_node: Start, tmp_path: Path, pacs: Pacs) -> tuple[Node, Client, Dataset]:
    """A node with one drafted study, and somebody who is not logged in."""
    node = start_node(web_settings(tmp_path, pacs.port))
    ds = phantom("paged", PatientName="Doe^Jane", StudyDescription="Chest & more")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    return node, Client(node.settings.node.web.port), ds


def study(ds: Dataset) -> str:
    return f"/studies/{key(ds.StudyInstanceUID)}"


def test_a_stranger_gets_the_login_page_and_nothing_else(
    page: tuple[Node, Client, Dataset],
) -> None:
    _, client, ds = page
    for path in ("/", study(ds), f"{study(ds)}/film.png", "/nothing", "/login/x", "/static"):
        answer = client.get(path)
        assert (answer.status, answer.headers["location"]) == (303, f"/login?next={path}")
    for path in (f"{study(ds)}/questions", f"{study(ds)}/feedback", "/logout"):
        assert client.post(path, question="Why?", verdict="accept").status == 401
    assert client.ask("GET", "/").status == 401
    assert client.call("GET", "/", token="wrong").status == 401
    assert "Doe" not in client.get("/login").text


def test_every_answer_carries_the_security_headers(page: tuple[Node, Client, Dataset]) -> None:
    _, client, _ = page
    for path in ("/", "/login", "/static/pages.css", "/static/none", "/static/../server.py"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


def test_a_login_opens_the_pages_and_a_logout_closes_them(
    page: tuple[Node, Client, Dataset],
) -> None:
    _, client, ds = page
    answer = client.log_in()
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].partition("cxr_session=")[2]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Doe^Jane" in client.get("/").text
    shown = client.get(study(ds))
    assert "Chest &amp; more" in shown.text
    film = client.get(f"{study(ds)}/film.png")
    assert (film.headers["content-type"], film.body[1:4]) == ("image/png", b"PNG")
    kept = dict(client.cookies)
    assert client.post("/logout", csrf=shown.field("csrf")).status == 303
    client.cookies = kept
    assert client.get("/").status == 303


def test_the_page_shows_certainties_and_the_earlier_film(
    page: tuple[Node, Client, Dataset],
) -> None:
    node, client, ds = page
    content = node.journal.study(ds.StudyInstanceUID)[0]["result"]
    seen = {"side": None, "regions": [], "finding": "Pleural Effusion", "certainty": 0.87}
    content["assessments"] = [
        seen | {"presence": "present", "text": "absent", "agrees": False},
        seen
        | {"finding": "<b>", "certainty": None, "presence": "undetermined"}
        | {"text": "not stated", "agrees": True},
    ]
    content["prior"] = {
        "study_uid": "1.2",
        "sop_instance_uid": "1.3",
        "date": "20240229",
        "path": None,
    }
    with writing(node._database) as connection:
        connection.execute(result.update().values(content=content))
    client.log_in()
    text = client.get(study(ds)).text
    assert "87 %" in text
    assert "text and classifier disagree" in text
    assert "&lt;b&gt;" in text
    assert "20240229" in text
    assert "not fetched" in text


def test_the_address_names_a_study_by_its_key_alone(page: tuple[Node, Client, Dataset]) -> None:
    _, client, ds = page
    client.log_in()
    answer = client.get(f"/studies/{ds.StudyInstanceUID}")
    assert (answer.status, answer.headers["location"]) == (303, study(ds))
    assert client.get("/studies/1.2.3").status == 404
    assert client.get(f"{study(ds)}?generation=9").status == 404
    assert client.get(f"{study(ds)}?generation=x").status == 404
    assert client.get(f"{study(ds)}/synthetic.png").status == 404


@pytest.mark.parametrize("form", ["logout", "feedback", "questions", "tasks", "answers"])
def test_a_form_of_another_site_is_refused(page: tuple[Node, Client, Dataset], form: str) -> None:
    node, client, ds = page
    client.log_in()
    path = "/logout" if form == "logout" else f"{study(ds)}/{form}"
    for word in ("", "x" * 43):
        answer = client.post(path, csrf=word, question="Why?", verdict="accept", generation=1)
        assert answer.status == 403
    assert client.get("/").status == 200
    assert node._questions.of_study(ds.StudyInstanceUID) == ()


def test_a_login_form_of_another_site_is_refused(page: tuple[Node, Client, Dataset]) -> None:
    _, client, _ = page
    assert client.post("/login", csrf="", token=TOKEN).status == 403
    client.get("/login")
    assert client.post("/login", csrf="guess", token=TOKEN).status == 403


def test_wrong_tokens_lock_an_address_out(start_node: Start, tmp_path: Path, pacs: Pacs) -> None:
    node = start_node(web_settings(tmp_path, pacs.port, max_failures=3, lockout_s=1.0))
    client = Client(node.settings.node.web.port)
    inside = Client(node.settings.node.web.port)
    inside.log_in()
    assert [client.log_in(f"wrong {n}").status for n in range(3)] == [401, 401, 401]
    locked = client.log_in()
    assert locked.status == 429
    assert int(locked.headers["retry-after"]) <= 1
    assert "too many wrong tries" in locked.text
    assert client.call("GET", "/").status == 429
    assert inside.get("/").status == 200
    wait_for(lambda: client.log_in().status == 303)


@pytest.mark.parametrize("number", ["0", "9" * 40, "x", "-1", "%00"])
def test_a_question_that_is_none_is_not_found(
    page: tuple[Node, Client, Dataset], number: str
) -> None:
    _, client, ds = page
    assert client.call("GET", f"{study(ds)}/questions/{number}").status == 404


def test_a_program_asks_and_gets_its_answer(page: tuple[Node, Client, Dataset]) -> None:
    _, client, ds = page
    path = f"/studies/{ds.StudyInstanceUID}/questions"
    asked = client.call("POST", path, {"question": "Is the heart large?"})
    assert asked.status == 202
    assert asked.headers["location"] == f"{study(ds)}/questions/{asked.json['id']}"
    done = client.call("GET", f"{asked.headers['location']}?wait_s=10").json
    assert (done["state"], done["asked_by"]) == ("answered", NAME)
    assert done["provenance"]["bundle_digest"]
    assert done["answer"].startswith("The mean")
    assert client.call("POST", f"{path}?wait_s=10", {"question": "Again?"}).status == 200
    assert [one["id"] for one in client.call("GET", path).json] == [1, 2]
    assert client.call("GET", f"{path}/77").status == 404


@pytest.mark.parametrize(
    ("record", "status"),
    [
        ({"question": " "}, 422),
        ({"question": "x" * 501}, 422),
        ({}, 422),
        ([], 400),
        ({"question": "\ud800"}, 400),
        ({"question": "x" * 300_000}, 413),
    ],
)
def test_a_question_that_is_none_is_refused_with_its_reason(
    page: tuple[Node, Client, Dataset], record: Any, status: int
) -> None:
    _, client, ds = page
    refused = client.call("POST", f"{study(ds)}/questions", record)
    assert refused.status == status
    assert refused.json["reason"]


def test_a_field_that_is_null_is_left_out(page: tuple[Node, Client, Dataset]) -> None:
    node, client, ds = page
    assert client.call("POST", f"{study(ds)}/questions", {"question": None}).status == 422
    record = {"verdict": "edit", "reason": ["style"], "findings": ["New."], "impression": None}
    assert client.call("POST", f"{study(ds)}/feedback", record).status == 201
    (kept,) = Reviews(node._database).of_study(ds.StudyInstanceUID)
    drafted = node.journal.study(ds.StudyInstanceUID)[0]["result"]["impression"]
    assert (kept["findings"], kept["impression"]) == (["New."], drafted)


def test_other_kinds_of_bodies_are_refused(page: tuple[Node, Client, Dataset]) -> None:
    _, client, ds = page
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    path = f"{study(ds)}/questions"
    assert client.ask("POST", path, b"question=Why", **bearer).status == 415
    kind = {"Content_Type": "application/json"}
    assert client.ask("POST", path, b"[" * 100_000, **bearer, **kind).status == 400
    assert client.call("PUT", path, {"question": "Why?"}).status == 405


def test_a_study_without_a_draft_says_so(start_node: Start, tmp_path: Path, pacs: Pacs) -> None:
    node, ds = start_node(web_settings(tmp_path, pacs.port)), phantom("h", BodyPartExamined="HAND")
    send(node, ds)
    wait_for_state(node, ds, "SKIPPED")
    client = Client(node.settings.node.web.port)
    refused = client.call("POST", f"{study(ds)}/questions", {"question": "Why?"})
    assert (refused.status, refused.json["reason"]) == (422, "the study has no draft")
    judged = client.call("POST", f"{study(ds)}/feedback", {"verdict": "accept"})
    assert judged.status == 409
    client.log_in()
    assert "There is no draft." in client.get(study(ds)).text


def test_feedback_comes_out_as_lines_for_training(
    page: tuple[Node, Client, Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, client, ds = page
    path = f"{study(ds)}/feedback"
    words = {"findings": ["Ä.", "<b>"], "impression": ["None."], "note": "for Doe"}
    answer = client.call("POST", path, {"verdict": "edit", "reason": ["omission"]} | words)
    assert (answer.status, answer.json["successor"]) == (201, 2)
    wait_for_state(node, ds, "DONE", "DONE")
    late = client.call(
        "POST", path, {"verdict": "edit", "reason": ["style"], "generation": 1} | words
    )
    assert (late.json["outcome"], late.json["successor"]) == ("late", None)
    assert client.call("POST", path, {"verdict": "accept"}).json["outcome"] == "kept"
    config = tmp_path / "config.yaml"
    config.write_text(f"node: {{storage: {{root: {tmp_path / 'root'}}}}}")
    assert main(["feedback", "export", "-c", str(config)]) == 0
    text = capsys.readouterr().out
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["verdict"] for row in rows] == ["edit", "edit", "accept"]
    assert [row["generation"] for row in rows] == [1, 1, 2]
    assert rows[0]["edited"] == {"findings": ["Ä.", "<b>"], "impression": ["None."]}
    assert rows[2]["draft"]["findings"] == ["Ä.", "<b>"]
    assert not re.search(f"Doe|{NAME}|{ds.StudyInstanceUID}|{ds.PatientID}", text)


def test_visits_are_audited(page: tuple[Node, Client, Dataset]) -> None:
    node, client, ds = page
    client.log_in("wrong")
    client.log_in()
    client.get(study(ds))
    client.call("POST", f"{study(ds)}/feedback", {"verdict": "accept"})
    node.stop()
    trail = node.settings.node.storage.root / "audit.jsonl"
    entries = [json.loads(line) for line in trail.read_bytes().splitlines()]
    messages = [etree.fromstring(entry["xml"]) for entry in entries]
    schema = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))
    told = []
    for message in messages:
        schema.assertValid(message)
        event = message.find("EventIdentification")
        name = event.find("EventID").get("originalText")
        if name in ("User Authentication", "DICOM Instances Accessed"):
            who = message.findall("ActiveParticipant")[1]
            told.append(
                (
                    event.get("EventActionCode"),
                    event.get("EventOutcomeIndicator"),
                    who.get("UserID"),
                )
            )
            ids = [
                one.get("ParticipantObjectID")
                for one in message.iter("ParticipantObjectIdentification")
            ]
            assert ids in ([], [ds.StudyInstanceUID, ds.PatientID])
    assert told == [
        ("E", "4", "127.0.0.1"),
        ("E", "0", NAME),
        ("R", "0", NAME),
        ("U", "0", NAME),
    ]


def test_https_is_served_with_the_certificate_of_the_node(
    start_node: Start, tmp_path: Path, pacs: Pacs
) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("node", sans=["127.0.0.1"])
    tls = {"certificate": issued.certificate, "key": issued.key}
    node = start_node(web_settings(tmp_path, pacs.port, {"tls": tls}, tls=True))
    client = Client(node.settings.node.web.port, ssl.create_default_context(cafile=authority.path))
    assert "Secure" in client.log_in().headers["set-cookie"]
    assert client.get("/").status == 200


def test_a_port_that_is_taken_stops_the_start(tmp_path: Path, pacs: Pacs) -> None:
    settings = web_settings(tmp_path, pacs.port)
    node = Node(settings, FakeEngine())
    taken = closing(socket.create_server(("127.0.0.1", settings.node.web.port)))
    with taken, pytest.raises(WebPortTaken, match="cannot listen"):
        node.start()
    node.stop()


def test_a_node_without_the_page_listens_on_no_port_for_it(start_node: Start) -> None:
    node = start_node()
    assert node._web is None


def test_check_tries_the_tokens_and_the_port(tmp_path: Path, pacs: Pacs) -> None:
    settings = web_settings(tmp_path, pacs.port)
    checks = {check.name: check for check in run_checks(settings, lambda _: "a bundle")}
    assert checks["web tokens"].is_good
    assert checks["web port"].is_good
    (tmp_path / "tokens").write_text("anna short")
    with closing(socket.create_server(("127.0.0.1", settings.node.web.port))):
        checks = {check.name: check for check in run_checks(settings, lambda _: "a bundle")}
    assert not checks["web tokens"].is_good
    assert "24 characters" in checks["web tokens"].hint
    assert not checks["web port"].is_good
