"""The `node.web.oidc` section: people log in where the whole site does (OpenID Connect)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from node.config_outputs import Url, is_loopback_url
from node.config_section import Seconds, Section
from node.roles import Role

_Values = Annotated[tuple[str, ...], Field(max_length=64)]


class OidcRoles(Section):
    """Which values of the role claim make somebody what."""

    viewer: _Values = ()
    radiologist: _Values = ()
    admin: _Values = ()

    def role_of(self, values: frozenset[str]) -> Role | None:
        """Return the highest role that some of these values give; None where none does."""
        given = [role for role in Role if values & set(getattr(self, role.value))]
        return given[-1] if given else None


class OidcSettings(Section):
    """An identity provider, and how its people are told apart."""

    issuer: Url | None = None
    client_id: str = ""
    client_secret_file: Path | None = None
    ca: Path | None = None
    name_claim: str = "preferred_username"
    role_claim: str = "groups"
    roles: OidcRoles = OidcRoles()
    timeout_s: Seconds = 10.0

    @model_validator(mode="after")
    def _can_be_asked(self) -> OidcSettings:
        if self.issuer and not (self.client_id and self.client_secret_file):
            raise ValueError("issuer needs a client_id and a client_secret_file: ask the provider")
        if self.issuer and not (self.issuer.startswith("https:") or is_loopback_url(self.issuer)):
            raise ValueError("the secret goes over https alone")
        if self.issuer and self.roles == OidcRoles():
            raise ValueError("nobody would get in: give roles some values of the role claim")
        return self
