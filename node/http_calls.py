"""Calls to servers over HTTP: one client a batch, secrets from files, TLS by an authority of ours.

What a server writes in its answers may quote a patient: only statuses and codes are passed on.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from node.carrier import Reply
from node.config_outputs import HttpSettings
from node.errors import PeerError
from node.records import DeliveryStatus
from node.tls import strict_context

_PASSING: Final = (401, 403, 404, 408, 425, 429)
"""Refusals that time or an administrator cures: a wrong password or path parks no draft."""
_USER_AGENT: Final = "cxr-node"
_MAX_ANSWER_BYTES: Final = 4 * 1024**2


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    content: bytes
    content_type: str = ""

    def json(self) -> Any:
        """Return the body as JSON, None where it is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


class Server:
    """A server while a client is open for it.

    Parameters
    ----------
    settings
        Where it is, and how long it may take to answer.
    """

    def __init__(self, settings: HttpSettings, client: httpx.Client) -> None:
        self._settings = settings
        self._client = client

    def get(
        self,
        path: str,
        accept: str,
        query: Mapping[str, str | Sequence[str]] | None = None,
        *,
        max_bytes: int = _MAX_ANSWER_BYTES,
    ) -> Answer:
        """Ask for a resource below the address of the server."""
        url = f"{self._settings.url}/{path}"
        return self._call(self._client.build_request("GET", url, params=query), accept, max_bytes)

    def post(self, path: str, accept: str, content_type: str, content: bytes) -> Answer:
        """Post bytes to a resource, the empty path being the server itself."""
        url = f"{self._settings.url}/{path}".rstrip("/")
        headers = {"Content-Type": content_type}
        return self._call(
            self._client.build_request("POST", url, content=content, headers=headers), accept
        )

    def _call(
        self, request: httpx.Request, accept: str, max_bytes: int = _MAX_ANSWER_BYTES
    ) -> Answer:
        """Send a request; read the answer, but not without end."""
        request.headers.update({"Accept": accept, "Accept-Encoding": "identity"})
        content = bytearray()
        answer = self._client.send(request, stream=True)
        deadline = time.monotonic() + self._settings.timeout_s
        with closing(answer):
            for piece in answer.iter_raw():  # nothing is unpacked that could unfold to any size
                content += piece
                if len(content) > max_bytes or time.monotonic() > deadline:
                    raise PeerError(f"{self._settings.url} answers without end")
        return Answer(answer.status_code, bytes(content), answer.headers.get("Content-Type", ""))


@contextmanager
def open_server(settings: HttpSettings) -> Iterator[Server]:
    """Open a client for a server; proxies and settings of the environment do not count.

    Raises
    ------
    PeerError
        A file cannot be used, or, inside the block, the server cannot be reached.
    """
    context = tls_context(settings.ca)
    try:
        with httpx.Client(
            auth=_basic(settings),
            headers={"User-Agent": _USER_AGENT, **_bearer(settings)},
            verify=context,
            timeout=settings.timeout_s,
            trust_env=False,
        ) as client:
            yield Server(settings, client)
    except httpx.ConnectError as error:
        raise _not_connected(settings, error) from None
    except httpx.TimeoutException:
        raise PeerError(f"{settings.url} did not answer in time") from None
    except httpx.HTTPError as error:
        # its text may quote what was sent or received: the name of the error says enough
        raise PeerError(f"{settings.url}: {type(error).__name__}") from None


def reply_to(status: int, detail: str = "") -> Reply:
    """Return the consequence of an HTTP status that says nothing of its own about the parcel."""
    reason = f"HTTP {status}" + (f" {detail}" if detail else "")
    if 200 <= status < 300:
        return Reply(DeliveryStatus.SENT, detail, status)
    again = status >= 500 or status in _PASSING or 300 <= status < 400
    return Reply(DeliveryStatus.PENDING if again else DeliveryStatus.PARKED, reason, status)


def secret_in(path: Path) -> str:
    """Read a secret, without the newline that editors add.

    Raises
    ------
    PeerError
        The file cannot be read, or holds no text.
    """
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PeerError(
            f"the secret cannot be read from {path}",
            hint="is the file there, and may the node read it",
        ) from error


def _basic(settings: HttpSettings) -> httpx.BasicAuth | None:
    if settings.username is None or settings.password_file is None:
        return None
    return httpx.BasicAuth(settings.username, secret_in(settings.password_file))


def _bearer(settings: HttpSettings) -> dict[str, str]:
    if settings.token_file is None:
        return {}
    token = secret_in(settings.token_file)
    if not token.isascii() or not token.isprintable():
        raise PeerError(
            f"{settings.token_file} holds no token", hint="a token is one line of ASCII"
        )
    return {"Authorization": f"Bearer {token}"}


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Return a context that takes certificates of some authorities alone; None: the system's."""
    context = strict_context(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise PeerError(
            f"the authorities in {ca} cannot be used", hint="it must be a PEM file"
        ) from error
    return context


def _not_connected(settings: HttpSettings, error: httpx.ConnectError) -> PeerError:
    """Say whether nobody is there, or whether it is a stranger."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        hint = "name the authority of its certificate in `ca`, and the host as the certificate does"
        return PeerError(f"{settings.url}: its certificate is not trusted", hint=hint)
    return PeerError(f"cannot connect to {settings.url}")
