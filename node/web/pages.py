"""Templates: every value is escaped, and no page is rendered with a name it does not get."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from node.clock import as_datetime
from node.feedback import REASONS
from node.offers import FINDING_NAMES, OFFERS, spoken
from node.questions import MAX_CHARACTERS
from node.roles import Role
from node.web.security import Visitor

BANNER = "AI DRAFT · NOT VERIFIED · RESEARCH SOFTWARE, NOT A MEDICAL DEVICE"


_PAGES = (
    ("/", "Studies", Role.VIEWER),
    ("/dashboard", "Dashboard", Role.VIEWER),
    ("/model", "Model", Role.VIEWER),
    ("/peers", "Peers", Role.ADMIN),
    ("/refusals", "Turned away", Role.ADMIN),
    ("/rules", "Rules", Role.ADMIN),
    ("/configuration", "Configuration", Role.ADMIN),
    ("/log", "Log", Role.ADMIN),
    ("/accounts", "Accounts", Role.ADMIN),
)


class Pages:
    """Renders the templates of the package."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("node.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"instant": _instant, "percent": _percent, "ago": _ago}
        self._environment.filters["spoken"] = spoken
        self._environment.globals |= {
            "banner": BANNER,
            "reasons": REASONS,
            "max_question": MAX_CHARACTERS,
            "offers": [*OFFERS.values()],
            "finding_names": FINDING_NAMES,
            "pages_for": _pages_for,
        }

    def page(
        self,
        request: Request,
        name: str,
        *,
        status: int = HTTPStatus.OK,
        headers: dict[str, str] | None = None,
        **values: Any,
    ) -> HTMLResponse:
        """Return one page; the visitor, where there is one, is known to every template."""
        visitor = getattr(request.state, "visitor", None)
        html = self._environment.get_template(name).render(visitor=visitor, **values)
        return HTMLResponse(html, status, headers=headers)


def _instant(seconds: float) -> str:
    local: datetime = as_datetime(seconds).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}"


def _pages_for(visitor: Visitor) -> list[tuple[str, str]]:
    """Return the pages that somebody may open, each with what it is called."""
    return [(path, name) for path, name, needed in _PAGES if visitor.may(needed)]


def _ago(seconds: float) -> str:
    """Return a span of time as somebody would say it."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"
