"""What the pages stand on, and how their requests are taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node.clock import Clock
from node.questions import Questions
from node.reviews import Reviews
from node.roles import Role
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


def showing(
    handler: Callable[[Request], Response], needed: Role = Role.VIEWER
) -> Callable[[Request], Response]:
    """Return the endpoint of a handler that shows something to those who may see it."""

    def endpoint(request: Request) -> Response:
        check_role(request, needed)
        return handler(request)

    return endpoint


def check_role(request: Request, needed: Role) -> None:
    """Turn a visitor away who may not do something.

    Raises
    ------
    HTTPException
        Their role does not include the one that is needed (403).
    """
    if not visitor_of(request).may(needed):
        raise HTTPException(HTTPStatus.FORBIDDEN, f"this is for the role {needed} alone")


def posting(
    handler: Callable[[Request, Form], Response], needed: Role = Role.RADIOLOGIST
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a handler that changes something: the visitor may, and meant it."""

    async def endpoint(request: Request) -> Response:
        check_role(request, needed)
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
