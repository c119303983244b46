"""A real PostgreSQL of its own for tests: its own folder, its own port, gone afterwards."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import psycopg

from tests.acceptance.peers import free_port

_NUMBERS = count(1)


def _binary(name: str) -> str:
    """Return a program of the server; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or str(found[-1])


class Postgres:
    """A server that can be stopped hard and started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="cxr-postgres-"))
        self._as_user = []
        self.user = getpass.getuser()
        if os.getuid() == 0:  # the server refuses to run as root
            self.user = "postgres"
            shutil.chown(self.folder, self.user, self.user)
            self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C")

    def _run(self, name: str, *arguments: str) -> None:
        command = [*self._as_user, _binary(name), "--pgdata", str(self.folder / "data"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "--wait", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop; `immediate` is as good as a power cut to whoever is connected."""
        self._run("pg_ctl", "--wait", "--mode", mode, "stop")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self) -> str:
        """Make a database; return its URL as config.yaml takes it."""
        name = f"cxr{next(_NUMBERS)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{name}"
