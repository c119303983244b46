"""The first administrator: made once, by whoever can read what the node printed when it started."""

from __future__ import annotations

import hmac
import secrets
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node.accounts import AccountRefused, Accounts
from node.clock import Clock
from node.passwords import PasswordUnfit
from node.roles import Role
from node.web.admission import visitor_of
from node.web.entrance import Entrance
from node.web.forms import Form, first
from node.web.gate import SETUP, address_of
from node.web.pages import Pages
from node.web.security import Doorkeeper


class FirstAdmin:
    """A token that makes one account, for as long as there is no administrator."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._token = secrets.token_urlsafe(24)

    @property
    def is_wanted(self) -> bool:
        """Whether nobody can make accounts yet."""
        return not self._accounts.has_admin()

    def notice(self, address: str) -> str:
        """Return what to print at the start."""
        place = f"{address}{SETUP}"
        return f"no administrator yet: make one at {place} with this token:\n  {self._token}"

    def fits(self, token: str) -> bool:
        """Tell whether somebody read the notice."""
        return hmac.compare_digest(token.strip().encode(), self._token.encode())


class Setup:
    """The page that makes the first administrator."""

    def __init__(
        self,
        pages: Pages,
        entrance: Entrance,
        accounts: Accounts,
        first_admin: FirstAdmin,
        doorkeeper: Doorkeeper,
        clock: Clock,
    ) -> None:
        self._pages = pages
        self._entrance = entrance
        self._accounts = accounts
        self._first = first_admin
        self._doorkeeper = doorkeeper
        self._clock = clock

    def show(self, request: Request) -> Response:
        """Show the form, while it is of use."""
        self._check_wanted()
        return self._form(request)

    def _check_wanted(self) -> None:
        if not self._first.is_wanted:
            raise HTTPException(HTTPStatus.NOT_FOUND, "there is an administrator already")

    def _form(self, request: Request, refused: str = "", hint: str = "") -> Response:
        status = HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK
        return self._entrance.form(request, "setup.html", status=status, refused=refused, hint=hint)

    def make(self, request: Request, form: Form) -> Response:
        """Make the administrator and let them in."""
        self._check_wanted()
        address, name, password = address_of(request), first(form, "name"), first(form, "password")
        wait_s = self._doorkeeper.wait_s(address)
        if wait_s:
            return self._form(request, "too many wrong tries", f"try again in {wait_s:.0f} s")
        if not self._first.fits(first(form, "token")):
            self._doorkeeper.failed(address)
            return self._form(request, "that is not the token", "the node prints it at its start")
        if password != first(form, "again"):
            return self._form(request, "the two passwords differ")
        try:
            made = self._accounts.make(name.strip(), Role.ADMIN, password, self._clock.now())
        except (AccountRefused, PasswordUnfit) as error:
            return self._form(request, str(error), error.hint)
        return self._entrance.let_in(visitor_of(made), address, "/")
