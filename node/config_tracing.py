"""The `node.tracing` section: one trace a study, to a collector of OpenTelemetry."""

from __future__ import annotations

from pathlib import Path

from node.config_outputs import Url
from node.config_section import Seconds, Section


class TracingSettings(Section):
    """Where traces go (OTLP over HTTP); they name no patient and hold no UID."""

    endpoint: Url | None = None
    ca: Path | None = None
    timeout_s: Seconds = 10.0
