"""What the pages stand on, and how their requests are taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from node.clock import Clock
from node.questions import Questions
from node.reviews import Reviews
from node.web.forms import Form, check_intent, read_form
from node.web.gate import address_of, visitor_of
from node.web.pages import Pages
from node.web.shelf import Shelf
from node.web.visits import Visits


@dataclass(frozen=True)
class Parts:
    """The parts of the node behind the pages."""

    shelf: Shelf
    questions: Questions
    reviews: Reviews
    visits: Visits
    clock: Clock
    display: Callable[[Path], bytes]
    """Renders a stored film as PNG, apart from us."""
    kick: Callable[[], None]
    """Makes the node look for work now."""
    pages: Pages

    def note(self, request: Request, kind: str, study_uid: str) -> None:
        """Note what a visitor did with a study."""
        self.visits.note(kind, visitor_of(request).name, address_of(request), study_uid)


def posting(
    handler: Callable[[Request, Form], Response],
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a handler that changes something: the visitor must have meant it."""

    async def endpoint(request: Request) -> Response:
        form = await read_form(request)
        check_intent(request, form, visitor_of(request))
        return await run_in_threadpool(handler, request, form)

    return endpoint


def wants_json(request: Request) -> bool:
    """Tell whether a program asks: it shows a token itself, or sends or accepts JSON."""
    if getattr(request.state, "visitor", None) and visitor_of(request).csrf is None:
        return True
    kinds = request.headers.get("content-type", ""), request.headers.get("accept", "")
    return any(kind.startswith("application/json") for kind in kinds)
