"""The application: its routes, and what it answers where something is refused.

Every POST but the login goes through a check of its form's word; the gate (`node.web.gate`)
stands around all of it. Pages for administrators and accounts are further routes here.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from engine.errors import CxrError, PixelError
from node.accounts import AccountRefused
from node.errors import StorageError, UnknownName
from node.feedback import FeedbackRefused
from node.operations import OperationRefused
from node.questions import QuestionRefused
from node.reviews import NoSuccessor
from node.roles import Role
from node.rule_test import NotAFilm
from node.web.asking import Asking
from node.web.dashboard import Dashboard
from node.web.entrance import ProviderRefused, SwitchedOff
from node.web.gate import STATIC, Gate
from node.web.house import House
from node.web.office import Office
from node.web.operating import Operating
from node.web.pages import Pages
from node.web.parts import Parts, posting, showing, wants_json
from node.web.peer_pages import PeerPages
from node.web.people import People
from node.web.review import Review
from node.web.rule_pages import RulePages
from node.web.ways_in import WaysIn

_STATUS: Final[dict[type[CxrError], HTTPStatus]] = {
    UnknownName: HTTPStatus.NOT_FOUND,
    QuestionRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    FeedbackRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    PixelError: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotAFilm: HTTPStatus.UNPROCESSABLE_ENTITY,
    NoSuccessor: HTTPStatus.CONFLICT,
    OperationRefused: HTTPStatus.CONFLICT,
    StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    SwitchedOff: HTTPStatus.FORBIDDEN,
    AccountRefused: HTTPStatus.FORBIDDEN,
    ProviderRefused: HTTPStatus.FORBIDDEN,
}
"""What each refusal is in HTTP; whatever else breaks is a 500 without a word about why."""


def make_app(parts: Parts, office: Office, ways_in: WaysIn) -> ASGIApp:
    """Return the application with its gate."""
    handlers = {kind: _refusing(parts.pages, status) for kind, status in _STATUS.items()}
    app = Starlette(
        routes=[
            *ways_in.routes(),
            Mount(STATIC, StaticFiles(directory=Path(__file__).with_name("static"))),
            *_review_routes(Review(parts), Asking(parts)),
            *_operating_routes(parts, office),
            *_admin_routes(parts, office),
            *_account_routes(People(parts, ways_in.accounts, ways_in.sessions)),
        ],
        exception_handlers={HTTPException: _failing(parts.pages), **handlers},
    )
    return Gate(app, ways_in.admission, ways_in.sessions)


def _review_routes(review: Review, asking: Asking) -> list[Route]:
    study = "/studies/{study}"
    return [
        Route("/", review.index, methods=["GET"]),
        Route(study, review.show, methods=["GET"]),
        Route(f"{study}/film.png", review.film, methods=["GET"]),
        Route(f"{study}/synthetic.png", review.synthetic, methods=["GET"]),
        Route(f"{study}/feedback", posting(review.judge), methods=["POST"]),
        Route(f"{study}/answers", posting(review.carry), methods=["POST"]),
        Route(f"{study}/questions", asking.all, methods=["GET"]),
        Route(f"{study}/questions", asking.ask, methods=["POST"]),
        Route(f"{study}/tasks", asking.ask_task, methods=["POST"]),
        Route(f"{study}/questions/{{number}}", asking.show, methods=["GET"]),
    ]


def _operating_routes(parts: Parts, office: Office) -> list[Route]:
    """Return what is for those who look after studies."""
    act = posting(Operating(parts, office).act)
    return [
        Route("/dashboard", Dashboard(parts, office).show, methods=["GET"]),
        Route("/model", House(parts, office).model, methods=["GET"]),
        Route("/studies/{study}/operations/{operation}", act, methods=["POST"]),
    ]


def _admin_routes(parts: Parts, office: Office) -> list[Route]:
    """Return what is for administrators alone."""
    peers, house, rules = PeerPages(parts, office), House(parts, office), RulePages(parts, office)
    pages = {
        "/peers": peers.show,
        "/refusals": peers.refusals,
        "/rules": rules.show,
        "/configuration": house.configuration,
        "/log": house.log,
        "/support.zip": house.support,
    }
    return [
        *(Route(path, showing(page, Role.ADMIN), methods=["GET"]) for path, page in pages.items()),
        Route("/peers/{peer}/test", posting(peers.test, Role.ADMIN), methods=["POST"]),
        Route("/rules/test", rules.test, methods=["POST"]),
    ]


def _account_routes(people: People) -> list[Route]:
    admin = Role.ADMIN
    return [
        Route("/accounts", showing(people.show, admin), methods=["GET"]),
        Route("/accounts", posting(people.make, admin), methods=["POST"]),
        Route("/accounts/{name}", posting(people.change, admin), methods=["POST"]),
        Route("/account", people.own, methods=["GET"]),
        Route("/account", posting(people.change_own, Role.VIEWER), methods=["POST"]),
    ]


def _refusing(pages: Pages, status: HTTPStatus) -> Callable[[Request, Exception], Response]:
    """Return what answers one kind of our errors."""

    def refuse(request: Request, error: Exception) -> Response:
        hint = error.hint if isinstance(error, CxrError) else ""
        return _answer(pages, request, status, str(error), hint)

    return refuse


def _failing(pages: Pages) -> Callable[[Request, Exception], Response]:
    """Return what answers where a request itself is wrong."""

    def fail(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = _answer(pages, request, error.status_code, error.detail, "")
        answer.headers.update(error.headers or {})
        return answer

    return fail


def _answer(pages: Pages, request: Request, status: int, reason: str, hint: str) -> Response:
    if wants_json(request):
        return JSONResponse({"reason": reason, "hint": hint}, status)
    return pages.page(request, "error.html", status=status, reason=reason, hint=hint)
