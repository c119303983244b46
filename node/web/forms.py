"""What browsers and programs send: forms and JSON, small, and with the word that proves intent."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

from node.web.security import Visitor

MAX_BYTES = 256 * 1024
_MAX_FIELDS = 100

Form = dict[str, list[str]]


async def read_form(request: Request) -> Form:
    """Read a form or a JSON object of texts, each field with all its values.

    Raises
    ------
    HTTPException
        It is too large, or neither of the two.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the form is too large")
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    try:
        if kind in _READERS:
            return _checked(_READERS[kind](body.decode()))
    except (ValueError, RecursionError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the form cannot be read") from error
    raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send a form or JSON")


def _checked(form: Form) -> Form:
    """Return a form whose texts can be written down: JSON may hold halves of characters."""
    for value in (value for values in form.values() for value in values):
        value.encode()
    return form


def _from_form(text: str) -> Form:
    return parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)


def _from_json(text: str) -> Form:
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError("not an object")
    return {
        str(name): [str(one) for one in value] if isinstance(value, list) else [str(value)]
        for name, value in record.items()
        if value is not None  # left out: the text "None" would be a finding
    }


_READERS: Mapping[str, Callable[[str], Form]] = {
    "application/json": _from_json,
    "application/x-www-form-urlencoded": _from_form,
}


def check_intent(request: Request, form: Form, visitor: Visitor) -> None:
    """Check that a page of ours sent the form, and not one that the browser has open beside it.

    Raises
    ------
    HTTPException
        The session's word is missing or wrong (403).
    """
    if visitor.csrf is None:
        return
    check_word(visitor.csrf, request.headers.get("x-csrf-token") or first(form, "csrf"))


def check_word(expected: str, given: str) -> None:
    """Check a form's word against the one that was given out."""
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        reason = "the form is not from this page: load it again"
        raise HTTPException(HTTPStatus.FORBIDDEN, reason)


def first(form: Form, name: str) -> str:
    """Return the first value of a field, empty where it is missing."""
    return (form.get(name) or [""])[0]
