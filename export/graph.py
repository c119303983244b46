"""A small writer of ONNX graphs: named nodes, weights stored once, few bits in standard operators.

Weights are written as blocks of int8 or int4 with a scale each and a ``DequantizeLinear`` before
the ``MatMul`` (ONNX opset 21, block quantisation). That is plain ONNX which any runtime reads;
onnxruntime fuses the pair into its own kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

OPSET = 24
IR_VERSION = 10
BLOCK = 32
PROTOBUF_LIMIT = 2**31 - 2**24
"""A protobuf message ends at 2 GiB; beyond it weights lie in a file of their own."""

Array = NDArray[Any]
Precision = Literal["float32", "int8", "int8-128", "int4", "int4-128", "int4-head8"]


@dataclass(frozen=True)
class Scheme:
    """How weights are stored: ``bits`` of a value, and how many values share a scale."""

    bits: int
    block: int = BLOCK

    @property
    def greatest(self) -> int:
        """The greatest value; the least is its negative."""
        return int(2 ** (self.bits - 1)) - 1

    def stored(self, values: Array) -> Array:
        """Return quantised values in their type, two of four bits to a byte."""
        return values.astype(np.int8) if self.bits == 8 else values.astype(ml_dtypes.int4)


SCHEMES: Mapping[Precision, tuple[Scheme | None, Scheme | None]] = {
    "float32": (None, None),
    "int8": (Scheme(8), Scheme(8)),
    "int8-128": (Scheme(8, 128), Scheme(8, 128)),
    "int4": (Scheme(4), Scheme(4)),
    "int4-128": (Scheme(4, 128), Scheme(4, 128)),
    "int4-head8": (Scheme(4), Scheme(8)),
}
"""Layers, then head, which decides which token is picked."""
ROWS = Scheme(8)
"""The embedding: its rows are looked up, so that fewer bits would save no time."""


def stored_bytes(model: onnx.ModelProto) -> int:
    """Return how many bytes of weights a graph holds."""
    return sum(len(weight.raw_data) for weight in model.graph.initializer)


def quantize_blocks(weight: Array, axis: int, scheme: Scheme) -> tuple[Array, Array]:
    """Quantise float32 [K, N] symmetrically in blocks along ``axis``; return values, scales.

    The last block may be a part.
    """
    moved = np.moveaxis(weight.astype(np.float32), axis, 0)
    count = len(moved)
    missing = -count % scheme.block
    padded = np.concatenate([moved, np.zeros((missing, *moved.shape[1:]), np.float32)])
    blocks = padded.reshape(-1, scheme.block, *moved.shape[1:])
    scales = np.maximum(np.abs(blocks).max(axis=1), 1e-12) / scheme.greatest
    rounded = np.rint(blocks / scales[:, None]).reshape(padded.shape)[:count]
    values = scheme.stored(np.clip(rounded, -scheme.greatest, scheme.greatest))
    return (
        np.ascontiguousarray(np.moveaxis(values, 0, axis)),
        np.ascontiguousarray(np.moveaxis(scales.astype(np.float32), 0, axis)),
    )


@dataclass
class GraphWriter:
    """Collects nodes and weights; every method returns the name of a new value."""

    precision: Precision
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, onnx.TensorProto] = field(default_factory=dict)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    count: int = 0

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """Declare a graph input."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def output(self, value: str, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """Give the newest node's value the name of a graph output; return that name.

        No copying node stands between: a cache that is written in place must be the output itself.
        """
        made = self.nodes[-1]
        made.output[list(made.output).index(value)] = name
        self.outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def constant(self, name: str, values: Array) -> str:
        """Store a weight or constant once under ``name``."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def ints(self, *values: int) -> str:
        """Store a small int64 vector."""
        return self.constant("i64_" + "_".join(map(str, values)), np.asarray(values, np.int64))

    def node(
        self, kind: str, inputs: Sequence[str], num_outputs: int = 1, **attributes: Any
    ) -> Any:
        """Add a node; return its output name, or a list where it has several."""
        self.count += 1
        names = [f"{kind.lower()}_{self.count}_{i}" for i in range(num_outputs)]
        made = helper.make_node(
            kind, list(inputs), names, name=f"{kind}_{self.count}", **attributes
        )
        self.nodes.append(made)
        return names[0] if num_outputs == 1 else names

    def linear(self, value: str, name: str, weight: Array, *, is_head: bool = False) -> str:
        """Multiply ``value`` [..., K] by ``weight`` [K, N] in the graph's precision."""
        scheme = SCHEMES[self.precision][is_head]
        if scheme is None:
            return str(self.node("MatMul", [value, self.constant(name, weight)]))
        values, scales = quantize_blocks(weight, 0, scheme)
        stored = [self.constant(f"{name}.q", values), self.constant(f"{name}.scale", scales)]
        restored = self.node("DequantizeLinear", stored, axis=0, block_size=scheme.block)
        return str(self.node("MatMul", [value, restored]))

    def rows(self, ids: str, name: str, table: Array) -> str:
        """Look up rows of ``table`` [V, W] by ``ids`` [B, S] -> [B, S, W]."""
        if SCHEMES[self.precision][True] is None:
            return str(self.node("Gather", [self.constant(name, table), ids], axis=0))
        values, scales = quantize_blocks(table, 1, ROWS)
        picked = [
            self.node("Gather", [self.constant(f"{name}.q", values), ids], axis=0),
            self.node("Gather", [self.constant(f"{name}.scale", scales), ids], axis=0),
        ]
        return str(self.node("DequantizeLinear", picked, axis=2, block_size=BLOCK))

    def model(self, name: str) -> onnx.ModelProto:
        """Return the checked model."""
        graph = helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, list(self.weights.values())
        )
        opset = helper.make_opsetid("", OPSET)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        made.producer_name = "cxr-node"
        if stored_bytes(made) < PROTOBUF_LIMIT:  # the checker reads no more than one message
            onnx.checker.check_model(made)
        return made
