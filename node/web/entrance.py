"""Login and logout, by password, token or the site's identity provider."""

from __future__ import annotations

import re
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from node.accounts import Accounts
from node.clock import Clock
from node.errors import NodeError
from node.web.admission import Admission, NotAdmitted
from node.web.admission import visitor_of as visitor_by
from node.web.forms import Form, check_word, first, read_form
from node.web.gate import COOKIE, LOGIN, OIDC_BACK, address_of, refusal_of, visitor_of
from node.web.pages import Pages
from node.web.security import Sessions, Visitor
from node.web.visits import Visits

if TYPE_CHECKING:
    from node.web.oidc import Provider

_FORM_COOKIE = "cxr_login"
_AWAY_COOKIE = "cxr_away"
_OURS = re.compile(r"/(?!/)[\w./-]*")


class ProviderRefused(NodeError):
    """The identity provider did not let somebody in, or cannot be asked."""

    default_hint = "look at node.web.oidc, and at the provider's log"


class SwitchedOff(NodeError):
    """Your account is switched off."""

    default_hint = "ask an administrator of the node"


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
        has_provider: bool,
    ) -> None:
        self._pages = pages
        self._admission = admission
        self._sessions = sessions
        self._visits = visits
        self._secure = secure
        self._has_provider = has_provider

    def show(self, request: Request) -> Response:
        """Show the form."""
        return self._login(request, request.query_params.get("next", "/"))

    def _login(self, request: Request, after: str, refused: NotAdmitted | None = None) -> Response:
        status, headers = (HTTPStatus.OK, {}) if refused is None else refusal_of(refused)
        headers.pop("WWW-Authenticate", None)
        values = {"after": _ours(after), "refused": refused, "has_provider": self._has_provider}
        return self.form(request, "login.html", status=status, headers=headers, **values)

    def form(
        self,
        request: Request,
        name: str,
        *,
        status: int,
        headers: dict[str, str] | None = None,
        **values: Any,
    ) -> Response:
        """Show a form to a stranger; its word is also in a cookie, for there is no session."""
        word = secrets.token_urlsafe(24)
        page = self._pages.page(request, name, status=status, headers=headers, word=word, **values)
        self._set(page, _FORM_COOKIE, word)
        return page

    async def read(self, request: Request) -> Form:
        """Read a stranger's form, which must be from here.

        Raises
        ------
        HTTPException
            It is not (403).
        """
        form = await read_form(request)
        check_word(request.cookies.get(_FORM_COOKIE, ""), first(form, "csrf"))
        return form

    async def log_in(self, request: Request) -> Response:
        """Open a session for whoever is who they say."""
        return await run_in_threadpool(self._log_in, request, await self.read(request))

    def _log_in(self, request: Request, form: Form) -> Response:
        after, address = first(form, "next"), address_of(request)
        try:
            name = first(form, "name").strip()
            visitor = self._admission.admit_person(address, name, first(form, "password"))
        except NotAdmitted as refused:
            return self._login(request, after, refused)
        return self.let_in(visitor, address, after)

    def let_in(self, visitor: Visitor, address: str, after: str) -> Response:
        """Open a session, and lead on to a page."""
        answer = RedirectResponse(_ours(after), HTTPStatus.SEE_OTHER)
        self.begin(answer, visitor, address)
        return answer

    def begin(self, answer: Response, visitor: Visitor, address: str) -> None:
        """Open a session with an answer."""
        self._visits.note("login", visitor.name, address)
        self._set(answer, COOKIE, self._sessions.begin(visitor))
        answer.delete_cookie(_FORM_COOKIE)

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


class ProviderEntrance:
    """The way in over the site's identity provider."""

    def __init__(
        self,
        provider: Provider,
        entrance: Entrance,
        accounts: Accounts,
        pages: Pages,
        clock: Clock,
        *,
        secure: bool,
    ) -> None:
        self._provider = provider
        self._entrance = entrance
        self._accounts = accounts
        self._pages = pages
        self._clock = clock
        self._secure = secure

    def leave(self, request: Request) -> Response:
        """Send somebody to the provider."""
        url, secret = self._provider.begin(_ours(request.query_params.get("next", "/")))
        answer = RedirectResponse(url, HTTPStatus.SEE_OTHER)
        # lax: it must come back with a link of another site, and is good for that alone
        answer.set_cookie(
            _AWAY_COOKIE,
            secret,
            httponly=True,
            samesite="lax",
            secure=self._secure,
            path=OIDC_BACK,
        )
        return answer

    def come_back(self, request: Request) -> Response:
        """Let in whom the provider vouches for."""
        secret = request.cookies.get(_AWAY_COOKIE, "")
        person, after = self._provider.finish(secret, str(request.url))
        account = self._accounts.admit(person.name, person.role, self._clock.now())
        if account is None:
            raise SwitchedOff
        # a page, not a redirect: browsers send no strict cookie with what another site began
        answer = self._pages.page(request, "arrived.html", after=_ours(after))
        self._entrance.begin(answer, visitor_by(account), address_of(request))
        answer.delete_cookie(_AWAY_COOKIE, path=OIDC_BACK)
        return answer


def _ours(path: str) -> str:
    """Return a path to go on to, if it is one of ours: no other site, no query."""
    return path if _OURS.fullmatch(path) else "/"
