"""A language model's output, read strictly: a JSON array of question, answer and evidence.

Anything else is refused whole, with a reason to count. Nothing is evaluated, repaired or guessed:
the output of a model that has read a report is as trustworthy as the report's worst line.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import VqaError

MAX_CHARACTERS = 20_000
MAX_DEPTH = 8
MAX_PAIRS = 20


class Pair(BaseModel):
    """One question with its answer and the words of the report that support it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    question: str = Field(min_length=5, max_length=300)
    answer: str = Field(min_length=1, max_length=600)
    evidence: str = Field(min_length=3, max_length=600)


OUTPUT_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_PAIRS,
    "items": Pair.model_json_schema(),
}
"""JSON schema of a whole output, for backends that can constrain decoding to it."""


class Unreadable(VqaError):
    """The model's output is not an array of question pairs; the message is the reason to count."""


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which JSON does not have."""
    raise Unreadable("output is not JSON")


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object and refuse one that names a key twice."""
    built = dict(pairs)
    if len(built) != len(pairs):
        raise Unreadable("output names a key twice")
    return built


def depth(text: str) -> int:
    """Return the deepest nesting of brackets, those in strings included: an upper bound."""
    level = deepest = 0
    for char in text:
        level += (char in "[{") - (char in "]}")
        deepest = max(deepest, level)
    return deepest


def parse(output: str) -> list[Any]:
    """Return the items of an output: a JSON array and nothing before or after it.

    Raises
    ------
    Unreadable
        Too long or too deep, not JSON, not an array, an empty one, or one of too many items.
    """
    if len(output) > MAX_CHARACTERS:
        raise Unreadable("output is too long")
    if depth(output) > MAX_DEPTH:
        raise Unreadable("output is nested too deeply")
    try:
        read = json.loads(output, parse_constant=refuse_constant, object_pairs_hook=without_repeats)
    except ValueError as fault:
        raise Unreadable("output is not JSON") from fault
    if not isinstance(read, list):
        raise Unreadable("output is not an array")
    if not 0 < len(read) <= MAX_PAIRS:
        raise Unreadable("output is an empty array" if not read else "output has too many pairs")
    return read


def pair(item: object) -> Pair | None:
    """Return an item as a pair, or ``None`` when its keys, types or lengths are not a pair's."""
    try:
        return Pair.model_validate(item)
    except ValidationError:
        return None
