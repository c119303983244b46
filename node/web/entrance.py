"""Login and logout."""

from __future__ import annotations

import re
import secrets
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from node.web.admission import Admission, NotAdmitted
from node.web.forms import Form, check_word, first, read_form
from node.web.gate import COOKIE, LOGIN, address_of, refusal_of, visitor_of
from node.web.pages import Pages
from node.web.security import Sessions
from node.web.visits import Visits

_FORM_COOKIE = "cxr_login"
_OURS = re.compile(r"/(?!/)[\w./-]*")


class Entrance:
    """Lets people in and out.

    Parameters
    ----------
    secure
        Whether cookies are for https alone.
    """

    def __init__(
        self,
        pages: Pages,
        admission: Admission,
        sessions: Sessions,
        visits: Visits,
        *,
        secure: bool,
    ) -> None:
        self._pages = pages
        self._admission = admission
        self._sessions = sessions
        self._visits = visits
        self._secure = secure

    def show(self, request: Request) -> Response:
        """Show the form; its word is also in a cookie, for there is no session to keep it."""
        return self._form(request, request.query_params.get("next", "/"))

    def _form(self, request: Request, after: str, refused: NotAdmitted | None = None) -> Response:
        word = secrets.token_urlsafe(24)
        status, headers = (HTTPStatus.OK, {}) if refused is None else refusal_of(refused)
        headers.pop("WWW-Authenticate", None)
        values = {"word": word, "after": _ours(after), "refused": refused}
        page = self._pages.page(request, "login.html", status=status, headers=headers, **values)
        self._set(page, _FORM_COOKIE, word)
        return page

    async def log_in(self, request: Request) -> Response:
        """Open a session for whoever shows a token."""
        form = await read_form(request)
        check_word(request.cookies.get(_FORM_COOKIE, ""), first(form, "csrf"))
        return await run_in_threadpool(self._log_in, request, form)

    def _log_in(self, request: Request, form: Form) -> Response:
        after, address = first(form, "next"), address_of(request)
        try:
            name = self._admission.admit(address, first(form, "token").strip())
        except NotAdmitted as refused:
            return self._form(request, after, refused)
        self._visits.note("login", name, address)
        answer = RedirectResponse(_ours(after), HTTPStatus.SEE_OTHER)
        self._set(answer, COOKIE, self._sessions.begin(name))
        answer.delete_cookie(_FORM_COOKIE)
        return answer

    def log_out(self, request: Request, _form: Form) -> Response:
        """Close the session."""
        self._sessions.end(request.cookies.get(COOKIE, ""))
        self._visits.note("logout", visitor_of(request).name, address_of(request))
        answer = RedirectResponse(LOGIN, HTTPStatus.SEE_OTHER)
        answer.delete_cookie(COOKIE)
        return answer

    def _set(self, answer: Response, name: str, value: str) -> None:
        answer.set_cookie(
            name, value, httponly=True, samesite="strict", secure=self._secure, path="/"
        )


def _ours(path: str) -> str:
    """Return a path to go on to, if it is one of ours: no other site, no query."""
    return path if _OURS.fullmatch(path) else "/"
