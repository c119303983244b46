"""Accounts: an administrator keeps them, and everybody can change their own password."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from node.accounts import AccountRefused, Accounts
from node.errors import NodeError, UnknownName
from node.passwords import PasswordUnfit
from node.roles import Role
from node.web.forms import Form, first
from node.web.gate import address_of, visitor_of
from node.web.parts import Parts
from node.web.security import Sessions


class People:
    """The pages about those who log in."""

    def __init__(self, parts: Parts, accounts: Accounts, sessions: Sessions) -> None:
        self._parts = parts
        self._accounts = accounts
        self._sessions = sessions

    def show(self, request: Request) -> Response:
        """List the accounts."""
        return self._show(request)

    def _show(self, request: Request, refused: NodeError | None = None) -> Response:
        status = HTTPStatus.OK if refused is None else HTTPStatus.UNPROCESSABLE_ENTITY
        return self._parts.pages.page(
            request,
            "accounts.html",
            status=status,
            accounts=self._accounts.all(),
            roles=[*Role],
            refused=refused,
        )

    def make(self, request: Request, form: Form) -> Response:
        """Make an account."""
        try:
            self._accounts.make(
                first(form, "name").strip(),
                _role(form),
                first(form, "password"),
                self._parts.clock.now(),
            )
        except (AccountRefused, PasswordUnfit) as error:
            return self._show(request, error)
        return self._done(request, "account made")

    def change(self, request: Request, form: Form) -> Response:
        """Give an account another role or password, or switch it off or on."""
        name = request.path_params["name"]
        try:
            match first(form, "what"):
                case "role":
                    self._accounts.set_role(name, _role(form))
                case "password":
                    self._accounts.set_password(name, first(form, "password"))
                    self._sessions.end_all(name)
                case "off" | "on" as what:
                    self._accounts.set_disabled(name, disabled=what == "off")
                case _:
                    raise HTTPException(HTTPStatus.BAD_REQUEST, "there is no such change")
        except (AccountRefused, PasswordUnfit, UnknownName) as error:
            return self._show(request, error)
        return self._done(request, "account changed")

    def _done(self, request: Request, kind: str) -> Response:
        self._parts.visits.note(kind, visitor_of(request).name, address_of(request))
        return RedirectResponse("/accounts", HTTPStatus.SEE_OTHER)

    def own(self, request: Request) -> Response:
        """Show the form for one's own password."""
        return self._parts.pages.page(request, "account.html", refused="", hint="", done=False)

    def change_own(self, request: Request, form: Form) -> Response:
        """Change one's own password; whoever does must know the one before."""
        visitor, refused, hint = visitor_of(request), "", ""
        if not visitor.has_account or not self._accounts.log_in(visitor.name, first(form, "old")):
            refused = "that is not your password"
        elif first(form, "password") != first(form, "again"):
            refused = "the two passwords differ"
        else:
            try:
                self._accounts.set_password(visitor.name, first(form, "password"))
            except PasswordUnfit as error:
                refused, hint = str(error), error.hint
            else:
                self._parts.visits.note("account changed", visitor.name, address_of(request))
        status = HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK
        return self._parts.pages.page(
            request, "account.html", status=status, refused=refused, hint=hint, done=not refused
        )


def _role(form: Form) -> Role:
    """Return the role that a form names.

    Raises
    ------
    AccountRefused
        There is none of that name.
    """
    if first(form, "role") not in [*Role]:
        raise AccountRefused("there is no such role", hint=", ".join(Role))
    return Role(first(form, "role"))
