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
from node.questions import MAX_CHARACTERS

BANNER = "AI DRAFT · NOT VERIFIED · RESEARCH SOFTWARE, NOT A MEDICAL DEVICE"


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
        self._environment.filters |= {"instant": _instant, "percent": _percent}
        self._environment.globals |= {
            "banner": BANNER,
            "reasons": REASONS,
            "max_question": MAX_CHARACTERS,
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


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"
