"""The rule tester: a film is dropped on the page, nothing is stored, and its way is told."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from tempfile import NamedTemporaryFile

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from node.roles import Role
from node.rule_test import outcome, try_film
from node.web.forms import check_intent
from node.web.gate import visitor_of
from node.web.office import Office
from node.web.parts import Parts, check_role, wants_json

_MIB = 1024 * 1024


class RulePages:
    """Tells what would become of a film."""

    def __init__(self, parts: Parts, office: Office) -> None:
        self._parts = parts
        self._office = office

    def show(self, request: Request) -> Response:
        """Show where to drop a film."""
        settings = self._office.settings
        return self._parts.pages.page(
            request,
            "rules.html",
            rules=settings.outputs.rules,
            peers=settings.peers,
            titles=settings.node.own_titles,
        )

    async def test(self, request: Request) -> Response:
        """Take a film as the body of a request, and forget it with the answer.

        Raises
        ------
        NotAFilm
            It is none.
        """
        check_role(request, Role.ADMIN)
        check_intent(request, {}, visitor_of(request))
        folder = self._office.settings.node.storage.root
        with NamedTemporaryFile(dir=folder, prefix="rule-test-", suffix=".dcm") as film:
            await self._receive(request, Path(film.name))
            return await run_in_threadpool(self._test, request, Path(film.name))

    async def _receive(self, request: Request, path: Path) -> None:
        limit, num_bytes = self._office.settings.node.intake.max_object_mb * _MIB, 0
        with path.open("wb") as stream:
            async for piece in request.stream():
                num_bytes += len(piece)
                if num_bytes > limit:
                    raise HTTPException(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the film is too large"
                    )
                await run_in_threadpool(stream.write, piece)

    def _test(self, request: Request, path: Path) -> Response:
        asked = request.query_params
        trial = try_film(
            self._office.settings,
            path,
            calling=asked.get("calling", ""),
            called=asked.get("called", ""),
            at=datetime.now().astimezone(),
        )
        said = outcome(trial)
        if wants_json(request):
            return JSONResponse({**trial.as_json(), "outcome": said})
        return self._parts.pages.page(request, "rule_trial.html", trial=trial, outcome=said)
