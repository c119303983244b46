"""Tokens, sessions and lock-outs: who is let in, for how long, and who has to wait."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import NodeSettings
from node.config_web import WebSettings
from node.roles import Role
from node.web.entrance import _ours
from node.web.security import Doorkeeper, Sessions, TokenFileUnfit, Tokens, Visitor
from tests.fakes import ManualClock

LONG = "0123456789" * 3
OIDC = {
    "issuer": "https://id.hospital.example",
    "client_id": "cxr",
    "client_secret_file": "secret",
    "roles": {"admin": ["it"]},
}


def _file(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_has_one_name(tmp_path: Path) -> None:
    tokens = Tokens(_file(tmp_path, f"# people\nanna {LONG}a\n\nbert {LONG}b admin\n"))
    anna, bert = (tokens.holder(LONG + end) for end in ("a", "b"))
    assert (anna, bert) == (Visitor("anna", Role.RADIOLOGIST), Visitor("bert", Role.ADMIN))
    assert not any(tokens.holder(LONG + end) for end in ("c", ""))
    assert tokens.holder("") is None


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("", 0o600, "holds no token"),
        ("# none\n", 0o600, "holds no token"),
        (f"{LONG}\n", 0o600, "entry 1"),
        (f"anna {LONG}\nbert short\n", 0o600, "entry 2"),
        (f"an/na {LONG}\n", 0o600, "entry 1"),
        (f"anna {LONG} king\n", 0o600, "role that does not exist"),
        (f"anna {LONG}\n", 0o604, "open to every user"),
    ],
)
def test_a_file_that_would_let_strangers_in_is_refused(
    tmp_path: Path, text: str, mode: int, reason: str
) -> None:
    with pytest.raises(TokenFileUnfit, match=reason) as refused:
        Tokens(_file(tmp_path, text, mode))
    assert refused.value.hint
    assert LONG not in str(refused.value)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenFileUnfit, match="cannot be read"):
        Tokens(tmp_path / "none")


def test_an_address_is_locked_out_for_its_time() -> None:
    clock = ManualClock()
    door = Doorkeeper(clock, max_failures=3, lockout_s=60)
    assert [door.failed("10.0.0.1") for _ in range(3)] == [False, False, True]
    assert door.wait_s("10.0.0.1") == 60
    assert door.wait_s("10.0.0.2") == 0
    clock.advance(59)
    assert door.wait_s("10.0.0.1") == 1
    clock.advance(1)
    assert door.wait_s("10.0.0.1") == 0
    assert not door.failed("10.0.0.1")


def test_a_right_token_wipes_the_slate() -> None:
    door = Doorkeeper(ManualClock(), max_failures=2, lockout_s=60)
    door.failed("10.0.0.1")
    door.succeeded("10.0.0.1")
    door.failed("10.0.0.1")
    assert door.wait_s("10.0.0.1") == 0


def test_a_site_of_ipv6_is_one_place() -> None:
    door = Doorkeeper(ManualClock(), max_failures=2, lockout_s=60)
    door.failed("2001:db8::1")
    door.failed("2001:db8::ffff:2")
    assert door.wait_s("2001:db8::3") == 60
    assert door.wait_s("2001:db8:0:1::3") == 0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 100)), max_size=40))
def test_nobody_gets_more_tries_than_allowed_within_a_lockout(
    tries: list[tuple[str, float]],
) -> None:
    clock = ManualClock()
    door = Doorkeeper(clock, max_failures=3, lockout_s=60)
    wrong: dict[str, list[float]] = {"a": [], "b": []}
    for place, pause_s in tries:
        clock.advance(pause_s)
        if not door.wait_s(place):
            door.failed(place)
            wrong[place].append(clock.now())
    for times in wrong.values():
        for first, fourth in zip(times, times[3:], strict=False):
            assert fourth - first >= 60 - 1e-6


def test_a_session_ends_by_time_or_by_logout() -> None:
    clock = ManualClock()
    sessions = Sessions(clock, 100)
    one, two = (sessions.begin(Visitor(name, Role.VIEWER)) for name in ("anna", "bert"))
    assert one != two
    visitor = sessions.find(one)
    assert visitor is not None
    assert (visitor.name, len(visitor.csrf or "")) == ("anna", 43)
    assert sessions.find("") is sessions.find("guess") is None
    sessions.end(one)
    assert sessions.find(one) is None
    clock.advance(100)
    assert sessions.find(two) is None


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/studies/abc", "/studies/abc"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/studies/x?next=//evil", "/"),
        ("", "/"),
        ("/a\n", "/"),
    ],
)
def test_a_login_leads_to_pages_of_ours_alone(path: str, kept: str) -> None:
    assert _ours(path) == kept


@pytest.mark.parametrize(
    ("web", "reason"),
    [
        ({"enabled": True, "oidc": OIDC}, "set public_url"),
        ({"oidc": {"issuer": "https://id"}}, "client_secret_file"),
        ({"oidc": OIDC | {"roles": {}}}, "nobody would get in"),
        ({"oidc": OIDC | {"issuer": "http://id"}}, "https alone"),
        ({"enabled": True, "token_file": "t", "bind": "0.0.0.0"}, "in the clear"),
        ({"enabled": True, "token_file": "t", "bind": "node.hospital.example"}, "in the clear"),
    ],
)
def test_settings_that_would_let_strangers_in_are_refused(web: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        WebSettings.model_validate(web)


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_may_be_served_without_tls(bind: str) -> None:
    web = WebSettings.model_validate({"enabled": True, "token_file": "t", "bind": bind})
    assert not web.tls


def test_https_needs_the_certificate_of_the_node() -> None:
    web = {"enabled": True, "token_file": "t", "tls": True, "bind": "0.0.0.0"}
    with pytest.raises(ValueError, match=r"set tls\.certificate"):
        NodeSettings.model_validate({"web": web})
