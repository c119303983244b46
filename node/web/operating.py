"""The buttons of a study: retry, draft again, send again, hurry, give up."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from node.errors import UnknownName
from node.redact import key
from node.web.forms import Form, first
from node.web.gate import visitor_of
from node.web.office import Office
from node.web.parts import Parts, wants_json

Act = Callable[[str, str, float, Form], str]
"""Does something with a study, for somebody, now; returns what to say."""


class Operating:
    """Does with a study what somebody asks for."""

    def __init__(self, parts: Parts, office: Office) -> None:
        self._parts = parts
        self._operations = office.operations
        self._acts: Final[dict[str, tuple[str, Act]]] = {
            "retry": ("retried", self._retry),
            "redraft": ("redrafted", self._redraft),
            "resend": ("resent", self._resend),
            "stat": ("prioritised", self._stat),
            "routine": ("prioritised", self._routine),
            "cancel": ("cancelled", self._cancel),
        }

    def act(self, request: Request, form: Form) -> Response:
        """Do it, note who asked, and go back to the study.

        Raises
        ------
        UnknownName
            There is no such study or operation.
        OperationRefused
            The study is not in a state for that.
        """
        parts, found = self._parts, self._acts.get(request.path_params["operation"])
        if found is None:
            raise UnknownName("there is no such operation", hint=", ".join(self._acts))
        kind, act = found
        study_uid = parts.shelf.find(request.path_params["study"])
        said = act(study_uid, visitor_of(request).name, parts.clock.now(), form)
        parts.note(request, kind, study_uid)
        parts.kick()
        if wants_json(request):
            return JSONResponse({"outcome": said})
        return RedirectResponse(f"/studies/{key(study_uid)}?done={kind}", HTTPStatus.SEE_OTHER)

    def _retry(self, study_uid: str, by: str, now: float, _form: Form) -> str:
        return self._operations.retry(study_uid, by, now)

    def _redraft(self, study_uid: str, by: str, now: float, _form: Form) -> str:
        generation = self._operations.redraft(study_uid, by, now)
        return f"generation {generation} is ready to be drafted"

    def _resend(self, study_uid: str, by: str, now: float, form: Form) -> str:
        count = self._operations.resend(study_uid, by, now, first(form, "to") or None)
        return f"{count} deliveries are due again"

    def _stat(self, study_uid: str, by: str, now: float, _form: Form) -> str:
        self._operations.prioritise(study_uid, by, now)
        return "the study goes before all others"

    def _routine(self, study_uid: str, by: str, now: float, _form: Form) -> str:
        self._operations.prioritise(study_uid, by, now, stat=False)
        return "the study takes its turn"

    def _cancel(self, study_uid: str, by: str, now: float, _form: Form) -> str:
        return f"the study is {self._operations.cancel(study_uid, by, now)}"
