"""The web server of a node: assembled, listening, and stopped with the node."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from node.config import NodeSettings
from node.confined import ConfinedRenderer
from node.errors import NodeError
from node.journal import Journal
from node.keys import read_password
from node.logs import get_logger, say
from node.premises import Premises
from node.questions import Questions
from node.reviews import Reviews
from node.spool import Spool
from node.tls import strict_context
from node.web.app import make_app
from node.web.office import Office
from node.web.pages import Pages
from node.web.parts import Parts
from node.web.serving import Limits, Serving
from node.web.shelf import Shelf
from node.web.visits import Visits
from node.web.ways_in import WaysIn

_LOG = get_logger("web")
_MAX_SIDE = 1024
_BACKLOG = 128
_LIMITS = Limits(max_connections=64, request_s=15.0, stop_timeout_s=5)


class WebPortTaken(NodeError):
    """The review page cannot listen on its port."""

    default_hint = "set node.web.port to one that is free"


def open_web(
    settings: NodeSettings,
    premises: Premises,
    spool: Spool,
    kick: Callable[[], None],
    office: Callable[[], Office],
) -> WebServer | None:
    """Return the web server of a node, None where it is switched off."""
    return WebServer(settings, premises, spool, kick, office()) if settings.web.enabled else None


class WebServer:
    """Serves the review page from a thread of its own.

    Parameters
    ----------
    settings
        The `node:` section; its `web` is enabled.
    premises
        Ledger, clock, listening sockets and sessions.
    kick
        Makes the node look for work now.
    office
        What administrators are shown.

    Raises
    ------
    TokenFileUnfit
        Nobody could get in, or everybody.
    """

    def __init__(
        self,
        settings: NodeSettings,
        premises: Premises,
        spool: Spool,
        kick: Callable[[], None],
        office: Office,
    ) -> None:
        web, engine, clock = settings.web, premises.database, premises.clock
        self._settings = settings
        # a process apart from those that draft: a page never holds a draft up
        self._renderer = ConfinedRenderer(settings.work.model_copy(update={"num_workers": 1}))
        self._listeners = premises.listeners
        self._tail = office.tail
        self._listening = ExitStack()
        visits, sessions = Visits(engine, clock), premises.sessions(web)
        pages = Pages()
        self._ways_in = WaysIn(web, engine, clock, sessions, visits, pages)
        parts = Parts(
            Shelf(engine, Journal(engine), spool),
            Questions(engine),
            Reviews(engine),
            visits,
            clock,
            partial(self._renderer.display, max_side=_MAX_SIDE),
            kick,
            pages,
        )
        app = make_app(parts, office, self._ways_in)
        self._serving = Serving(app, _LIMITS, "web", self._context if web.tls else None)

    def _context(self, _config: object, _default: object) -> ssl.SSLContext:
        """Return a context of the node's own profile; people show a token, not a certificate."""
        tls = self._settings.tls
        assert tls.certificate is not None
        context = strict_context(ssl.PROTOCOL_TLS_SERVER)
        password = read_password(tls.key_password_file)
        context.load_cert_chain(tls.certificate, tls.key, password or b"")
        return context

    def start(self) -> None:
        """Listen.

        Raises
        ------
        WebPortTaken
            The port cannot be bound.
        """
        web = self._settings.web
        try:
            listener = self._listeners.open((web.bind, web.port), _BACKLOG)
        except OSError as error:
            raise WebPortTaken(
                f"cannot listen on {web.bind}:{web.port}: {error.strerror}"
            ) from error
        self._serving.start(listener)
        self._listening.enter_context(self._tail.listening())
        say(_LOG, "web.started", address=web.bind, port=web.port, tls=web.tls)
        if self._ways_in.is_closed:
            self._tell_the_first()

    def _tell_the_first(self) -> None:
        """Print how the first administrator is made: once, and never into the log."""
        web = self._settings.web
        scheme = "https" if web.tls else "http"
        address = web.public_url or f"{scheme}://{web.bind}:{web.port}"
        sys.stdout.write(self._ways_in.first_admin.notice(address) + "\n")
        sys.stdout.flush()

    def stop(self) -> None:
        """Let requests under way end, then close."""
        self._listening.close()
        self._serving.stop()
        self._renderer.stop()
