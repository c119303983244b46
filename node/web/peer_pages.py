"""The peers, each with its Test button, and who was turned away and why."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from node.errors import UnknownName
from node.explain import Verdict, explain
from node.web.forms import Form, first
from node.web.gate import address_of, visitor_of
from node.web.office import Office
from node.web.parts import Parts, wants_json

_NUM_REFUSALS = 100


class PeerPages:
    """What administrators ask about peers."""

    def __init__(self, parts: Parts, office: Office) -> None:
        self._parts = parts
        self._office = office

    def show(self, request: Request) -> Response:
        """List the peers."""
        return self._parts.pages.page(
            request,
            "peers.html",
            peers=self._office.settings.peers,
            last=self._office.journal.last_images(),
            tried=None,
            checks=(),
        )

    def test(self, request: Request, form: Form) -> Response:
        """Try a peer out, step by step.

        Raises
        ------
        UnknownName
            There is no such peer.
        """
        name, office = request.path_params["peer"], self._office
        if name not in office.settings.peers:
            raise UnknownName("there is no such peer", hint=", ".join(office.settings.peers))
        checks = list(office.trial.steps(name, store=bool(first(form, "store"))))
        self._parts.visits.note("tried peer", visitor_of(request).name, address_of(request))
        if wants_json(request):
            return JSONResponse([vars(check) for check in checks])
        return self._parts.pages.page(
            request,
            "peers.html",
            peers=office.settings.peers,
            last=office.journal.last_images(),
            tried=name,
            checks=checks,
        )

    def refusals(self, request: Request) -> Response:
        """Show who was turned away and why, and what somebody would be answered."""
        asked = {name: request.query_params.get(name, "") for name in _ASKED}
        verdict = self._verdict(asked)
        rows = self._office.journal.rejections(limit=_NUM_REFUSALS)
        if wants_json(request):
            return JSONResponse({"rejections": rows, "verdict": verdict and vars(verdict)})
        return self._parts.pages.page(
            request, "refusals.html", rows=rows, verdict=verdict, asked=asked
        )

    def _verdict(self, asked: dict[str, str]) -> Verdict | None:
        settings = self._office.settings
        if not asked["calling"]:
            return None
        called = asked["called"] or settings.node.ae_title
        try:
            return explain(settings, asked["calling"], called, asked["address"])
        except ValueError:
            return Verdict(False, "that is no IP address", "write it as in 10.0.0.5")


_ASKED = ("calling", "called", "address")
