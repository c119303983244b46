"""The `node.metrics` section: a listener for monitoring, off until a site asks for it."""

from __future__ import annotations

from node.config_section import Port, Section


class MetricsSettings(Section):
    """Where /metrics, /health and /ready are served; they name no patient and no study."""

    enabled: bool = False
    bind: str = "127.0.0.1"
    port: Port = 9043
