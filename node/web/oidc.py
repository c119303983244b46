"""Logging in where the whole site does: authorization code flow with PKCE (OpenID Connect 3.1).

Authlib speaks the protocol, joserfc checks what is signed; both come with the extra `oidc`.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from node.config_oidc import OidcSettings
from node.http_calls import tls_context
from node.roles import Role
from node.web.entrance import ProviderRefused

_SCOPE = "openid profile email"
_PENDING_S = 600.0
_MAX_PENDING = 1_000
_FRESH_S = 600.0
"""What the provider says of itself counts so long: strangers begin logins as they like."""
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Signatures alone: a token that is not signed, or by a shared secret, is none."""


@dataclass(frozen=True)
class Person:
    """Somebody whom the provider vouches for."""

    name: str
    role: Role


@dataclass(frozen=True)
class _Pending:
    """A login that has gone to the provider and not come back."""

    state: str
    nonce: str
    verifier: str
    after: str
    until: float


class Provider:
    """The identity provider of the site.

    Parameters
    ----------
    back_url
        Where it sends people back to.
    """

    def __init__(self, settings: OidcSettings, back_url: str) -> None:
        self._settings = settings
        self._back_url = back_url
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._lock = threading.Lock()
        self._known: tuple[float, Mapping[str, Any]] | None = None

    def begin(self, after: str) -> tuple[str, str]:
        """Return where to send somebody, and the secret by which they are known when they return.

        Raises
        ------
        ProviderRefused
            The provider cannot be asked.
        """
        now = time.monotonic()
        one = _Pending(_secret(), _secret(), _secret(), after, now + _PENDING_S)
        with self._client() as client:
            endpoint = self._metadata(client)["authorization_endpoint"]
            url, _ = client.create_authorization_url(
                endpoint, state=one.state, nonce=one.nonce, code_verifier=one.verifier
            )
        secret = _secret()
        with self._lock:
            self._pending[secret] = one
            if len(self._pending) > _MAX_PENDING:
                self._pending.popitem(last=False)
        return str(url), secret

    def finish(self, secret: str, url: str) -> tuple[Person, str]:
        """Return who came back with an answer of the provider, and where they wanted to go.

        Raises
        ------
        ProviderRefused
            They never left from here, or the provider does not vouch for them.
        """
        with self._lock:
            one = self._pending.pop(secret, None)
        if one is None or one.until < time.monotonic():
            raise ProviderRefused("this login was not begun here", hint="begin once more")
        try:
            with self._client(state=one.state) as client:
                claims = self._claims(client, one, url)
        except (AuthlibBaseError, JoseError, httpx.HTTPError, KeyError, ValueError) as error:
            raise ProviderRefused(f"the provider's answer is not good: {_kind(error)}") from error
        return self._person(claims), one.after

    def _claims(self, client: OAuth2Client, one: _Pending, url: str) -> Mapping[str, Any]:
        """Fetch the ID token and check it (OpenID Connect Core section 3.1.3.7)."""
        metadata = self._metadata(client)
        token = client.fetch_token(
            metadata["token_endpoint"], authorization_response=url, code_verifier=one.verifier
        )
        keys = KeySet.import_key_set(self._get(client, metadata["jwks_uri"]))
        found = jwt.decode(token["id_token"], keys, algorithms=_ALGORITHMS)
        rules = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": metadata["issuer"]},
            aud={"essential": True, "value": self._settings.client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": one.nonce},
        )
        rules.validate(found.claims)
        return found.claims | self._more(client, metadata, found.claims["sub"])

    def _more(
        self, client: OAuth2Client, metadata: Mapping[str, Any], subject: str
    ) -> dict[str, Any]:
        """Ask what the ID token leaves out (OpenID Connect Core section 5.3); nobody else's."""
        place = metadata.get("userinfo_endpoint")
        if place is None:
            return {}
        told = client.get(place).raise_for_status().json()
        return dict(told) if told.get("sub") == subject else {}

    def _person(self, claims: Mapping[str, Any]) -> Person:
        settings = self._settings
        name = claims.get(settings.name_claim)
        given = claims.get(settings.role_claim) or ()
        values = frozenset([given] if isinstance(given, str) else map(str, given))
        role = settings.roles.role_of(values)
        if not isinstance(name, str) or not name:
            raise ProviderRefused(f"the provider gives no {settings.name_claim}")
        if role is None:
            hint = "an administrator maps values of the claim to roles in node.web.oidc.roles"
            raise ProviderRefused(f"nothing in {settings.role_claim} gives you a role", hint=hint)
        return Person(name, role)

    def _metadata(self, client: OAuth2Client) -> Mapping[str, Any]:
        """Ask the provider about itself (OpenID Connect Discovery section 4)."""
        known = self._known
        if known is not None and known[0] > time.monotonic():
            return known[1]
        issuer = str(self._settings.issuer)
        metadata: Mapping[str, Any] = self._get(
            client, f"{issuer}/.well-known/openid-configuration"
        )
        if str(metadata.get("issuer", "")).rstrip("/") != issuer:
            raise ProviderRefused("the provider calls itself something else than issuer")
        self._known = (time.monotonic() + _FRESH_S, metadata)
        return metadata

    def _get(self, client: OAuth2Client, url: str) -> Any:
        try:
            answer = client.request("GET", url, withhold_token=True).raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ProviderRefused(f"the provider cannot be asked: {_kind(error)}") from error

    def _client(self, state: str | None = None) -> OAuth2Client:
        settings = self._settings
        assert settings.client_secret_file is not None
        try:
            secret = settings.client_secret_file.read_text().strip()
        except OSError as error:
            raise ProviderRefused(f"{settings.client_secret_file} cannot be read") from error
        return OAuth2Client(
            settings.client_id,
            secret,
            scope=_SCOPE,
            state=state,
            redirect_uri=self._back_url,
            code_challenge_method="S256",
            verify=tls_context(settings.ca),
            timeout=settings.timeout_s,
            trust_env=False,
        )


def _secret() -> str:
    return secrets.token_urlsafe(32)


def _kind(error: Exception) -> str:
    """Name what went wrong; the words of the other side may say anything."""
    return type(error).__name__
