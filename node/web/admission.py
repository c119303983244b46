"""The one place where a secret is tried: wrong ones are counted, noted, and at last locked out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from node.accounts import Account, Accounts
from node.errors import NodeError
from node.web.security import Doorkeeper, Tokens, Visitor
from node.web.visits import Visits


class NotAdmitted(NodeError):
    """Name and password do not fit, or the token is not known."""

    default_hint = "an administrator can set a new password; tokens stand in node.web.token_file"

    def __init__(self, wait_s: float = 0.0) -> None:
        reason = "too many wrong tries" if wait_s else ""
        super().__init__(reason, hint=f"try again in {wait_s:.0f} s" if wait_s else "")
        self.wait_s = wait_s


class Admission:
    """Tells who somebody is.

    Parameters
    ----------
    tokens
        Those of programs; a person may show one as password too.
    accounts
        Those of people.
    """

    def __init__(
        self, tokens: Tokens, accounts: Accounts, doorkeeper: Doorkeeper, visits: Visits
    ) -> None:
        self._tokens = tokens
        self._accounts = accounts
        self._doorkeeper = doorkeeper
        self._visits = visits

    def admit(self, address: str, token: str) -> Visitor:
        """Return who shows a token.

        Raises
        ------
        NotAdmitted
            Nobody has it, or the address is locked out: then no token is looked at.
        """
        return self._tried([address], lambda: self._tokens.holder(token), address)

    def admit_person(self, address: str, name: str, password: str) -> Visitor:
        """Return who logs in.

        Raises
        ------
        NotAdmitted
            They are not who they say, or address or name are locked out.
        """

        def find() -> Visitor | None:
            holder = self._tokens.holder(password)
            if holder is not None:
                return holder if holder.name == name else None
            return _visitor(self._accounts.log_in(name, password))

        return self._tried([address, f"name {name}"], find, address)

    def _tried(self, doors: list[str], find: Callable[[], Visitor | None], address: str) -> Visitor:
        """Try a secret unless somebody has to wait; count what is wrong."""
        wait_s = max(self._doorkeeper.wait_s(door) for door in doors)
        if wait_s:
            raise NotAdmitted(wait_s)
        visitor = find()
        if visitor is None:
            locks = [self._doorkeeper.failed(door) for door in doors]
            self._visits.note("locked out" if any(locks) else "refused", "", address)
            raise NotAdmitted
        for door in doors:
            self._doorkeeper.succeeded(door)
        return visitor

    def current(self, visitor: Visitor) -> Visitor | None:
        """Return a visitor with the role of now; None where the account is gone or switched off."""
        if not visitor.has_account:
            return visitor
        account = self._accounts.find(visitor.name)
        return None if account is None else replace(visitor, role=account.role)


def _visitor(account: Account | None) -> Visitor | None:
    return None if account is None else visitor_of(account)


def visitor_of(account: Account) -> Visitor:
    """Return somebody who was let in by an account."""
    return Visitor(account.name, account.role, has_account=True)
