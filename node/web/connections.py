"""Connections to the review page: few, and each of them with a request that comes to its end.

The page shares its process, and so its file descriptors, with the DICOM listener: a stranger who
opens connections and says nothing must use up neither the page nor the node. uvicorn limits only
how long a connection is idle between two requests.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle


def hurried_protocol(request_s: float, max_open: int) -> type[H11Protocol]:
    """Return a protocol for uvicorn that waits no longer for a request.

    Parameters
    ----------
    request_s
        Seconds for a request to come, body included; answering it may take longer.
    max_open
        Connections at one time; one more is closed at once.
    """

    class Hurried(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > max_open:
                transport.abort()
            else:
                self._await_request()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._await_request()
            super().on_response_complete()

        def _await_request(self) -> None:
            self._forget()
            self._timer = self.loop.call_later(request_s, self._look)

        def _forget(self) -> None:
            if self._timer is not None:
                self._timer.cancel()

        def _look(self) -> None:
            """Close the connection, unless we are the one who is slow."""
            cycle: RequestResponseCycle | None = self.cycle
            if cycle is not None and not cycle.response_complete and not cycle.more_body:
                self._await_request()
            else:
                self.transport.abort()

    return Hurried
