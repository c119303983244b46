"""STOW-RS against a server that takes everything, a part, or nothing."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.carrier import Parcel
from node.config_outputs import StowSettings
from node.errors import PeerError
from node.http_calls import Answer
from node.made import Made
from node.records import Delivery, DeliveryStatus
from node.stow import StowCarrier, multipart, read_reply
from tests.films import phantom
from tests.node.outputs_made import draft_sr
from tests.pki import Authority
from tests.receivers import (
    Stow,
    failed_answer,
    free_port,
    part_of,
    rude,
    running,
    secret,
    stored_answer,
)

PARKED, PENDING, SENT = DeliveryStatus.PARKED, DeliveryStatus.PENDING, DeliveryStatus.SENT


def parcel(name: str = "stow") -> Parcel:
    ds = draft_sr(phantom(name))
    made = Made.of(ds)
    item = Delivery(made.uid, made.sop_class_uid, "1", 1, "stow", "report", "p", 0, 1e6, "")
    return Parcel(item, made.content, ds)


@pytest.fixture
def server() -> Iterator[Stow]:
    stow = Stow()
    with running(stow.server):
        yield stow


def carrier(server: Stow, **changes: Any) -> StowCarrier:
    return StowCarrier(StowSettings(url=server.url, **changes))


def same(one: Dataset, other: Dataset) -> bool:
    return one.to_json() == other.to_json()


def test_objects_arrive_as_they_were_made(server: Stow) -> None:
    parcels = [parcel("a"), parcel("b")]
    replies = list(carrier(server).carry(parcels))
    assert [reply.status for reply in replies] == [SENT, SENT]
    assert all(
        one.ds is not None and same(got, one.ds)
        for got, one in zip(server.stored, parcels, strict=True)
    )


@given(st.binary(max_size=300))
def test_a_body_holds_any_bytes(content: bytes) -> None:
    body, content_type = multipart(content)
    boundary = content_type.rpartition("boundary=")[2].encode()
    before, _, rest = body.partition(b"\r\n\r\n")
    assert before.startswith(b"--" + boundary)
    assert rest == content + b"\r\n--" + boundary + b"--\r\n"
    assert boundary not in content


def test_a_multipart_parser_finds_the_object() -> None:
    one = parcel()
    body, content_type = multipart(one.content)
    assert one.ds is not None
    assert same(part_of(content_type, body), one.ds)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (202, 0xA700, PENDING),
        (409, 0xA700, PENDING),
        (202, 0x0110, PENDING),
        (409, 0xA900, PARKED),
        (202, 0xC000, PARKED),
        (409, 0x0122, PARKED),
        (200, 0xC000, PARKED),
        (202, 0xB000, PARKED),
    ],
)
def test_what_a_server_did_not_store_is_not_called_sent(
    server: Stow, status: int, reason: int, expected: DeliveryStatus
) -> None:
    server.answers = [lambda uid: (status, failed_answer(uid, reason))]
    (reply,) = carrier(server).carry([parcel()])
    assert reply.status is expected
    assert f"0x{reason:04X}" in reply.reason


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, SENT),
        (202, PENDING),
        (409, PARKED),
        (400, PARKED),
        (415, PARKED),
        (401, PENDING),
        (404, PENDING),
        (413, PARKED),
        (429, PENDING),
        (500, PENDING),
        (503, PENDING),
        (302, PENDING),
    ],
)
def test_a_status_without_a_body_has_its_consequence(status: int, expected: DeliveryStatus) -> None:
    assert read_reply(status, None, "1.2").status is expected


def test_a_part_that_was_stored_under_202_is_sent() -> None:
    assert read_reply(202, stored_answer("1.2"), "1.2").status is SENT
    assert read_reply(202, stored_answer("1.3"), "1.2").status is PENDING
    assert read_reply(409, stored_answer("1.2"), "1.2").status is PARKED


@pytest.mark.parametrize("reason", [10**30, -1, True, "0110"])
def test_a_reason_that_the_ledger_could_not_hold_is_none(reason: Any) -> None:
    item = {"00081155": {"Value": ["1.2"]}, "00081197": {"Value": [reason]}}
    answer = read_reply(409, {"00081198": {"Value": [item]}}, "1.2")
    assert answer.status is DeliveryStatus.PARKED
    assert answer.code is not None
    assert answer.code <= 0xFFFF


def test_a_warning_is_kept() -> None:
    answer = stored_answer("1.2")
    answer["00081199"]["Value"][0]["00081196"] = {"vr": "US", "Value": [0xB000]}
    reply = read_reply(200, answer, "1.2")
    assert (reply.status, reply.reason) == (SENT, "0xB000 warning")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["00081198", "00081199", "00081155", "00081197", "Value", "vr"]),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_no_body_breaks_it(body: Any) -> None:
    for status in (200, 202, 409):
        read_reply(status, body if isinstance(body, dict) else None, "1.2")


def test_a_password_and_a_token_come_from_their_files(server: Stow, tmp_path: Path) -> None:
    path = secret(tmp_path, "pass word")
    list(carrier(server, username="node", password_file=path).carry([parcel()]))
    list(carrier(server, token_file=path).carry([parcel()]))
    basic, bearer = (headers["authorization"] for headers in server.headers)
    assert base64.b64decode(basic.removeprefix("Basic ")) == b"node:pass word"
    assert bearer == "Bearer pass word"


@pytest.mark.parametrize("text", ["tök", "two\nlines"])
def test_a_file_that_holds_no_token_is_named(server: Stow, tmp_path: Path, text: str) -> None:
    with pytest.raises(PeerError, match="holds no token"):
        list(carrier(server, token_file=secret(tmp_path, text)).carry([parcel()]))


def test_a_secret_that_is_not_there_is_named(server: Stow, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="secret cannot be read") as caught:
        list(carrier(server, token_file=tmp_path / "none").carry([parcel()]))
    assert "is the file there" in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        {"url": "http://h/dicom-web", "token_file": "t"},
        {"url": "http://u:p@h/dicom-web"},
        {"url": "ftp://h"},
        {"url": "https://h", "username": "u"},
        {"url": "https://h", "username": "u", "password_file": "p", "token_file": "t"},
    ],
)
def test_settings_that_give_a_secret_away_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"https|password|address"):
        StowSettings.model_validate(values)


def _folder(above: Path, name: str) -> Path:
    folder = above / name
    folder.mkdir()
    return folder


def test_tls_is_verified_by_the_authority_in_the_settings(tmp_path: Path) -> None:
    authority, stranger = (Authority(_folder(tmp_path, name)) for name in ("ours", "theirs"))
    server = Stow(authority.issue("server", sans=["127.0.0.1"]))
    url = server.url.replace("http:", "https:")
    with running(server.server):
        good = StowCarrier(StowSettings(url=url, ca=authority.path))
        assert [reply.status for reply in good.carry([parcel()])] == [SENT]
        for ca in (stranger.path, None):
            with pytest.raises(PeerError, match="not trusted"):
                list(StowCarrier(StowSettings(url=url, ca=ca)).carry([parcel()]))
        elsewhere = StowSettings(url=url.replace("127.0.0.1", "localhost"), ca=authority.path)
        with pytest.raises(PeerError, match="not trusted"):
            list(StowCarrier(elsewhere).carry([parcel()]))
    assert len(server.stored) == 1


def test_a_server_that_goes_away_leaves_the_rest_for_later(server: Stow) -> None:
    parcels = [parcel("a"), parcel("b")]
    replies = carrier(server, timeout_s=2.0).carry(parcels)
    assert next(replies).status is SENT
    server.server.stop()
    with pytest.raises(PeerError):
        next(replies)


def _silent(sock: socket.socket) -> None:
    sock.recv(65_536)
    time.sleep(0.6)


def _speaks_no_http(sock: socket.socket) -> None:
    sock.recv(65_536)
    sock.sendall(b"\x0bMSH|^~\\&|Doe^Jane\x1c\r")


def _hangs_up(sock: socket.socket) -> None:
    sock.recv(65_536)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{")


def _never_ends(sock: socket.socket) -> None:
    sock.recv(65_536)
    with suppress(OSError):
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sock.sendall(b" " * 65_536)


def _trickles(sock: socket.socket) -> None:
    sock.recv(65_536)
    with suppress(OSError):
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(60):
            sock.sendall(b" ")
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (_silent, "in time"),
        (_speaks_no_http, "RemoteProtocolError"),
        (_hangs_up, "RemoteProtocolError"),
        (_never_ends, "without end"),
        (_trickles, "without end"),
    ],
)
def test_a_server_that_misbehaves_is_tried_again_and_not_quoted(
    behave: Callable[[socket.socket], None], reason: str
) -> None:
    started = time.monotonic()
    with rude(behave) as port:
        settings = StowSettings(url=f"http://127.0.0.1:{port}", timeout_s=0.5)
        with pytest.raises(PeerError, match=reason) as caught:
            list(StowCarrier(settings).carry([parcel()]))
    assert "Doe" not in str(caught.value)
    assert time.monotonic() - started < 8


def _logs_people_in(sock: socket.socket) -> None:
    sock.recv(65_536)
    page = b"\n<!DOCTYPE html><html><title>Log in</title></html>"
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))
    time.sleep(0.2)


def test_a_page_for_people_stores_nothing() -> None:
    with rude(_logs_people_in) as port:
        settings = StowSettings(url=f"http://127.0.0.1:{port}", timeout_s=2)
        (reply,) = StowCarrier(settings).carry([parcel()])
    assert reply.status is PENDING


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    with pytest.raises(PeerError, match="cannot connect to"):
        StowCarrier(StowSettings(url=url)).probe()


def test_an_answer_that_nests_without_end_is_no_answer() -> None:
    assert Answer(200, b"[" * 1_000_000).json() is None


def test_a_probe_stores_nothing(server: Stow) -> None:
    assert carrier(server).probe().endswith("answers")
    assert server.stored == []
    wrong = StowSettings(url=f"{server.url}/more")
    with pytest.raises(PeerError, match="HTTP 404"):
        StowCarrier(wrong).probe()
