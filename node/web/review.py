"""The list of studies, the page of one, its images, and what a reader says of its draft."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from node.errors import UnknownName
from node.feedback import Feedback, read_form
from node.redact import key
from node.reviews import NoSuccessor
from node.studies import ENDED, State
from node.web.forms import Form, first
from node.web.gate import visitor_of
from node.web.parts import Parts, wants_json
from node.web.shelf import StudyView

_DONE = {
    "kept": "Your feedback is kept.",
    "edited": "Your feedback is kept, and a corrected draft is on its way. It is unverified still.",
    "late": "Your feedback is kept. No corrected draft was made: there is a newer draft already, "
    "or on its way. Look at that one first.",
    "retried": "What failed is taken up again.",
    "redrafted": "A new draft is on its way.",
    "resent": "The objects are due again at their destinations.",
    "prioritised": "Its place in the queue is another now.",
    "cancelled": "The study was given up. What was sent already stays where it is.",
    "answers": "A successor of the draft that carries the answers is on its way.",
}


class Review:
    """The review page."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def index(self, request: Request) -> Response:
        """Show the latest studies, or those that are looked for."""
        asked = request.query_params
        state, text = asked.get("state", ""), asked.get("text", "").strip()
        found = self._parts.shelf.studies(state if state in [*State] else None, text)
        return self._parts.pages.page(
            request, "studies.html", studies=list(found), states=[*State], state=state, text=text
        )

    def show(self, request: Request) -> Response:
        """Show a study; under its key alone, as a UID in an address would end up in histories."""
        parts, name = self._parts, request.path_params["study"]
        study_uid = parts.shelf.find(name)
        if name != key(study_uid):
            return RedirectResponse(f"/studies/{key(study_uid)}", HTTPStatus.SEE_OTHER)
        view = parts.shelf.view(study_uid, _generation(request.query_params.get("generation")))
        asked = parts.questions.of_study(study_uid)
        parts.note(request, "viewed", study_uid)
        return parts.pages.page(
            request,
            "study.html",
            study=view,
            questions=asked,
            can_carry=any(
                one.answer
                and (one.text, one.answer) not in view.answers
                and one.is_about((view.content or {}).get("source", ""))
                for one in asked
            ),
            feedback=parts.reviews.of_study(study_uid),
            done=_DONE.get(request.query_params.get("done", ""), ""),
            now=parts.clock.now(),
            has_ended=view.newest["state"] in ENDED,
        )

    def film(self, request: Request) -> Response:
        """Send the film of the draft as PNG."""
        study_uid = self._parts.shelf.find(request.path_params["study"])
        generation = _generation(request.query_params.get("generation"))
        return self._image(request, study_uid, self._parts.shelf.film(study_uid, generation))

    def synthetic(self, request: Request) -> Response:
        """Send the synthetic image as PNG; its banners are in its pixels."""
        study_uid = self._parts.shelf.find(request.path_params["study"])
        return self._image(request, study_uid, self._parts.shelf.synthetic(study_uid))

    def _image(self, request: Request, study_uid: str, path: Path) -> Response:
        png = self._parts.display(path)
        self._parts.note(request, "viewed", study_uid)
        return Response(png, media_type="image/png")

    def judge(self, request: Request, form: Form) -> Response:
        """Keep a reader's feedback; an edit starts the corrected draft."""
        parts, study_uid = self._parts, self._parts.shelf.find(request.path_params["study"])
        view = self._drafted(study_uid, first(form, "generation"))
        given = read_form(
            form,
            view.content or {},
            study_uid=study_uid,
            generation=view.shown["generation"],
            by=visitor_of(request).name,
            now=parts.clock.now(),
        )
        successor = parts.reviews.keep(given)
        parts.note(request, "judged", study_uid)
        parts.kick()
        return self._done(request, study_uid, _outcome(given, successor), successor)

    def carry(self, request: Request, _form: Form) -> Response:
        """Start a successor of the draft that carries the answers."""
        parts, study_uid = self._parts, self._parts.shelf.find(request.path_params["study"])
        successor = parts.reviews.add_answers(study_uid, parts.clock.now())
        parts.note(request, "carried", study_uid)
        parts.kick()
        return self._done(request, study_uid, "answers", successor)

    def _drafted(self, study_uid: str, generation: str) -> StudyView:
        """Return the generation that a form is about, which must have a draft."""
        view = self._parts.shelf.view(study_uid, _generation(generation))
        if view.content is None:
            raise NoSuccessor("this generation of the study has no draft", hint="choose another")
        return view

    def _done(
        self, request: Request, study_uid: str, outcome: str, successor: int | None
    ) -> Response:
        if wants_json(request):
            record = {"outcome": outcome, "successor": successor, "status": _DONE[outcome]}
            return JSONResponse(record, HTTPStatus.CREATED)
        return RedirectResponse(f"/studies/{key(study_uid)}?done={outcome}", HTTPStatus.SEE_OTHER)


def _outcome(given: Feedback, successor: int | None) -> str:
    if given.verdict != "edit":
        return "kept"
    return "late" if successor is None else "edited"


def _generation(text: str | None) -> int | None:
    """Return the number of a generation, None where none is named.

    Raises
    ------
    UnknownName
        It is no number.
    """
    if not text:
        return None
    if not text.isdecimal() or len(text) > 6:
        raise UnknownName("the study has no such generation")
    return int(text)
