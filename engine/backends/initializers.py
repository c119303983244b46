"""The weights and nodes of an ONNX file, read where they lie: no runtime, no copy.

Only the part of the protobuf wire format that ONNX files use is understood (protobuf.dev/
programming-guides/encoding); field numbers are those of onnx.proto3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BundleIncompatible

_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_OP_INPUT, _OP_OUTPUT, _OP_TYPE, _OP_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 2, 3, 8
_DIMS, _DATA_TYPE, _TENSOR_NAME, _RAW, _EXTERNAL = 1, 2, 8, 9, 13
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DTYPES: Mapping[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
}
_PACKED = (21, 22)
"""Unsigned and signed integers of four bits, two to a byte: left as the bytes they are."""

Field = tuple[int, int | memoryview]


@dataclass(frozen=True)
class Node:
    """An operator: its kind, its numeric attributes, and the values that it reads and writes.

    ``lists``: the attributes that are lists of whole numbers.
    """

    kind: str
    attributes: dict[str, float] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    lists: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """What a graph holds.

    ``tensors``: by name, read-only views of the file. ``nodes``: in the order of the file.
    """

    tensors: dict[str, NDArray[Any]]
    nodes: tuple[Node, ...]


def read_graph(path: Path) -> Graph:
    """Read an ONNX file, whose large weights may lie in a file beside it.

    Raises
    ------
    BundleIncompatible
        It is no ONNX file, or a weight is stored in a way that is not understood.
    """
    try:
        parts = [part for number, part in _fields(_mapped(path)) if number == _GRAPH]
        tensors: dict[str, NDArray[Any]] = {}
        nodes = []
        for number, part in _fields(_message(parts[0])):
            if number == _INITIALIZER:
                name, values = _tensor(_message(part), path.parent)
                tensors[name] = values
            elif number == _NODE:
                nodes.append(_node(_message(part)))
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise BundleIncompatible(f"{path.name} cannot be read as ONNX") from error
    return Graph(tensors, tuple(nodes))


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as stream:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _fields(message: memoryview) -> Iterator[Field]:
    """Yield the number and the value of every field of a message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError("a field runs past the end of its message")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _message(part: int | memoryview) -> memoryview:
    if isinstance(part, int):
        raise ValueError("a number stands where a message should")
    return part


def _number(part: int | memoryview) -> int:
    if not isinstance(part, int):
        raise ValueError("a message stands where a number should")
    return part


def _text(part: int | memoryview) -> str:
    return bytes(_message(part)).decode()


def _tensor(message: memoryview, folder: Path) -> tuple[str, NDArray[Any]]:
    """Return the name and the values of an initializer."""
    shape: list[int] = []
    is_packed = False
    dtype: np.dtype[Any] = np.dtype(np.float32)
    name, raw, beside = "", memoryview(b""), dict[str, str]()
    for number, part in _fields(message):
        if number == _DIMS:
            shape += [part] if isinstance(part, int) else _varints(part)
        elif number == _DATA_TYPE:
            is_packed = part in _PACKED
            dtype = np.dtype(np.uint8) if is_packed else _DTYPES[_number(part)]
        elif number == _TENSOR_NAME:
            name = _text(part)
        elif number == _RAW:
            raw = _message(part)
        elif number == _EXTERNAL:
            entry = dict(_fields(_message(part)))
            beside[_text(entry[_KEY])] = _text(entry[_VALUE])
    if beside:
        raw = _outside(folder, beside)
    values = np.frombuffer(raw, dtype)
    return name, values if is_packed else values.reshape(shape)


def _varints(packed: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        found.append(value)
    return found


def _outside(folder: Path, entry: dict[str, str]) -> memoryview:
    """Return a weight that lies in a file beside the graph."""
    if Path(entry["location"]).name != entry["location"]:
        raise ValueError("the path of the weights leaves the bundle")
    start = int(entry.get("offset", 0))
    return _mapped(folder / entry["location"])[start : start + int(entry["length"])]


def _node(message: memoryview) -> Node:
    kind = ""
    names: dict[int, list[str]] = {_OP_INPUT: [], _OP_OUTPUT: []}
    attributes: dict[str, float] = {}
    lists: dict[str, tuple[int, ...]] = {}
    for number, part in _fields(message):
        if number in names:
            names[number].append(_text(part))
        elif number == _OP_TYPE:
            kind = _text(part)
        elif number == _OP_ATTRIBUTE:
            name, value = _attribute(_message(part))
            if isinstance(value, tuple):
                lists[name] = value
            elif value is not None:
                attributes[name] = value
    return Node(kind, attributes, tuple(names[_OP_INPUT]), tuple(names[_OP_OUTPUT]), lists)


def _attribute(message: memoryview) -> tuple[str, float | tuple[int, ...] | None]:
    """Return an attribute's name and its value, None where that is not made of numbers."""
    name = ""
    value: float | None = None
    listed: list[int] = []
    for number, part in _fields(message):
        if number == _ATTRIBUTE_NAME:
            name = _text(part)
        elif number == _ATTRIBUTE_FLOAT:
            (value,) = struct.unpack("<f", _message(part))
        elif number == _ATTRIBUTE_INT:
            value = _signed(int(part))
        elif number == _ATTRIBUTE_INTS:
            found = [part] if isinstance(part, int) else _varints(part)
            listed += map(_signed, found)
    return name, tuple(listed) or value


def _signed(value: int) -> int:
    """Return a varint as the 64-bit number that it stands for."""
    return value - (1 << 64) if value >> 63 else value
