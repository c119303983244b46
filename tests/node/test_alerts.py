"""Alerts: raised once, cleared once, and told to a server that may be away."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node import logs
from node.alerts import ALERTS, MIN_STUDIES, Alarms, Alert, Change, Reading, readings
from node.app import Node
from node.config_alerts import AlertSettings
from node.config_outputs import HttpSettings
from node.drift import Drift
from node.facts import Facts
from node.standing import Destination, Standing
from node.webhook import Webhook
from tests.fakes import ManualClock
from tests.films import phantom
from tests.node.conftest import Pacs, send, wait_for
from tests.pki import Authority
from tests.receivers import HttpServer, running, secret

NOW = 1_800_000_000.0


def standing(**changes: Any) -> Standing:
    values: dict[str, Any] = {
        "at": NOW,
        "studies": {"READY": 0},
        "oldest_ready_at": None,
        "destinations": {},
        "questions": {},
        "verdicts": {},
        "recent": {},
    }
    return Standing(**values | changes)


def facts(
    *, free: int = 500, drift: Drift | None = None, expires_in_s: float = 9e9, **more: Any
) -> Facts:
    expiries = (("node.tls.certificate", NOW + expires_in_s),)
    return Facts(NOW, standing(**more), free, 1000, expiries, drift, drift is not None)


def over(seen: Facts, **settings: Any) -> set[tuple[str, str]]:
    found = readings(seen, AlertSettings(**settings), 30)
    return {(one.alert, one.subject) for one in found if one.is_over}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (facts(), set()),
        (facts(studies={"READY": 3}, oldest_ready_at=NOW - 301), {("queue_age", "")}),
        (facts(free=99), {("disk_free", "")}),
        (facts(expires_in_s=29 * 86_400), {("certificate", "node.tls.certificate")}),
        (facts(expires_in_s=-1), {("certificate", "node.tls.certificate")}),
        (
            facts(destinations={"pacs": Destination(1, failing_since=NOW - 901)}),
            {("destination_down", "pacs")},
        ),
        (facts(destinations={"pacs": Destination(1, failing_since=NOW - 5)}), set()),
        (facts(recent={"drafted": 8, "failed": 2}), {("failed_share", "")}),
        (facts(recent={"failed": MIN_STUDIES - 1}), set()),
        (facts(drift=Drift(0.3, "mean", 60, {"mean": 0.3})), {("drift", "")}),
    ],
)
def test_each_alert_has_its_threshold(seen: Facts, expected: set[tuple[str, str]]) -> None:
    assert over(seen) == expected
    assert {name for name, _ in expected} <= set(ALERTS)


def test_what_is_switched_off_is_not_watched() -> None:
    off = dict.fromkeys(AlertSettings.model_fields.keys() - {"webhook"})
    bad = facts(
        free=1,
        drift=Drift(9, "mean", 60, {}),
        recent={"failed": 99},
        oldest_ready_at=0.0,
        destinations={"pacs": Destination(1, failing_since=0.0)},
    )
    assert over(bad, **off) == set()
    assert list(readings(bad, AlertSettings(**off), 0)) == []


def reading(value: float, *, low: bool = False) -> Reading:
    return Reading("queue_age", value, 100.0, "text", "hint", low_is_bad=low)


def test_a_value_beside_its_threshold_makes_no_noise() -> None:
    alarms = Alarms()
    states = [
        [one.is_raised for one in alarms.update([reading(value)], at)]
        for at, value in enumerate([99, 100, 99, 101, 91, 99, 89, 99, 100])
    ]
    assert states == [[], [True], [], [], [], [], [False], [], [True]]


@given(st.lists(st.floats(0, 300), max_size=60), st.booleans())
def test_raised_and_cleared_take_turns_and_agree_with_what_is_active(
    values: list[float], low: bool
) -> None:
    alarms, said = Alarms(), []
    for at, value in enumerate(values):
        said += [one.is_raised for one in alarms.update([reading(value, low=low)], at)]
        assert bool(alarms.active()) == (bool(said) and said[-1])
        if reading(value, low=low).is_over:
            assert alarms.active()
        if reading(value, low=low).is_well:
            assert not alarms.active()
    assert said == [number % 2 == 0 for number in range(len(said))]


def test_an_alert_keeps_since_and_tells_the_latest_value() -> None:
    alarms = Alarms()
    alarms.update([reading(150)], 1.0)
    assert alarms.update([reading(170)], 2.0) == []
    (active,) = alarms.active()
    assert (active.since, active.value) == (1.0, 170)
    (cleared,) = alarms.update([], 3.0)
    assert (cleared.is_raised, cleared.alert) == (False, active)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.set_up("info", stream, shape="json")
    yield stream
    logger = logging.getLogger("cxr_node")
    logger.handlers.clear()
    logger.propagate = True


def test_a_running_node_raises_and_clears(
    start_node: Callable[..., Node], pacs: Pacs, log: io.StringIO
) -> None:
    pacs.status = 0xA700
    node = start_node(alerts={"destination_down_s": 0.5})
    send(node, phantom("waits"))

    def events() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        return [
            one
            for one in lines
            if one["event"].startswith("alert.") and one["alert"] == "destination_down"
        ]

    (raised,) = wait_for(events, 30)
    assert (raised["event"], raised["subject"]) == ("alert.raised", "pacs")
    assert raised["level"] == "WARNING"
    assert "pacs" in {one.subject for one in node.alerts()}
    pacs.status = 0x0000
    wait_for(lambda: len(events()) == 2, 30)
    assert events()[1]["event"] == "alert.cleared"
    assert "destination_down" not in {one.alert for one in node.alerts()}


class Hook:
    """A server that is told of alerts."""

    def __init__(self, issued: Any) -> None:
        self.status = 200
        self.told: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.server = HttpServer(
            Starlette(routes=[Route("/hook", self._take, methods=["POST"])]), issued
        )
        self.start, self.stop = self.server.start, self.server.stop

    async def _take(self, request: Request) -> Response:
        self.tokens.append(request.headers.get("authorization", ""))
        if self.status == 200:
            self.told.append(await request.json())
        return Response(status_code=self.status)


CHANGE = Change(True, Alert("drift", "", NOW - 60, "films differ", "look", 0.3, 0.25), NOW)


def test_a_server_is_told_over_tls_and_again_until_it_takes_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with running(Hook(authority.issue("hook", sans=["127.0.0.1"]))) as hook:
        clock = ManualClock()
        settings = HttpSettings(
            url=f"https://127.0.0.1:{hook.server.port}/hook",
            ca=authority.path,
            token_file=secret(tmp_path, "a-token"),
        )
        webhook = Webhook(settings, "CXRDRAFT", clock)
        assert not webhook.step()
        webhook.put(CHANGE)
        hook.status = 503
        assert not webhook.step()
        hook.status = 200
        assert not webhook.step(), "it waits before it tries again"
        clock.advance(6)
        assert webhook.step()
        assert not webhook.step()
    assert hook.tokens == ["Bearer a-token"] * 2
    assert hook.told == [
        {
            "node": "CXRDRAFT",
            "at": "2027-01-15T08:00:00+00:00",
            "state": "raised",
            "alert": "drift",
            "subject": "",
            "since": "2027-01-15T07:59:00+00:00",
            "text": "films differ",
            "hint": "look",
            "value": 0.3,
            "threshold": 0.25,
        }
    ]


def test_a_server_that_is_away_holds_nothing_up(tmp_path: Path) -> None:
    webhook = Webhook(HttpSettings(url="http://127.0.0.1:1/hook"), "CXRDRAFT", ManualClock())
    for _ in range(300):
        webhook.put(CHANGE)
    assert not webhook.step()
