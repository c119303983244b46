"""The listener for monitoring: /metrics, /health and /ready, on a port of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.config_metrics import MetricsSettings
from node.errors import NodeError
from node.logs import get_logger, say
from node.prometheus import CONTENT_TYPE
from node.web.serving import Limits, Serving

_LOG = get_logger("monitor")
_LIMITS: Final = Limits(max_connections=16, request_s=5.0, stop_timeout_s=2)
_OK, _UNAVAILABLE = 200, 503


class MonitorPortTaken(NodeError):
    """The listener for monitoring cannot have its port."""

    default_hint = "set node.metrics.port to one that is free"


class Monitor:
    """Serves what monitoring asks for, from a thread of its own.

    Parameters
    ----------
    render
        Returns all metrics in the text format of Prometheus.
    dead
        Returns the threads that were started and have died.
    missing
        Returns the parts that are not ready, each with the reason.
    """

    def __init__(
        self,
        settings: MetricsSettings,
        render: Callable[[], bytes],
        dead: Callable[[], tuple[str, ...]],
        missing: Callable[[], dict[str, str]],
    ) -> None:
        self._settings = settings
        self._render = render
        self._dead = dead
        self._missing = missing
        routes = [
            Route("/metrics", self._on_metrics),
            Route("/health", self._on_health),
            Route("/ready", self._on_ready),
        ]
        self._serving = Serving(Starlette(routes=routes), _LIMITS, "monitor")

    def start(self) -> None:
        """Listen, if that is not so already.

        Raises
        ------
        MonitorPortTaken
            The port cannot be bound.
        """
        if self._serving.is_running:
            return
        place = (self._settings.bind, self._settings.port)
        try:
            family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
            listener = socket.create_server(place, family=family)
        except OSError as error:
            raise MonitorPortTaken(
                f"cannot listen on {place[0]}:{place[1]}: {error.strerror}"
            ) from error
        self._serving.start(listener)
        say(_LOG, "monitor.started", address=place[0], port=place[1])

    def stop(self) -> None:
        """Let requests under way end, then close."""
        self._serving.stop()

    # not coroutines: each waits for the ledger or the disk, in a thread of the pool

    def _on_metrics(self, _request: Request) -> Response:
        return Response(self._render(), media_type=CONTENT_TYPE)

    def _on_health(self, _request: Request) -> Response:
        dead = self._dead()
        status = _UNAVAILABLE if dead else _OK
        return JSONResponse({"alive": not dead, "dead": list(dead)}, status)

    def _on_ready(self, _request: Request) -> Response:
        missing = [{"part": part, "reason": why} for part, why in self._missing().items()]
        status = _UNAVAILABLE if missing else _OK
        return JSONResponse({"ready": not missing, "missing": missing}, status)
