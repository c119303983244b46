"""Accounts: what is kept of a password, who is let in, and that an administrator always remains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from node.accounts import AccountRefused, Accounts
from node.cli import main
from node.database import open_ledger
from node.errors import UnknownName
from node.passwords import PasswordUnfit, check_fit, fits, hashed
from node.roles import Role
from node.schema import access, account
from node.transactions import reading

GOOD = "a long winter walk"


@pytest.fixture
def database(url: sa.URL) -> Iterator[Engine]:
    engine = open_ledger(url)
    yield engine
    engine.dispose()


@settings(max_examples=5, deadline=None)
@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_only_the_password_itself_fits(password: str, other: str) -> None:
    kept = hashed(password)
    assert fits(password, kept)
    assert fits(other, kept) == (other == password)
    assert password not in kept or len(password) < 4


def test_equal_passwords_are_kept_differently() -> None:
    assert hashed(GOOD) != hashed(GOOD)


@pytest.mark.parametrize(
    "kept", ["", "scrypt$", "scrypt$x$8$3$AAAA$AAAA", "md5$1", "scrypt$2$8$1$!$!"]
)
def test_what_is_no_hash_fits_nothing(kept: str) -> None:
    assert not fits("", kept)


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "anna-anna-anna", "x" * 300, ""])
def test_a_password_that_would_be_guessed_is_refused(password: str) -> None:
    with pytest.raises(PasswordUnfit) as refused:
        check_fit("anna", password)
    assert not password or password not in str(refused.value)


def test_an_account_lets_in_with_its_password_alone(database: Engine) -> None:
    accounts = Accounts(database)
    made = accounts.make("anna", Role.RADIOLOGIST, GOOD, 1.0)
    assert accounts.log_in("anna", GOOD) == made
    assert accounts.log_in("anna", GOOD + "x") is accounts.log_in("bert", GOOD) is None
    with pytest.raises(AccountRefused, match="already"):
        accounts.make("anna", Role.ADMIN, GOOD, 2.0)
    for name in ("", "../x", "a b", "x" * 65):
        with pytest.raises(AccountRefused, match="no name"):
            accounts.make(name, Role.ADMIN, GOOD, 2.0)
    with reading(database) as connection:
        assert GOOD not in str(connection.execute(sa.select(account)).all())


def test_an_account_that_is_off_lets_nobody_in(database: Engine) -> None:
    accounts = Accounts(database)
    accounts.make("boss", Role.ADMIN, GOOD, 1.0)
    accounts.make("anna", Role.VIEWER, GOOD, 1.0)
    accounts.set_disabled("anna", disabled=True)
    assert accounts.log_in("anna", GOOD) is accounts.find("anna") is None
    accounts.set_disabled("anna", disabled=False)
    assert accounts.log_in("anna", GOOD)
    with pytest.raises(UnknownName, match="no account"):
        accounts.set_role("nobody", Role.VIEWER)


def test_the_last_administrator_stays(database: Engine) -> None:
    accounts = Accounts(database)
    accounts.make("boss", Role.ADMIN, GOOD, 1.0)
    accounts.make("anna", Role.VIEWER, GOOD, 1.0)
    for change in (
        lambda: accounts.set_role("boss", Role.VIEWER),
        lambda: accounts.set_disabled("boss", disabled=True),
    ):
        with pytest.raises(AccountRefused, match="last administrator"):
            change()
    accounts.set_role("anna", Role.ADMIN)
    accounts.set_disabled("boss", disabled=True)
    assert accounts.has_admin()


def test_whom_the_provider_knows_has_no_password_here(database: Engine) -> None:
    accounts = Accounts(database)
    came = accounts.admit("anna", Role.VIEWER, 1.0)
    assert came is not None
    assert not came.has_password
    assert accounts.log_in("anna", "") is None
    changed = accounts.admit("anna", Role.ADMIN, 2.0)
    assert changed is not None
    assert changed.role is Role.ADMIN
    accounts.make("boss", Role.ADMIN, GOOD, 3.0)
    accounts.set_disabled("anna", disabled=True)
    assert accounts.admit("anna", Role.ADMIN, 4.0) is None


def test_the_provider_cannot_take_an_account_of_the_node_over(database: Engine) -> None:
    accounts = Accounts(database)
    accounts.make("boss", Role.ADMIN, GOOD, 1.0)
    with pytest.raises(AccountRefused, match="taken by an account of the node"):
        accounts.admit("boss", Role.VIEWER, 2.0)
    boss = accounts.log_in("boss", GOOD)
    assert boss is not None
    assert boss.role is Role.ADMIN


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.VIEWER, [True, False, False]),
        (Role.RADIOLOGIST, [True, True, False]),
        (Role.ADMIN, [True, True, True]),
    ],
)
def test_each_role_may_what_those_below_may(role: Role, may: list[bool]) -> None:
    assert [role.may(needed) for needed in Role] == may


def test_accounts_are_kept_from_the_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, password = tmp_path / "config.yaml", tmp_path / "password"
    root = tmp_path / "root"
    root.mkdir()
    config.write_text(yaml.safe_dump({"node": {"storage": {"root": str(root)}}}))
    password.write_text(f"{GOOD}\n")

    def run(*words: str) -> int:
        return main(["accounts", *words, "-c", str(config)])

    made = ("add", "boss", "--role", "admin", "--password-file", str(password))
    assert run(*made) == 0
    assert run(*made) == 1
    assert run("add", "anna", "--password-file", str(tmp_path / "none")) == 1
    assert run("add", "anna", "--password-file", str(password)) == 0
    assert run("role", "anna", "radiologist") == run("off", "anna") == 0
    assert run("off", "boss") == 1
    assert "last administrator" in capsys.readouterr().err
    assert run("list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["anna"]["role"], rows["anna"]["access"]) == ("radiologist", "switched off")
    assert run("list") == 0
    assert "boss" in capsys.readouterr().out
    engine = open_ledger(sa.URL.create("sqlite", database=str(root / "ledger.sqlite")))
    with reading(engine) as connection:
        kinds = list(connection.execute(sa.select(access.c.kind)).scalars())
    engine.dispose()
    assert kinds == ["account made"] * 2 + ["account changed"] * 2
