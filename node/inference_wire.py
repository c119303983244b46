"""What node and model say to each other over pipes: JSON and raw numbers, nothing that executes.

A message is `HEAD`, a JSON object, then its arrays one after another as little-endian float32; the
object's key ``arrays`` names each with its shape. An answer carries the number of its request, for
several are under way at one time.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.assessment import Assessment
from engine.results import Answer, DraftReport, Drawing, Evidence, Image, Inspection, Provenance
from engine.study_input import Beside
from engine.vocabulary import CODES_PER_IMAGE, NUM_CODES

Array = NDArray[np.float32]

HEAD = struct.Struct("<4sIIQ")
"""The mark of a message, its number, the bytes of its JSON, and the bytes of its arrays."""
MARK = b"CXR2"
HELLO = 0
"""The number of what the model says without being asked."""
MAX_BYTES = 64 * 1024 * 1024
LATERAL = "lateral"
_TEXTS: tuple[Literal["indication"], Literal["previous_report"]] = ("indication", "previous_report")


class Nonsense(ValueError):
    """The other side does not keep to the protocol."""


class Head(NamedTuple):
    """What a message begins with."""

    number: int
    num_text: int
    num_raw: int


@dataclass(frozen=True)
class Message:
    """One request or answer."""

    fields: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def pack(self, number: int) -> bytes:
        """Return it as bytes, under a number.

        Raises
        ------
        ValueError
            A number is none: JSON has no NaN.
        """
        shapes = [[name, list(array.shape)] for name, array in self.arrays.items()]
        text = json.dumps({**self.fields, "arrays": shapes}, allow_nan=False).encode()
        raw = b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in self.arrays.values())
        return HEAD.pack(MARK, number, len(text), len(raw)) + text + raw


def read_head(content: bytes) -> Head:
    """Return the number of a message, and how many bytes of JSON and of arrays follow.

    Raises
    ------
    Nonsense
        This begins no message, or a monstrous one.
    """
    mark, *rest = HEAD.unpack(content)
    head = Head(*rest)
    if mark != MARK or head.num_text + head.num_raw > MAX_BYTES:
        raise Nonsense("no message begins here")
    return head


def unpack(text: bytes, raw: bytes) -> Message:
    """Return the message whose head announced these bytes.

    Raises
    ------
    Nonsense
        They are no message.
    """
    try:
        fields = json.loads(text)
        shapes = [(str(name), tuple(map(int, shape))) for name, shape in fields.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Nonsense("the message is no JSON object with its arrays") from error
    values = np.frombuffer(raw, "<f4") if len(raw) % 4 == 0 else np.empty(0, np.float32)
    sizes = [math.prod(shape) if min(shape, default=0) >= 0 else -1 for _, shape in shapes]
    if min(sizes, default=0) < 0 or 4 * sum(sizes) != len(raw):
        raise Nonsense("the arrays are not as announced")
    ends = np.cumsum(sizes, dtype=np.int64)
    return Message(
        fields,
        {
            name: values[end - size : end].reshape(shape)
            for (name, shape), size, end in zip(shapes, sizes, ends, strict=True)
        },
    )


def pack_beside(beside: Beside) -> tuple[dict[str, str], dict[str, Array]]:
    """Return what is given beside a film: texts and, where it is known, the lateral film."""
    texts: dict[str, str] = {name: beside[name] for name in _TEXTS if name in beside}
    lateral = beside.get("lateral")
    return texts, {} if lateral is None else {LATERAL: lateral}


def unpack_beside(message: Message) -> Beside:
    """Read what `pack_beside` wrote."""
    indication, previous = (str(message.fields.get(name, "")) for name in _TEXTS)
    lateral = message.arrays.get(LATERAL)
    return Beside(lateral=lateral, indication=indication, previous_report=previous)


def pack_task(
    instruction: str, text: str, options: Sequence[str], max_new_tokens: int
) -> dict[str, Any]:
    """Return what the model is to do."""
    return {
        "instruction": instruction,
        "text": text,
        "options": list(options),
        "max_new_tokens": max_new_tokens,
    }


def pack_inspection(inspection: Inspection) -> Message:
    """Return what the guard says."""
    return Message(asdict(inspection))


def unpack_inspection(message: Message) -> Inspection:
    """Read what `pack_inspection` wrote."""
    fields = message.fields
    return Inspection(
        accepted=bool(fields["accepted"]),
        view=str(fields["view"]),
        reasons=tuple(map(str, fields["reasons"])),
        scores={str(name): float(score) for name, score in fields["scores"].items()},
    )


def pack_report(draft: DraftReport) -> Message:
    """Return a drafted report."""
    return Message(asdict(draft))


def unpack_report(message: Message) -> DraftReport:
    """Read what `pack_report` wrote."""
    fields = message.fields
    findings, impression = (tuple(map(str, fields[name])) for name in ("findings", "impression"))
    return DraftReport(findings, impression, str(fields["text"]), _provenance(message))


def pack_answer(answer: Answer) -> Message:
    """Return the answer to a question."""
    return Message(asdict(answer))


def unpack_answer(message: Message) -> Answer:
    """Read what `pack_answer` wrote."""
    fields = message.fields
    return Answer(str(fields["question"]), str(fields["text"]), _provenance(message))


def pack_drawing(drawing: Drawing) -> Message:
    """Return a drawn film."""
    fields = {
        "prompt": drawing.prompt,
        "codes": drawing.codes,
        "provenance": drawing.provenance.as_json(),
    }
    return Message(fields, {"image": drawing.image})


def unpack_drawing(message: Message) -> Drawing:
    """Read what `pack_drawing` wrote; `Nonsense` where codes or numbers are none."""
    fields = message.fields
    codes = tuple(map(int, fields["codes"]))
    if len(codes) != CODES_PER_IMAGE or not all(0 <= code < NUM_CODES for code in codes):
        raise Nonsense("the codes of the drawing lie outside the codebook")
    image: Image = _finite(message.arrays["image"])
    return Drawing(str(fields["prompt"]), image, codes, _provenance(message))


def pack_assessments(assessments: tuple[Assessment, ...]) -> Message:
    """Return the verdicts on all findings."""
    return Message({"assessments": [asdict(one) for one in assessments]})


def unpack_assessments(message: Message) -> tuple[Assessment, ...]:
    """Read what `pack_assessments` wrote."""
    return tuple(
        Assessment(**{**fields, "regions": tuple(fields["regions"])})
        for fields in message.fields["assessments"]
    )


def pack_evidence(evidence: Mapping[str, Evidence]) -> Message:
    """Return the evidence map of each finding."""
    return Message({}, evidence)


def unpack_evidence(message: Message) -> Mapping[str, Evidence]:
    """Read what `pack_evidence` wrote; `Nonsense` where numbers are none."""
    return {name: _finite(array) for name, array in message.arrays.items()}


def _finite(array: Array) -> Array:
    if not np.isfinite(array).all():
        raise Nonsense("an array holds values that are not numbers")
    return array


def _provenance(message: Message) -> Provenance:
    return Provenance.from_json(message.fields["provenance"])
