"""The `node.web` section: the pages, off until a site asks for them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from node.config_oidc import OidcSettings
from node.config_outputs import Url
from node.config_section import Port, Seconds, Section


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class WebSettings(Section):
    """The pages and their API."""

    enabled: bool = False
    bind: str = "127.0.0.1"
    port: Port = 8043
    token_file: Path | None = None
    tls: bool = False
    allow_plain: bool = False
    session_s: Seconds = 28_800.0
    max_failures: Annotated[int, Field(ge=1, le=100)] = 5
    lockout_s: Seconds = 60.0

    public_url: Url | None = None
    oidc: OidcSettings = OidcSettings()

    @model_validator(mode="after")
    def _lets_no_stranger_in(self) -> WebSettings:
        if self.oidc.issuer and self.public_url is None:
            raise ValueError("the provider sends people back here: set public_url")
        if self.enabled and not (is_loopback(self.bind) or self.tls or self.allow_plain):
            raise ValueError(
                "passwords and patients would cross the network in the clear: set tls, bind to"
                " 127.0.0.1, or allow_plain where a proxy in front speaks TLS"
            )
        return self
