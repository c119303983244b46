"""How the node stands: what waits, what is due where, what wants a look."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from node.studies import State
from node.web.office import Office
from node.web.parts import Parts, wants_json


class Dashboard:
    """The page that administrators leave open."""

    def __init__(self, parts: Parts, office: Office) -> None:
        self._parts = parts
        self._office = office

    def show(self, request: Request) -> Response:
        """Show everything; a script of the page asks for it again every few seconds."""
        values = self._values()
        if wants_json(request):
            return JSONResponse(
                {
                    **values["facts"].as_json(),
                    "alerts": [one.as_json() for one in values["alerts"]],
                    "missing": values["missing"],
                    "configuration": asdict(values["configuration"]),
                }
            )
        return self._parts.pages.page(request, "dashboard.html", **values)

    def _values(self) -> dict[str, Any]:
        office = self._office
        facts = office.facts()
        return {
            "facts": facts,
            "standing": facts.standing,
            "states": [(state, facts.standing.studies.get(state, 0)) for state in State],
            "last_images": office.journal.last_images(),
            "alerts": office.alerts(),
            "missing": office.missing(),
            "configuration": office.configuration(),
            "backend": office.backend,
            "roles": office.settings.node.roles,
            "num_associations": office.num_associations(),
            "peers": office.settings.peers,
            "now": facts.at,
        }
