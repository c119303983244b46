"""Spans to a collector of OpenTelemetry: OTLP over HTTP, each trace in one piece.

What `node.traces` needs of OpenTelemetry, which comes with the extra `otel`. Nothing of it is taken
from the environment: the configuration says where traces go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from node.config_tracing import TracingSettings
from node.journey import Span

_PATH: Final = "/v1/traces"
_NS: Final = 1_000_000_000


class OtlpExporter:
    """Exports traces to the collector of the configuration.

    Parameters
    ----------
    settings
        The `node.tracing` section; its endpoint is set.
    ae_title
        Which node it is.
    """

    def __init__(self, settings: TracingSettings, ae_title: str) -> None:
        session = requests.Session()
        session.trust_env = False
        self._exporter = OTLPSpanExporter(
            endpoint=f"{settings.endpoint}{_PATH}",
            certificate_file=None if settings.ca is None else str(settings.ca),
            headers={},
            timeout=settings.timeout_s,
            compression=Compression.NoCompression,
            session=session,
        )
        self._names = _Names()
        self._ended = _Ended()
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource(
                {
                    "service.name": "cxr-node",
                    "service.version": version("cxr-node"),
                    "service.instance.id": ae_title,
                }
            ),
            shutdown_on_exit=False,
            id_generator=self._names,
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("cxr-node")

    def export(self, traces: Sequence[tuple[str, Span]]) -> bool:
        """Send traces; a trace that is sent twice has the same identifiers."""
        self._ended.spans.clear()
        for name, root in traces:
            self._names.begin(name)
            self._record(root, None)
        return self._exporter.export(self._ended.spans) is SpanExportResult.SUCCESS

    def _record(self, span: Span, parent: trace.Span | None) -> None:
        context = trace.set_span_in_context(parent or trace.INVALID_SPAN)
        recorded = self._tracer.start_span(
            span.name, context, attributes=dict(span.attributes), start_time=_ns(span.start)
        )
        for one in span.inner:
            self._record(one, recorded)
        recorded.end(_ns(span.end))


class _Ended(SpanProcessor):
    """Keeps the spans that ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Names(IdGenerator):
    """Derives the identifiers of a trace from its name, one way."""

    def __init__(self) -> None:
        self._name = ""
        self._number = 0

    def begin(self, name: str) -> None:
        """Begin a trace."""
        self._name, self._number = name, 0

    def generate_trace_id(self) -> int:
        return self._derived(16, "trace")

    def generate_span_id(self) -> int:
        self._number += 1
        return self._derived(8, str(self._number))

    def _derived(self, num_bytes: int, part: str) -> int:
        digest = hashlib.sha256(f"{self._name}\0{part}".encode()).digest()
        return int.from_bytes(digest[:num_bytes]) or 1


def _ns(seconds: float) -> int:
    return round(seconds * _NS)
