"""Questions on a study: asked by people on its page and by programs through the API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from node.offers import read_task
from node.questions import Question
from node.redact import key
from node.roles import Role
from node.web.forms import Form, check_intent, first, read_form
from node.web.gate import visitor_of
from node.web.parts import Parts, check_role, wants_json

_MAX_WAIT_S = 60.0
_LOOK_S = 0.1
_MAX_DIGITS = 15


class Asking:
    """Takes questions and shows what became of them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def ask(self, request: Request) -> Response:
        """Take a question: 202 and where to look, or 200 where `wait_s` was long enough."""
        return await self._take(request, self._ask)

    async def ask_task(self, request: Request) -> Response:
        """Take a task, as a question is taken."""
        return await self._take(request, self._ask_task)

    async def _take(self, request: Request, take: Callable[[Request, Form], Question]) -> Response:
        """Let somebody who may ask something, and send them where its answer will be."""
        check_role(request, Role.RADIOLOGIST)
        form = await read_form(request)
        check_intent(request, form, visitor_of(request))
        asked = await run_in_threadpool(take, request, form)
        place = f"/studies/{key(asked.study_uid)}/questions/{asked.id}"
        if not wants_json(request):
            return RedirectResponse(place, HTTPStatus.SEE_OTHER)
        now = await self._wait(asked, request)
        status = HTTPStatus.ACCEPTED if now.state == "waiting" else HTTPStatus.OK
        return JSONResponse(as_json(now), status, headers={"Location": place})

    def _ask(self, request: Request, form: Form) -> Question:
        return self._kept(request, first(form, "question"))

    def _ask_task(self, request: Request, form: Form) -> Question:
        task = read_task(form)
        return self._kept(request, task.line, task.as_json())

    def _kept(self, request: Request, text: str, task: Mapping[str, Any] | None = None) -> Question:
        parts, visitor = self._parts, visitor_of(request)
        study_uid = parts.shelf.find(request.path_params["study"])
        asked = parts.questions.ask(
            study_uid, text, by=visitor.name, now=parts.clock.now(), task=task
        )
        parts.note(request, "asked", study_uid)
        parts.kick()
        return asked

    def all(self, request: Request) -> Response:
        """Return every question of a study."""
        study_uid = self._parts.shelf.find(request.path_params["study"])
        self._parts.note(request, "viewed", study_uid)
        return JSONResponse([as_json(one) for one in self._parts.questions.of_study(study_uid)])

    async def show(self, request: Request) -> Response:
        """Return one question; its page looks again until it is answered, then goes back."""
        study_uid = await run_in_threadpool(self._parts.shelf.find, request.path_params["study"])
        found = await run_in_threadpool(self._find, study_uid, request.path_params["number"])
        await run_in_threadpool(self._parts.note, request, "viewed", study_uid)
        if wants_json(request):
            return JSONResponse(as_json(await self._wait(found, request)))
        if found.state != "waiting":
            place = f"/studies/{key(found.study_uid)}#questions"
            return RedirectResponse(place, HTTPStatus.SEE_OTHER)
        return self._parts.pages.page(
            request, "question.html", asked=found, study=key(found.study_uid)
        )

    def _find(self, study_uid: str, number: str) -> Question:
        """Return a question by its number; a number that no ledger could hold finds nothing."""
        is_number = number.isdecimal() and len(number) <= _MAX_DIGITS
        found = self._parts.questions.find(study_uid, int(number)) if is_number else None
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "the study has no such question")
        return found

    async def _wait(self, asked: Question, request: Request) -> Question:
        """Return a question once it is answered, or as it is after `wait_s` seconds."""
        until = time.monotonic() + _wait_s(request)
        while asked.state == "waiting" and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
            asked = await run_in_threadpool(self._find, asked.study_uid, str(asked.id))
        return asked


def as_json(asked: Question) -> dict[str, Any]:
    """Return a question as the API shows it."""
    return {
        "id": asked.id,
        "study": key(asked.study_uid),
        "generation": asked.generation,
        "state": asked.state,
        "question": asked.text,
        "asked_by": asked.asked_by,
        "asked_at": asked.asked_at,
        "answer": asked.answer,
        "answered_at": asked.answered_at,
        "reason": asked.reason,
        "task": asked.task,
        "provenance": asked.provenance,
        "status": "AI answer, not verified",
    }


def _wait_s(request: Request) -> float:
    try:
        wait_s = float(request.query_params.get("wait_s", "0"))
    except ValueError:
        return 0.0
    return min(wait_s, _MAX_WAIT_S) if wait_s > 0 else 0.0
