"""What an ONNX graph of a bundle holds, as the float32 tensors that it computes with.

Export stores large weights in half precision (``NAME.half``) or as int8 blocks (``NAME.q`` and
``NAME.scale``), and its tracer folds the affine part of a group norm into two nameless constants.
All three are undone here; what is left of a name is the parameter's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor

from training.errors import AdoptionError

HALF, VALUES, SCALES = ".half", ".q", ".scale"
AFTER_NORM = ("Reshape", "Mul", "Add")
"""A traced group norm: ``InstanceNormalization``, its shape again, weight, bias."""


def dequantised(values: Tensor, scales: Tensor) -> Tensor:
    """Int8 [K, N] and the scale of each block along one axis -> float32 [K, N]."""
    for axis, (whole, blocks) in enumerate(zip(values.shape, scales.shape, strict=True)):
        if whole != blocks:
            scales = scales.repeat_interleave(whole // blocks, axis)
    return values.float() * scales


@dataclass(frozen=True)
class Graph:
    """The nodes of one graph in order, and its constants by name."""

    nodes: list[Any]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a graph file.

        Raises
        ------
        AdoptionError
            It is not an ONNX file.
        """
        try:
            graph = onnx.load(path).graph
        except DecodeError as fault:
            raise AdoptionError(f"{path.name} is not an ONNX graph") from fault
        stored = {
            one.name: torch.from_numpy(numpy_helper.to_array(one).copy())
            for one in graph.initializer
        }
        return cls(list(graph.node), plain(stored))

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the constants whose name starts with ``prefix``, which is removed."""
        return {
            name.removeprefix(prefix): value
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }

    def attribute(self, kind: str, name: str) -> Any:
        """Return an attribute of the first node of a kind."""
        for node in self.nodes:
            for attribute in node.attribute if node.op_type == kind else ():
                if attribute.name == name:
                    return onnx.helper.get_attribute_value(attribute)
        raise AdoptionError(f"the graph has no {kind} with {name}")

    def group_norms(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield weight and bias [C] of every traced group norm, in the order of computing."""
        readers = {name: node for node in reversed(self.nodes) for name in node.input}
        for node in self.nodes:
            if node.op_type == "InstanceNormalization":
                found = list(self.constants_after(node, readers))
                if len(found) != 2:
                    raise AdoptionError("a group norm of the graph has no weight and bias")
                yield found[0].flatten(), found[1].flatten()

    def constants_after(self, node: Any, readers: dict[str, Any]) -> Iterator[Tensor]:
        """Yield the constants that a chain of reshape, product and sum applies to a node."""
        for kind in AFTER_NORM:
            node = readers.get(node.output[0])
            if node is None or node.op_type != kind:
                return
            if kind != AFTER_NORM[0]:
                yield from (self.tensors[name] for name in node.input if name in self.tensors)


def plain(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in float32 under the names of the parameters that they store."""
    found = {}
    for name, value in stored.items():
        if name.endswith(HALF):
            found[name.removesuffix(HALF)] = value.float()
        elif name.endswith(VALUES):
            stem = name.removesuffix(VALUES)
            found[stem] = dequantised(value, stored[stem + SCALES])
        elif not (name.endswith(SCALES) and name.removesuffix(SCALES) + VALUES in stored):
            found[name] = value
    return found
