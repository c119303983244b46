"""The gate in front of every page: nobody passes without a token or a session.

It stands around the whole application, so a page that is added later is behind it as well; only
the ways in and the static files can be had without it. It also puts the security headers on every
answer.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.web.admission import Admission, NotAdmitted
from node.web.security import Sessions, Visitor

COOKIE: Final = "cxr_session"
LOGIN: Final = "/login"
SETUP: Final = "/setup"
OIDC_LOGIN: Final = "/login/provider"
OIDC_BACK: Final = "/login/back"
OPEN: Final = frozenset({LOGIN, SETUP, OIDC_LOGIN, OIDC_BACK})
"""What strangers may ask for: the ways in."""
STATIC: Final = "/static"
_BEARER = "bearer "
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Gate:
    """ASGI middleware: finds out who asks, and turns strangers away.

    Parameters
    ----------
    admission
        Tries tokens.
    sessions
        Knows who is logged in.
    """

    def __init__(self, app: ASGIApp, admission: Admission, sessions: Sessions) -> None:
        self._app = app
        self._admission = admission
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        request = Request(scope)
        target = self._app
        if scope["path"] not in OPEN and not scope["path"].startswith(f"{STATIC}/"):
            found = await run_in_threadpool(self._identify, request)
            if isinstance(found, Visitor):
                scope.setdefault("state", {})["visitor"] = found
            else:
                target = found
        await target(scope, receive, guarded)

    def _identify(self, request: Request) -> Visitor | Response:
        """Return who asks, or what to answer where that is nobody."""
        authorization = request.headers.get("authorization", "")
        if authorization[: len(_BEARER)].lower() == _BEARER:
            token = authorization[len(_BEARER) :].strip()
            try:
                return self._admission.admit(address_of(request), token)
            except NotAdmitted as refused:
                return _refuse(refused)
        known = self._sessions.find(request.cookies.get(COOKIE, ""))
        visitor = known and self._admission.current(known)
        return visitor or _to_login(request)


def address_of(request: Request) -> str:
    """Return where a request comes from, as the connection says; headers could say anything."""
    return request.client.host if request.client else ""


def visitor_of(request: Request) -> Visitor:
    """Return who asks; the gate let nobody else through."""
    visitor: Visitor = request.state.visitor
    return visitor


def refusal_of(refused: NotAdmitted) -> tuple[HTTPStatus, dict[str, str]]:
    """Return status and headers of the answer to a token that was not taken."""
    if refused.wait_s:
        return HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": f"{refused.wait_s:.0f}"}
    return HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"}


def _refuse(refused: NotAdmitted) -> Response:
    status, headers = refusal_of(refused)
    return JSONResponse({"reason": str(refused), "hint": refused.hint}, status, headers=headers)


def _to_login(request: Request) -> Response:
    """Send a browser to the login page and back; say so to a program."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(f"{LOGIN}?next={quote(request.url.path)}", HTTPStatus.SEE_OTHER)
    record = {"reason": "nobody is logged in", "hint": "send Authorization: Bearer TOKEN"}
    return JSONResponse(record, HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
