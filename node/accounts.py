"""The accounts of the people who use the pages, kept in the ledger, so shared by all its nodes."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from node.errors import NodeError, UnknownName
from node.passwords import check_fit, fits, hashed, nobodys
from node.roles import Role
from node.schema import account
from node.transactions import reading, writing

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


_MAX_HASHING = 2


class AccountRefused(NodeError):
    """The account cannot be made or changed like that."""


@dataclass(frozen=True)
class Account:
    """Somebody who may log in."""

    name: str
    role: Role
    made_at: float
    disabled: bool
    has_password: bool
    """False where the site's identity provider knows it."""


class Accounts:
    """Accounts by name; who logs in is looked up anew with every request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._nobody = nobodys()
        # a guess costs 32 MiB and a tenth of a second: whoever guesses must not have them all
        self._hashing = threading.BoundedSemaphore(_MAX_HASHING)

    def all(self) -> tuple[Account, ...]:
        """Return every account by name."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(account).order_by(account.c.name)).all()
        return tuple(_account(row) for row in rows)

    def has_admin(self) -> bool:
        """Tell whether somebody can make accounts."""
        return any(one.role is Role.ADMIN and not one.disabled for one in self.all())

    def find(self, name: str) -> Account | None:
        """Return an account that may log in."""
        with reading(self._engine) as connection:
            row = connection.execute(
                sa.select(account).where(account.c.name == name, account.c.disabled.is_(False))
            ).one_or_none()
        return None if row is None else _account(row)

    def log_in(self, name: str, password: str) -> Account | None:
        """Return the account whose password it is; as slow for a name that nobody has."""
        with reading(self._engine) as connection:
            kept = connection.execute(
                sa.select(account.c.password_hash).where(account.c.name == name)
            ).scalar_one_or_none()
        with self._hashing:
            is_right = fits(password, kept or self._nobody)
        return self.find(name) if kept and is_right else None

    def make(self, name: str, role: Role, password: str, now: float) -> Account:
        """Make an account.

        Raises
        ------
        AccountRefused
            The name is taken, or none.
        PasswordUnfit
            The password would be guessed.
        """
        if not NAME.fullmatch(name):
            hint = "letters, digits and `. _ @ -`, 64 at most"
            raise AccountRefused("that is no name for an account", hint=hint)
        check_fit(name, password)
        values = {"name": name, "role": role, "password_hash": hashed(password), "made_at": now}
        with writing(self._engine) as connection:
            if connection.execute(sa.select(account).where(account.c.name == name)).first():
                raise AccountRefused(f"there is an account {name} already", hint="choose another")
            connection.execute(account.insert().values(**values, disabled=False))
        return Account(name, role, now, False, True)

    def admit(self, name: str, role: Role, now: float) -> Account | None:
        """Return the account of somebody whom the identity provider knows, as it says now.

        None where an administrator has switched it off.

        Raises
        ------
        AccountRefused
            An account of this name has a password here: it is somebody else's, as far as we know.
        """
        with writing(self._engine) as connection:
            known = connection.execute(
                sa.select(account.c.password_hash).where(account.c.name == name)
            ).scalar_one_or_none()
            if known:
                hint = "an administrator can switch that account off and give you another name"
                raise AccountRefused(
                    f"the name {name} is taken by an account of the node", hint=hint
                )
            if known is None:
                values = {"name": name, "role": role, "password_hash": "", "made_at": now}
                connection.execute(account.insert().values(**values, disabled=False))
            else:
                connection.execute(account.update().where(account.c.name == name).values(role=role))
        return self.find(name)

    def set_password(self, name: str, password: str) -> None:
        """Give an account another password.

        Raises
        ------
        UnknownName, PasswordUnfit
            There is no such account; the password would be guessed.
        """
        check_fit(name, password)
        self._change(name, password_hash=hashed(password))

    def set_role(self, name: str, role: Role) -> None:
        """Give an account another role.

        Raises
        ------
        UnknownName, AccountRefused
            There is no such account; it is the last administrator's.
        """
        self._keep_an_admin(name, lost=role is not Role.ADMIN)
        self._change(name, role=role)

    def set_disabled(self, name: str, *, disabled: bool) -> None:
        """Switch an account off or on again; its sessions end at once.

        Raises
        ------
        UnknownName, AccountRefused
            There is no such account; it is the last administrator's.
        """
        self._keep_an_admin(name, lost=disabled)
        self._change(name, disabled=disabled)

    def _keep_an_admin(self, name: str, *, lost: bool) -> None:
        others = [one for one in self.all() if one.name != name and not one.disabled]
        one = self.find(name)
        is_last = one is not None and one.role is Role.ADMIN and not _admins(others)
        if lost and is_last:
            raise AccountRefused("this is the last administrator", hint="make another one first")

    def _change(self, name: str, **values: object) -> None:
        with writing(self._engine) as connection:
            changed = connection.execute(
                account.update().where(account.c.name == name).values(**values)
            ).rowcount
        if not changed:
            raise UnknownName(f"there is no account {name!r}", hint="`cxr-node accounts list`")


def _admins(accounts: Sequence[Account]) -> list[Account]:
    return [one for one in accounts if one.role is Role.ADMIN]


def _account(row: sa.Row[tuple[object, ...]]) -> Account:
    return Account(
        row.name, Role(row.role), row.made_at, bool(row.disabled), bool(row.password_hash)
    )
