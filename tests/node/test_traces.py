"""Traces: a journey as spans, and a collector that is sent them over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.app import Node
from node.journey import Journey, Span, spans_of
from node.records import Stage
from tests.films import phantom
from tests.node.conftest import Pacs, send, wait_for, wait_for_state
from tests.node.planted import films, traces
from tests.receivers import HttpServer, running

Start = Callable[..., Node]
NAMES = (
    *(
        "received",
        "ready",
        "claimed",
        "rendered",
        "inspected",
        "measured",
        "prior",
        "reported",
        "built",
    ),
    *("drafted", "delivering", "sent", "committed", "parked", "done", "skipped", "failed"),
)


class Collector:
    """Takes traces by OTLP over HTTP, and reads them."""

    def __init__(self) -> None:
        self.status = 200
        self.bodies: list[bytes] = []
        app = Starlette(routes=[Route("/v1/traces", self._take, methods=["POST"])])
        self.server = HttpServer(app)
        self.start, self.stop = self.server.start, self.server.stop

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        if self.status == 200:
            self.bodies.append(body)
        content = ExportTraceServiceResponse().SerializeToString()
        return Response(content, self.status, media_type="application/x-protobuf")

    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    def spans(self) -> list[Any]:
        return [
            span
            for one in self.requests()
            for resource in one.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running(Collector()) as server:
        yield server


def traced(collector: Collector) -> dict[str, Any]:
    return {"tracing": {"endpoint": f"http://127.0.0.1:{collector.server.port}", "timeout_s": 1}}


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_study_is_one_trace_with_its_parts_inside(
    start_node: Start, pacs: Pacs, collector: Collector
) -> None:
    node, ds = start_node(**traced(collector)), phantom("traced")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    spans = wait_for(collector.spans, 20)
    (root,) = [one for one in spans if not one.parent_span_id]
    assert len({one.trace_id for one in spans}) == 1
    assert len({one.span_id for one in spans}) == len(spans)
    within = {one.name: one for one in spans if one.parent_span_id == root.span_id}
    assert list(within) == ["receive", "complete", "wait", "draft", "deliver"]
    steps = [one.name for one in spans if one.parent_span_id == within["draft"].span_id]
    assert steps == ["decode", "guard", "generate", "write"]
    (carried,) = [one for one in spans if one.parent_span_id == within["deliver"].span_id]
    expected = {"cxr.kind": "report", "cxr.destination": "pacs", "cxr.status": "sent"}
    assert attributes(carried) == expected
    assert attributes(root)["cxr.state"] == "DONE"
    assert re.fullmatch("[0-9a-f]{12}", attributes(root)["cxr.study"])
    for one in spans:
        assert root.start_time_unix_nano <= one.start_time_unix_nano <= one.end_time_unix_nano
        assert one.end_time_unix_nano <= root.end_time_unix_nano
    (resource,) = {
        one.resource_spans[0].resource.SerializeToString() for one in collector.requests()
    }
    assert b"cxr-node" in resource


@pytest.mark.filterwarnings("ignore")
def test_no_planted_value_and_no_uid_is_in_a_trace(
    start_node: Start, pacs: Pacs, collector: Collector
) -> None:
    pacs.status = 0xC123
    node = start_node(**traced(collector))
    send(node, *films())
    wait_for(lambda: len({one.trace_id for one in collector.spans()}) >= 3, 30)
    for body in collector.bodies:
        assert not traces(body)
        assert not re.search(rb"\d+\.\d+\.\d+\.\d+\.\d", body)


def test_a_collector_that_is_away_gets_the_traces_later(
    start_node: Start, pacs: Pacs, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.traces._RETRY_S", 0.2)
    collector.status = 503
    node, ds = start_node(**traced(collector)), phantom("later")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    collector.status = 200
    wait_for(collector.spans, 30)
    assert len({one.trace_id for one in collector.spans()}) == 1


def test_a_draft_that_nobody_gets_is_traced_as_well(
    start_node: Start, collector: Collector, tmp_path: Any
) -> None:
    from tests.node.conftest import settings_for

    settings = settings_for(tmp_path / "root", 1, **traced(collector))
    peers = {"pacs": settings.peers["pacs"].model_copy(update={"send": ()})}
    node, ds = start_node(settings.model_copy(update={"peers": peers})), phantom("kept")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    assert "deliver" not in {one.name for one in wait_for(collector.spans, 20)}


STAGES = st.lists(
    st.builds(
        Stage,
        st.sampled_from(NAMES),
        st.floats(0, 1e6),
        st.sampled_from(["", "report to pacs", "report to pacs: 1.2.3 Doe^John"]),
    ),
    max_size=30,
)


def below(span: Span) -> Iterator[Span]:
    yield span
    for one in span.inner:
        yield from below(one)


@given(STAGES, st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 3))
def test_any_timeline_makes_spans_that_begin_before_they_end(
    stages: list[Stage], first_at: float, last_at: float, generation: int
) -> None:
    root = spans_of(Journey("key", generation, "DONE", "pacs", first_at, last_at, stages))
    for one in below(root):
        assert root.start <= one.start <= one.end <= root.end
        assert not any("Doe" in str(value) for value in one.attributes.values())


def test_a_study_that_was_taken_up_twice_is_told_by_its_last_attempt() -> None:
    names = ("ready", "claimed", "claimed", "rendered", "inspected", "measured", "reported")
    stages = [Stage(name, float(at)) for at, name in enumerate((*names, "built", "drafted"), 10)]
    root = spans_of(Journey("key", 1, "DONE", "pacs", 1.0, 9.0, stages))
    spans = {one.name: (one.start, one.end) for one in below(root)}
    assert spans == {
        "study": (1.0, 18.0),
        "receive": (1.0, 9.0),
        "complete": (9.0, 10.0),
        "wait": (10.0, 12.0),
        "draft": (12.0, 18.0),
        "decode": (12.0, 13.0),
        "guard": (13.0, 14.0),
        "generate": (15.0, 16.0),
        "write": (16.0, 17.0),
    }
