"""An HTTP server in a thread of its own, as the pages and the monitoring both have one."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from node.web.connections import hurried_protocol


@dataclass(frozen=True)
class Limits:
    """How much one server takes on."""

    max_connections: int
    """Requests answered at one time; twice as many connections may be open."""
    request_s: float
    """Seconds for a request to come, body included."""
    stop_timeout_s: int


class Serving:
    """Serves one application.

    Parameters
    ----------
    name
        Of the thread.
    context
        Makes the TLS context; None where plain HTTP is spoken.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        name: str,
        context: Callable[[Any, Any], ssl.SSLContext] | None = None,
    ) -> None:
        self._name = name
        self._limits = limits
        self._thread: threading.Thread | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=hurried_protocol(limits.request_s, 2 * limits.max_connections),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=limits.max_connections,
                timeout_graceful_shutdown=limits.stop_timeout_s,
                ssl_context_factory=context,
            )
        )

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._thread is not None

    def start(self, listener: socket.socket) -> None:
        """Serve whoever comes to a socket that listens."""
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name=self._name, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Let requests under way end, then close."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(2 * self._limits.stop_timeout_s)
            self._thread = None
