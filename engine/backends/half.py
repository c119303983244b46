"""The weights of a language model's graph in half precision, blocks as what they stand for.

TensorRT has no table of int8 rows to look up in, and what it multiplies is of the precision that
the graph says. The weights' names are those of the values that they take the place of, so that a
plan that was built without weights finds them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.blocks import dequantised
from engine.backends.initializers import Graph, Node

Half = NDArray[Any]


@dataclass(frozen=True)
class Folded:
    """A graph's weights [by name], and what becomes of its nodes.

    ``gone``: values that no node computes any more. ``looked_up``: value -> the table that its rows
    come from and the value that holds the row numbers.
    """

    weights: dict[str, Half]
    gone: frozenset[str]
    looked_up: dict[str, tuple[str, str]]


def folded(graph: Graph) -> Folded:
    """Fold every `DequantizeLinear` of a graph into its weight."""
    makers = {node.outputs[0]: node for node in graph.nodes}
    weights, gone, looked_up = dict[str, Half](), set[str](), dict[str, tuple[str, str]]()
    used: set[str] = set()
    for node in graph.nodes:
        if node.kind != "DequantizeLinear":
            continue
        (result,) = node.outputs
        if node.inputs[0] in graph.tensors:
            values, scales = node.inputs
            weights[result] = _numbers(graph, values, scales, 0, node)
            gone.add(result)
        else:
            values, scales = (makers[name].inputs[0] for name in node.inputs)
            weights[f"{result}.table"] = _numbers(graph, values, scales, 1, node)
            looked_up[result] = f"{result}.table", makers[node.inputs[0]].inputs[1]
            gone |= set(node.inputs)
        used |= {values, scales}
    rest = {name: _halved(kept) for name, kept in graph.tensors.items() if name not in used}
    return Folded(weights | rest, frozenset(gone), looked_up)


def _numbers(graph: Graph, values: str, scales: str, axis: int, node: Node) -> Half:
    """Return a quantised weight in half precision."""
    block = int(node.attributes["block_size"])
    found = dequantised(graph.tensors[values], graph.tensors[scales], axis, block)
    return found.astype(np.float16)


def _halved(values: NDArray[Any]) -> Half:
    return values.astype(np.float16) if values.dtype == np.float32 else values
