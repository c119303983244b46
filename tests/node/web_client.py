"""A node with its review page, and a browser's worth of HTTP to talk to it."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from node.config import Settings
from tests.node.conftest import free_port, settings_for

NAME = "reader"
TOKEN = "a-token-for-tests-0123456789"


def web_settings(
    folder: Path, pacs_port: int, node: dict[str, Any] | None = None, **web: Any
) -> Settings:
    """Return settings for a node on loopback whose review page is on."""
    tokens = folder / "tokens"
    tokens.write_text(f"# who may come in\n{NAME} {TOKEN}\n")
    tokens.chmod(0o600)
    section = {"enabled": True, "port": free_port(), "token_file": tokens} | web
    return settings_for(folder / "root", pacs_port, web=section, **(node or {}))


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def field(self, name: str) -> str:
        """Return the value of a hidden field."""
        found = re.search(rf'name="{name}" value="([^"]*)"', self.text)
        assert found, f"no field {name}"
        return found[1]


@dataclass
class Client:
    """Speaks HTTP to one node; keeps cookies."""

    port: int
    context: ssl.SSLContext | None = None
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        **headers: str,
    ) -> Answer:
        if self.context:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, context=self.context, timeout=30
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        names = {name.lower() for name in answer.headers}
        joined = {name: ", ".join(answer.headers.get_all(name, [])) for name in names}
        return Answer(answer.status, joined, content)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **({"Accept": "text/html"} | headers))

    def post(self, path: str, **fields: object) -> Answer:
        """Send a form as a browser does."""
        body = urlencode(fields, doseq=True).encode()
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", path, body, Content_Type=kind, Accept="text/html")

    def call(self, method: str, path: str, record: object = None, token: str = TOKEN) -> Answer:
        """Call the API as a program does."""
        body = None if record is None else json.dumps(record).encode()
        kind = {"Content_Type": "application/json"} if body else {}
        return self.ask(method, path, body, Authorization=f"Bearer {token}", **kind)

    def log_in(self, password: str = TOKEN, name: str = NAME) -> Answer:
        form = self.get("/login")
        fields = {"csrf": form.field("csrf"), "next": "/"}
        return self.post("/login", **fields, name=name, password=password)
