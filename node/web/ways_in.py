"""The ways in, put together: tokens, accounts, the first administrator, the identity provider."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from sqlalchemy.engine import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.accounts import Accounts
from node.clock import Clock
from node.config_web import WebSettings
from node.errors import NodeError
from node.roles import Role
from node.web.admission import Admission
from node.web.entrance import Entrance, ProviderEntrance
from node.web.gate import LOGIN, OIDC_BACK, OIDC_LOGIN, SETUP
from node.web.pages import Pages
from node.web.parts import posting
from node.web.security import Doorkeeper, Sessions, Tokens
from node.web.setup import FirstAdmin, Setup
from node.web.visits import Visits

if TYPE_CHECKING:
    from node.web.oidc import Provider


class NoOidc(NodeError):
    """node.web.oidc needs packages that are not installed."""

    default_hint = "install the extra that brings them: pip install 'cxr-node[oidc]'"


class WaysIn:
    """All that stands between a stranger and a page.

    Parameters
    ----------
    settings
        The `node.web` section.

    Raises
    ------
    TokenFileUnfit
        The tokens of programs cannot be used.
    NoOidc
        The packages that speak with an identity provider are missing.
    """

    def __init__(
        self,
        settings: WebSettings,
        engine: Engine,
        clock: Clock,
        sessions: Sessions,
        visits: Visits,
        pages: Pages,
    ) -> None:
        self._settings = settings
        self._pages = pages
        self._clock = clock
        self.accounts = Accounts(engine)
        self.sessions = sessions
        self.doorkeeper = Doorkeeper(
            clock, max_failures=settings.max_failures, lockout_s=settings.lockout_s
        )
        tokens = Tokens(settings.token_file)
        self.admission = Admission(tokens, self.accounts, self.doorkeeper, visits)
        self.first_admin = FirstAdmin(self.accounts)
        self._is_secure = settings.tls or (settings.public_url or "").startswith("https:")
        self._provider = _provider(settings)
        self._entrance = Entrance(
            pages,
            self.admission,
            sessions,
            visits,
            secure=self._is_secure,
            has_provider=self._provider is not None,
        )

    @property
    def is_closed(self) -> bool:
        """Whether nobody could come in, and the first administrator is to be made."""
        has_others = self._provider is not None or self._settings.token_file is not None
        return not has_others and self.first_admin.is_wanted

    def routes(self) -> list[Route]:
        """Return the pages of the ways in."""
        entrance = self._entrance
        return [
            Route(LOGIN, entrance.show, methods=["GET"]),
            Route(LOGIN, entrance.log_in, methods=["POST"]),
            Route("/logout", posting(entrance.log_out, Role.VIEWER), methods=["POST"]),
            *self._setup_routes(),
            *self._provider_routes(),
        ]

    def _setup_routes(self) -> list[Route]:
        entrance = self._entrance
        setup = Setup(
            self._pages, entrance, self.accounts, self.first_admin, self.doorkeeper, self._clock
        )

        async def make(request: Request) -> Response:
            return await run_in_threadpool(setup.make, request, await entrance.read(request))

        return [
            Route(SETUP, setup.show, methods=["GET"]),
            Route(SETUP, make, methods=["POST"]),
        ]

    def _provider_routes(self) -> list[Route]:
        if self._provider is None:
            return []
        over = ProviderEntrance(
            self._provider,
            self._entrance,
            self.accounts,
            self._pages,
            self._clock,
            secure=self._is_secure,
        )
        return [
            Route(OIDC_LOGIN, over.leave, methods=["GET"]),
            Route(OIDC_BACK, over.come_back, methods=["GET"]),
        ]


def _provider(settings: WebSettings) -> Provider | None:
    """Return the identity provider, if there is one."""
    if settings.oidc.issuer is None:
        return None
    if find_spec("authlib") is None:
        raise NoOidc
    from node.web.oidc import Provider  # its packages come with the extra `oidc`

    return Provider(settings.oidc, f"{settings.public_url}{OIDC_BACK}")
