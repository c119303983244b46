"""Own int8 kernels for the language model; films stay with onnxruntime.

A row's result depends neither on the rows beside it nor on the number of threads: whatever batch a
sequence runs in, and whether its tokens were guessed or not, its logits are equal bit by bit.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Feed, FixedSlot, Logits, refuse_overflow
from engine.backends.initializers import Graph, read_graph
from engine.backends.onnx_films import OnnxFilms
from engine.bundle import Bundle
from engine.errors import BackendUnavailable, GenerationFault
from engine.native.library import Call, Head, Shape, open_library

NAME = "native"
BLOCK, TILE, LANES, MAX_GROUP = 32, 32, 16, 8
MAX_BATCH = 8
"""Beyond it a step takes as much longer as it serves more."""

_LAYER = "model.layers.{}."
_MATRICES = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "down": "mlp.down_proj",
}
Matrix = tuple[NDArray[np.int8], NDArray[np.float32]]
"""Values [K, N] and scales [K / 32, N]."""
_GATED = ("mlp.gate_proj", "mlp.up_proj")
_NORMS = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
_WHOLE = {"last_norm": "model.norm", "cosine": "rope.cos", "sine": "rope.sin"}


@dataclass(eq=False)
class NativeSlot(FixedSlot):
    """One sequence: where its cache lies."""

    cache: int


class NativeModel:
    """The language model of a bundle in memory of the kernels.

    Raises
    ------
    BackendUnavailable
        The kernels do not run here, or not this kind of model.
    """

    def __init__(self, graph: Graph, max_length: int, num_threads: int) -> None:
        self.library = open_library()
        self.shape = shape_of(graph, max_length, num_threads)
        self.embedding = graph.tensors["embed.q"], graph.tensors["embed.scale"]
        self.handle = self.library.cxr_open(ctypes.byref(self.shape))
        if not self.handle:
            raise BackendUnavailable("there is not enough memory")
        self._close = weakref.finalize(self, self.library.cxr_close, self.handle)
        self._fill(graph)

    def _fill(self, graph: Graph) -> None:
        """Hand over the weights in the order in which a step reads them."""
        for layer in range(self.shape.num_layers):
            for name, matrix in matrices_of(graph, layer, self.shape.head_dim):
                self._set_matrix(layer, name, matrix)
            for name, stored in _NORMS.items():
                self._set_vector(layer, name, graph.tensors[_LAYER.format(layer) + stored])
        self._set_matrix(0, "head", matrix_of(graph, "lm_head"))
        for name, stored in _WHOLE.items():
            self._set_vector(0, name, graph.tensors[stored])

    def _set_matrix(self, layer: int, name: str, matrix: Matrix) -> None:
        values, scales = (np.ascontiguousarray(part) for part in matrix)
        done = self.library.cxr_set_matrix(
            self.handle,
            layer,
            name.encode(),
            values.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
            scales.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            *values.shape,
        )
        if not done:
            raise BackendUnavailable(f"layer {layer}: {name} has another size than in layer 0")

    def _set_vector(self, layer: int, name: str, stored: NDArray[np.float32]) -> None:
        values = np.ascontiguousarray(stored, np.float32)
        pointer = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        done = self.library.cxr_set_vector(self.handle, layer, name.encode(), pointer, values.size)
        if not done:
            raise BackendUnavailable("there is not enough memory")

    def open_slot(self) -> NativeSlot:
        """Return an empty sequence; its memory goes when it does."""
        cache = self.library.cxr_open_cache(self.handle)
        if not cache:
            raise GenerationFault("there is not enough memory for another sequence")
        slot = NativeSlot(cache, max_length=self.shape.max_length)
        weakref.finalize(slot, self.library.cxr_close_cache, cache)
        return slot

    def embed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Token ids [T] -> float32 [T, width]."""
        values, scales = (table[ids] for table in self.embedding)
        blocks = values.reshape(len(ids), -1, BLOCK).astype(np.float32)
        embedded: NDArray[np.float32] = (blocks * scales[:, :, None]).reshape(len(ids), -1)
        return embedded

    def forward(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append tokens to sequences; see `Backend.forward`."""
        slots: list[Any] = [feed.slot for feed in feeds]
        counts = [len(feed.token_ids) for feed in feeds]
        embedded = self.embed(np.concatenate([feed.token_ids for feed in feeds]).astype(np.int64))
        spans = zip(slots, counts, strict=True)
        positions = np.concatenate(
            [np.arange(slot.length, slot.length + count, dtype=np.int32) for slot, count in spans]
        )
        caches = np.repeat(np.asarray([slot.cache for slot in slots], np.uintp), counts)
        heads = heads_of(feeds)
        wanted = np.asarray([row for head in heads for row in head.wanted], np.int32)
        listed = (Head * len(heads))(*(head.as_struct() for head in heads))
        arrays = (array.ctypes.data for array in (embedded, positions, caches))
        call = Call(len(embedded), *arrays, len(wanted), wanted.ctypes.data, len(heads), listed)
        if not self.library.cxr_forward(self.handle, ctypes.byref(call)):
            raise GenerationFault("there is not enough memory for this step")
        for slot, count in zip(slots, counts, strict=True):
            slot.length += count
        return in_order(feeds, heads)


def matrix_of(graph: Graph, stored: str) -> Matrix:
    """Return a matrix [K, N] as the graph stores it."""
    return graph.tensors[f"{stored}.q"], graph.tensors[f"{stored}.scale"]


def matrices_of(graph: Graph, layer: int, head_dim: int) -> Iterator[tuple[str, Matrix]]:
    """Yield the matrices of a layer by name."""
    prefix = _LAYER.format(layer)
    for name, stored in _MATRICES.items():
        values, scales = matrix_of(graph, prefix + stored)
        if name == "query":  # it carries the factor of the scores
            scales = scales * np.float32(head_dim**-0.5)
        if name == "down":
            gate, up = (matrix_of(graph, prefix + half) for half in _GATED)
            yield "gated", (side_by_side(gate[0], up[0]), side_by_side(gate[1], up[1]))
        yield name, (values, scales)


def side_by_side(gate: NDArray[Any], up: NDArray[Any]) -> NDArray[Any]:
    """[K, N] and [K, N] -> [K, 2 N]: 16 columns of one, then 16 of the other."""
    halves = [part.reshape(len(part), -1, LANES) for part in (gate, up)]
    return np.stack(halves, axis=2).reshape(len(gate), -1)


@dataclass(frozen=True)
class WantedHead:
    """The feeds whose logits are wanted over the same token ids.

    ``places``: which feeds. ``wanted``: their rows among all rows of the call. ``logits``
    [rows, columns]: whole tiles, the ids of ``rows`` among them.
    """

    rows: range
    places: tuple[int, ...]
    wanted: tuple[int, ...]
    logits: Logits

    @property
    def first_column(self) -> int:
        """The column that the first of the tiles begins with."""
        return self.rows.start // TILE * TILE

    def as_struct(self) -> Head:
        """Return what the kernels are told."""
        last = self.first_column + self.logits.shape[1]
        return Head(len(self.wanted), self.first_column, last, self.logits.ctypes.data)


def heads_of(feeds: Sequence[Feed]) -> list[WantedHead]:
    """Group feeds by the token ids whose logits they want: a head is read once for all of them."""
    ends = np.cumsum([len(feed.token_ids) for feed in feeds]).tolist()
    places = sorted(range(len(feeds)), key=lambda place: _range(feeds[place]))
    heads = []
    for (start, stop), group in groupby(places, key=lambda place: _range(feeds[place])):
        members = tuple(group)
        wanted = tuple(
            row
            for place in members
            for row in range(ends[place] - feeds[place].num_wanted, ends[place])
        )
        num_columns = -(-stop // TILE) * TILE - start // TILE * TILE
        logits = np.empty((len(wanted), num_columns), np.float32)
        heads.append(WantedHead(range(start, stop), members, wanted, logits))
    return heads


def in_order(feeds: Sequence[Feed], heads: Sequence[WantedHead]) -> list[Logits]:
    """Return each feed's logits [num_wanted, len(rows)], in the order of the feeds."""
    found: dict[int, Logits] = {}
    for head in heads:
        left = head.rows.start - head.first_column
        logits = head.logits[:, left : left + len(head.rows)]
        for place in head.places:
            found[place], logits = np.split(logits, [feeds[place].num_wanted])
    return [found[place] for place in range(len(feeds))]


def _range(feed: Feed) -> tuple[int, int]:
    return feed.rows.start, feed.rows.stop


def shape_of(graph: Graph, max_length: int, num_threads: int) -> Shape:
    """Read the sizes of a model from its graph.

    Raises
    ------
    BackendUnavailable
        It is no int8 model of the Llama family, or its sizes do not fit the kernels.
    """
    tensors = graph.tensors
    first = _LAYER.format(0)
    stored = ("lm_head", *(f"{first}{name}" for name in (*_MATRICES.values(), *_GATED)))
    if not all(_is_int8(graph, name) for name in stored):
        raise BackendUnavailable("it runs int8 models of the Llama family, which this is not")
    queries, keys = (tensors[f"{first}{_MATRICES[name]}.q"] for name in ("query", "key"))
    head_dim = 2 * tensors["rope.cos"].shape[1]
    shape = Shape(
        num_layers=sum(name.endswith(f"{_NORMS['mlp_norm']}") for name in tensors),
        width=len(queries),
        num_heads=queries.shape[1] // head_dim,
        num_kv_heads=keys.shape[1] // head_dim,
        head_dim=head_dim,
        hidden=tensors[f"{first}{_GATED[0]}.q"].shape[1],
        num_columns=tensors["lm_head.q"].shape[1],
        max_length=max_length,
        num_threads=num_threads or len(os.sched_getaffinity(0)),
        epsilon=_epsilon(graph),
    )
    sizes = (shape.width, shape.hidden, shape.head_dim)
    group = shape.num_heads / shape.num_kv_heads
    if any(size % BLOCK for size in sizes) or group not in range(1, MAX_GROUP + 1):
        raise BackendUnavailable(f"its kernels need sizes in multiples of {BLOCK}, not {sizes}")
    return shape


def _is_int8(graph: Graph, stored: str) -> bool:
    """Tell whether a matrix is stored as int8 in blocks of 32."""
    values, scales = (graph.tensors.get(f"{stored}.{part}") for part in ("q", "scale"))
    if values is None or scales is None or values.dtype != np.int8:
        return False
    return len(values) == BLOCK * len(scales)


def _epsilon(graph: Graph) -> float:
    norm = next(node for node in graph.nodes if node.kind == "RMSNormalization")
    return norm.attributes["epsilon"]


class NativeBackend(OnnxFilms):
    """Films by onnxruntime, words and codes by own kernels."""

    name = NAME
    max_batch = MAX_BATCH

    def __init__(self, bundle: Bundle, num_threads: int = 0) -> None:
        graph = read_graph(bundle.path("language_model"))
        self.model = NativeModel(graph, bundle.cache.max_length, num_threads)
        super().__init__(bundle, num_threads)

    def open_slot(self) -> NativeSlot:
        """Return an empty sequence."""
        return self.model.open_slot()

    def forward(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append tokens to all sequences at once; see `Backend.forward`."""
        refuse_overflow(feeds)
        return self.model.forward(feeds)
