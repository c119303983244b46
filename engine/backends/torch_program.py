"""The graph of a language model as a list of torch calls, on any device and in any precision.

The bundle's graph is the model: whatever family it is of, its nodes are carried out one by one,
with the weights converted once. Rotations and normalisations are computed in float32. The caches
are written in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.backends.blocks import dequantised
from engine.backends.initializers import Graph, Node
from engine.errors import BackendUnavailable

Value = Tensor | int
Run = Callable[..., Tensor]
LOGITS, WANTED_FROM = "logits", "logits_from"


@dataclass(frozen=True)
class Step:
    """One call: the values that it reads and writes, and those that nobody reads after it."""

    run: Run
    inputs: tuple[str, ...]
    output: str
    forgotten: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """The calls up to the last layer, those of the head, and the weights.

    ``head_weight``: the weight [K, V] whose columns are the token ids.
    """

    body: tuple[Step, ...]
    head: tuple[Step, ...]
    weights: dict[str, Tensor]
    head_weight: str

    def run(self, inputs: Mapping[str, Value], rows: range | None) -> Tensor | None:
        """Carry the graph out; return float32 logits [B, T, len(rows)], or None for no rows."""
        values: dict[str, Value] = {**self.weights, **inputs}
        _carry_out(self.body, values)
        if rows is None:
            return None
        values[self.head_weight] = self.weights[self.head_weight][:, rows.start : rows.stop]
        _carry_out(self.head, values)
        logits = values[LOGITS]
        assert isinstance(logits, Tensor)
        return logits.float()


def _carry_out(steps: Sequence[Step], values: dict[str, Value]) -> None:
    for step in steps:
        values[step.output] = step.run(*(values[name] for name in step.inputs))
        for name in step.forgotten:
            del values[name]


def program_of(graph: Graph, device: str, dtype: torch.dtype) -> Program:
    """Convert a graph and its weights.

    Raises
    ------
    BackendUnavailable
        It holds an operator that is not known here.
    """
    lowering = _Lowering(graph, torch.device(device), dtype)
    steps = [lowering.step(node) for node in graph.nodes if not lowering.is_weight(node)]
    last = {name: place for place, step in enumerate(steps) for name in step.inputs}
    made = {step.output for step in steps}
    freed: dict[int, list[str]] = {}
    for name in made & last.keys():
        freed.setdefault(last[name], []).append(name)
    steps = [
        Step(step.run, step.inputs, step.output, tuple(freed.get(place, ())))
        for place, step in enumerate(steps)
    ]
    split = next(place for place, step in enumerate(steps) if WANTED_FROM in step.inputs)
    head_weight = next(step.inputs[1] for step in steps if step.output == LOGITS)
    return Program(tuple(steps[:split]), tuple(steps[split:]), lowering.weights, head_weight)


class _Lowering:
    """Turns nodes into calls; a weight that is read is converted and kept under its name."""

    def __init__(self, graph: Graph, device: torch.device, dtype: torch.dtype) -> None:
        self.stored, self.device, self.dtype = graph.tensors, device, dtype
        self.weights: dict[str, Tensor] = {}

    def is_weight(self, node: Node) -> bool:
        """Take blocks that are stored for the weight that they stand for."""
        if node.kind != "DequantizeLinear" or node.inputs[0] not in self.stored:
            return False
        values, scales = (self.stored[name] for name in node.inputs)
        axis, block = (int(node.attributes[name]) for name in ("axis", "block_size"))
        numbers = torch.from_numpy(dequantised(values, scales, axis, block))
        self.weights[node.outputs[0]] = numbers.to(self.device, self.dtype)
        return True

    def step(self, node: Node) -> Step:
        """Return the call of a node; constants that only shape it are no inputs of the call."""
        if node.kind not in OPERATORS:
            raise BackendUnavailable(
                f"torch has nothing for the operator {node.kind} of this model"
            )
        num_values, make = OPERATORS[node.kind]
        inputs = node.inputs[:num_values] if num_values else node.inputs
        for name in inputs:
            if name in self.stored and name not in self.weights:
                self.weights[name] = self.constant(name)
        constants = [self.stored.get(name) for name in node.inputs[len(inputs) :]]
        return Step(make(node, constants, self), inputs, node.outputs[0])

    def constant(self, name: str) -> Tensor:
        """Return a stored tensor; floats in the precision of the program, but for small tables."""
        made = self.on_device(self.stored[name])
        is_table = not made.is_floating_point() or name.endswith((".scale", ".cos", ".sin"))
        return made if is_table else made.to(self.dtype)

    def on_device(self, values: Any) -> Tensor:
        """Copy a stored tensor."""
        return torch.from_numpy(np.array(values)).to(self.device)


def _gather(node: Node, _: Sequence[Any], __: _Lowering) -> Run:
    return lambda table, ids: table[ids]


def _dequantize(node: Node, _: Sequence[Any], at: _Lowering) -> Run:
    """Return rows of int8 blocks [B, S, W] as numbers; a row's last block may be a part."""
    block = int(node.attributes["block_size"])

    def run(values: Tensor, scales: Tensor) -> Tensor:
        spread = scales.repeat_interleave(block, -1)[..., : values.shape[-1]]
        return (values.float() * spread).to(at.dtype)

    return run


def _unsqueeze(_: Node, constants: Sequence[Any], __: _Lowering) -> Run:
    axes = sorted(int(axis) for axis in constants[0])

    def run(value: Tensor) -> Tensor:
        for axis in axes:
            value = value.unsqueeze(axis)
        return value

    return run


def _less_or_equal(_: Node, __: Sequence[Any], at: _Lowering) -> Run:
    """Return what attention adds to its scores: nothing where it may look, else minus infinity."""

    def run(entries: Tensor, own: Tensor) -> Tensor:
        hidden = torch.full((), -torch.inf, dtype=at.dtype, device=at.device)
        return torch.where(entries <= own, torch.zeros_like(hidden), hidden)

    return run


def _rms_norm(node: Node, _: Sequence[Any], __: _Lowering) -> Run:
    epsilon = node.attributes["epsilon"]
    return lambda value, scale: functional.rms_norm(value, scale.shape, scale, epsilon)


def _layer_norm(node: Node, _: Sequence[Any], __: _Lowering) -> Run:
    epsilon = node.attributes["epsilon"]
    return lambda value, scale, bias: functional.layer_norm(
        value, scale.shape, scale, bias, epsilon
    )


def _rotary(node: Node, _: Sequence[Any], __: _Lowering) -> Run:
    """Turn the first half of each head against its second (arXiv 2104.09864, eq. 34)."""
    num_heads = int(node.attributes["num_heads"])

    def run(value: Tensor, cosine: Tensor, sine: Tensor, positions: Tensor) -> Tensor:
        heads = value.unflatten(-1, (num_heads, -1))
        half = cosine.shape[1]
        cos, sin = cosine[positions].unsqueeze(2), sine[positions].unsqueeze(2)
        one, two = heads[..., :half].float(), heads[..., half : 2 * half].float()
        turned = torch.cat((one * cos - two * sin, two * cos + one * sin), -1).to(value.dtype)
        return torch.cat((turned, heads[..., 2 * half :]), -1).flatten(-2)

    return run


def _reshape(_: Node, constants: Sequence[Any], __: _Lowering) -> Run:
    sizes = [int(size) for size in constants[0]]

    def run(value: Tensor) -> Tensor:
        return value.reshape([size or value.shape[axis] for axis, size in enumerate(sizes)])

    return run


def _transpose(node: Node, _: Sequence[Any], __: _Lowering) -> Run:
    return lambda value: value.permute(node.lists["perm"])


def _scatter(_: Node, __: Sequence[Any], ___: _Lowering) -> Run:
    """Write new entries [B, H, S, D] into a cache [B, H, M, D], in place."""

    def run(cache: Tensor, new: Tensor, starts: Tensor) -> Tensor:
        places = starts[:, None] + torch.arange(new.shape[2], device=new.device)
        return cache.scatter_(2, places[:, None, :, None].expand_as(new), new)

    return run


def _attention(node: Node, _: Sequence[Any], __: _Lowering) -> Run:
    """Attend with the queries of a group as rows of one head: keys and values are read once."""
    scale = node.attributes["scale"]

    def run(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        (size, num_heads, length, width), num_kv = query.shape, key.shape[1]
        group = num_heads // num_kv
        rows = query.reshape(size, num_kv, group * length, width)
        seen = bias.repeat(1, 1, group, 1)
        mixed = functional.scaled_dot_product_attention(rows, key, value, seen, scale=scale)
        return mixed.reshape(size, num_heads, length, width)

    return run


def _slice(_: Node, __: Sequence[Any], ___: _Lowering) -> Run:
    return lambda value, start: value[:, start:]


def _plain(run: Run) -> Callable[[Node, Sequence[Any], _Lowering], Run]:
    return lambda node, constants, at: run


OPERATORS: dict[str, tuple[int, Callable[[Node, Sequence[Any], _Lowering], Run]]] = {
    "Add": (2, _plain(torch.add)),
    "Attention": (4, _attention),
    "DequantizeLinear": (2, _dequantize),
    "Gather": (2, _gather),
    "Gelu": (1, _plain(functional.gelu)),
    "LayerNormalization": (3, _layer_norm),
    "LessOrEqual": (2, _less_or_equal),
    "MatMul": (2, _plain(torch.matmul)),
    "Mul": (2, _plain(torch.mul)),
    "RMSNormalization": (2, _rms_norm),
    "Reshape": (1, _reshape),
    "RotaryEmbedding": (4, _rotary),
    "Sigmoid": (1, _plain(torch.sigmoid)),
    "Slice": (2, _slice),
    "TensorScatter": (3, _scatter),
    "Transpose": (1, _transpose),
    "Unsqueeze": (1, _unsqueeze),
}
"""What `export.onnx` and `export.neox` write: how many inputs are values, and the call."""
