"""What crosses between node and model arrives as it was, and what is no message is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.assessment import Assessment
from engine.results import Answer, Inspection, Provenance
from node import inference_wire as wire
from node.inference_wire import HEAD, MARK, MAX_BYTES, Message, Nonsense, read_head, unpack

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_TEXTS = st.text()
_JSON = st.dictionaries(
    _TEXTS.filter(lambda name: name != "arrays"), st.one_of(_TEXTS, _NUMBERS, st.integers())
)
_SHAPES = st.lists(st.integers(0, 5), max_size=3)
_PROVENANCE = st.builds(
    Provenance, _TEXTS, _TEXTS, _TEXTS, _TEXTS, _TEXTS, st.none() | st.integers(0), _NUMBERS
)


def _across(message: Message) -> Message:
    """Return a message as the other side reads it."""
    content = message.pack(7)
    number, num_text, num_raw = read_head(content[: HEAD.size])
    assert number == 7
    assert len(content) == HEAD.size + num_text + num_raw
    return unpack(content[HEAD.size : HEAD.size + num_text], content[HEAD.size + num_text :])


@given(_JSON, st.dictionaries(_TEXTS, _SHAPES, max_size=4), st.integers(0, 2**32 - 1))
def test_fields_and_arrays_arrive_as_they_were(
    fields: dict[str, Any], shapes: dict[str, list[int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    read = _across(Message(fields, arrays))
    assert read.fields == fields
    assert list(read.arrays) == list(arrays)
    assert all(np.array_equal(read.arrays[name], arrays[name]) for name in arrays)


@given(st.builds(Answer, _TEXTS, _TEXTS, _PROVENANCE))
def test_an_answer_arrives_as_it_was(answer: Answer) -> None:
    assert wire.unpack_answer(_across(wire.pack_answer(answer))) == answer


@given(
    st.builds(
        Inspection,
        st.booleans(),
        _TEXTS,
        st.lists(_TEXTS).map(tuple),
        st.dictionaries(_TEXTS, _NUMBERS),
    )
)
def test_an_inspection_arrives_as_it_was(inspection: Inspection) -> None:
    assert wire.unpack_inspection(_across(wire.pack_inspection(inspection))) == inspection


@given(st.none() | st.floats(0, 1), st.none() | _TEXTS, st.lists(_TEXTS).map(tuple))
def test_an_assessment_arrives_as_it_was(
    certainty: float | None, side: str | None, regions: tuple[str, ...]
) -> None:
    one = Assessment("Edema", "undetermined", certainty, "not stated", side, regions)
    assert wire.unpack_assessments(_across(wire.pack_assessments((one, one)))) == (one, one)


@given(st.binary(max_size=300), st.binary(max_size=64))
def test_bytes_of_any_kind_are_a_message_or_nonsense(text: bytes, raw: bytes) -> None:
    try:
        unpack(text, raw)
    except Nonsense:
        return


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"7",
        b'{"arrays": 7}',
        b'{"arrays": [["a"]]}',
        b'{"arrays": [["a", [-1, -4]]]}',
        b'{"arrays": [["a", [1048576, 1048576, 1048576, 1048576]]]}',
        b'{"arrays": [["a", [2]]]}',
        b'{"arrays": [["a", ["x"]]]}',
    ],
)
def test_arrays_that_are_not_as_announced_are_nonsense(text: bytes) -> None:
    with pytest.raises(Nonsense):
        unpack(text, bytes(4))


@given(st.binary(min_size=HEAD.size, max_size=HEAD.size))
def test_a_head_of_any_kind_announces_nothing_monstrous(head: bytes) -> None:
    try:
        announced = read_head(head)
    except Nonsense:
        return
    assert announced.num_text + announced.num_raw <= MAX_BYTES


def test_a_monstrous_message_is_nonsense() -> None:
    with pytest.raises(Nonsense):
        read_head(HEAD.pack(MARK, 1, 1, MAX_BYTES))


def test_json_has_no_numbers_that_are_none() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Message({"score": float("nan")}).pack(1)
