"""The networks as ONNX: the language model written operator by operator, the rest traced.

The language model is one graph of standard operators (opset 24) with a static key/value cache, so
that the same file serves prefill and decode in onnxruntime and parses into TensorRT's own
attention and cache layers.

Inputs: ``input_ids`` [B, S], ``position_ids`` [B, S], ``write_indices`` [B] (where the S new
entries go in the cache), ``logits_from`` [1] (first position whose logits are wanted),
``past_k_i`` and ``past_v_i`` [B, H, M, D]. Outputs: ``logits`` [B, T, V] and the updated caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from engine.nets.classifier import FilmClassifier
from engine.nets.vqgan import Vqgan
from export.errors import ExportError
from export.evidence import add_evidence
from export.graph import GraphWriter
from export.novelty import FeatureStatistics

TRACE_OPSET = 20
HALF_ABOVE = 4096
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class LlamaShape:
    """The sizes that the graph writer needs from a Llama-family configuration."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    epsilon: float
    rope_theta: float
    max_length: int

    @classmethod
    def from_config(cls, config: Any, max_length: int) -> Self:
        """Read the sizes from a transformers configuration."""
        return cls(
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            config.rms_norm_eps,
            config.rope_parameters["rope_theta"],
            max_length,
        )

    @property
    def rotated(self) -> int:
        """How much of each head is rotated by position."""
        return self.head_dim


def rotary_tables(shape: LlamaShape) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cosine and sine tables [M, D/2] (arXiv 2104.09864, eq. 15)."""
    steps = np.arange(0, shape.rotated, 2, dtype=np.float64) / shape.rotated
    angles = np.outer(np.arange(shape.max_length), shape.rope_theta**-steps)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@dataclass
class LlamaWriter:
    """Writes one Llama-family model into a `GraphWriter`."""

    graph: GraphWriter
    shape: LlamaShape
    weights: Weights

    embedding: ClassVar[str] = "model.embed_tokens.weight"
    last_norm: ClassVar[str] = "model.norm"

    def linear(self, value: str, name: str) -> str:
        """Apply a torch-layout weight [N, K] by its name."""
        return self.graph.linear(value, name, self.weights[f"{name}.weight"].T)

    def norm(self, value: str, name: str) -> str:
        """Apply an RMS norm by its name."""
        scale = self.graph.constant(name, self.weights[f"{name}.weight"])
        inputs = [value, scale]
        return str(self.graph.node("RMSNormalization", inputs, axis=-1, epsilon=self.shape.epsilon))

    def rotate(self, value: str, num_heads: int) -> str:
        """Rotate queries or keys [B, S, H * D] by position."""
        cosine, sine = rotary_tables(self.shape)
        tables = [self.graph.constant("rope.cos", cosine), self.graph.constant("rope.sin", sine)]
        inputs = [value, *tables, "position_ids"]
        part = (
            {}
            if self.shape.rotated == self.shape.head_dim
            else {"rotary_embedding_dim": self.shape.rotated}
        )
        return str(self.graph.node("RotaryEmbedding", inputs, num_heads=num_heads, **part))

    def heads(self, value: str) -> str:
        """[B, S, H * D] -> [B, H, S, D] for the key/value heads."""
        shape = self.graph.ints(0, 0, self.shape.num_kv_heads, self.shape.head_dim)
        split = self.graph.node("Reshape", [value, shape])
        return str(self.graph.node("Transpose", [split], perm=[0, 2, 1, 3]))

    def cached(self, value: str, name: str) -> str:
        """Write new entries [B, H, S, D] into the cache ``past_name`` and return all of it."""
        shape = ("batch", self.shape.num_kv_heads, self.shape.max_length, self.shape.head_dim)
        past = self.graph.input(f"past_{name}", TensorProto.FLOAT, shape)
        full = str(self.graph.node("TensorScatter", [past, value, "write_indices"], axis=2))
        return self.graph.output(full, f"present_{name}", TensorProto.FLOAT, shape)

    def attention(self, value: str, index: int, visible: str) -> str:
        """Grouped-query attention of layer ``index`` over the cache."""
        shape = self.shape
        query, key, own = self.projections(value, index)
        query = self.rotate(query, shape.num_heads)
        key = self.rotate(key, shape.num_kv_heads)
        split = self.graph.ints(0, 0, shape.num_heads, shape.head_dim)
        query = self.graph.node("Reshape", [query, split])
        query = self.graph.node("Transpose", [query], perm=[0, 2, 1, 3])
        keys = self.cached(self.heads(key), f"k_{index}")
        values = self.cached(self.heads(own), f"v_{index}")
        mixed = self.graph.node(
            "Attention", [query, keys, values, visible], scale=shape.head_dim**-0.5
        )
        mixed = self.graph.node("Transpose", [mixed], perm=[0, 2, 1, 3])
        joined = self.graph.ints(0, 0, shape.num_heads * shape.head_dim)
        return self.combined(self.graph.node("Reshape", [mixed, joined]), index)

    def projections(self, value: str, index: int) -> tuple[str, str, str]:
        """Return query, key and value [B, S, H * D] of a layer."""
        prefix = f"model.layers.{index}.self_attn"
        query, key, own = (self.linear(value, f"{prefix}.{name}_proj") for name in "qkv")
        return query, key, own

    def combined(self, value: str, index: int) -> str:
        """Apply the output projection of a layer's attention."""
        return self.linear(value, f"model.layers.{index}.self_attn.o_proj")

    def mlp(self, value: str, index: int) -> str:
        """Gated feed-forward of layer ``index``."""
        prefix = f"model.layers.{index}.mlp"
        gate = self.linear(value, f"{prefix}.gate_proj")
        gate = self.graph.node("Mul", [gate, self.graph.node("Sigmoid", [gate])])
        lifted = self.graph.node("Mul", [gate, self.linear(value, f"{prefix}.up_proj")])
        return self.linear(lifted, f"{prefix}.down_proj")

    def visible(self) -> str:
        """Return the mask [B, 1, S, M]: a cache entry is seen up to the query's own position."""
        entries = self.graph.constant(
            "entries", np.arange(self.shape.max_length, dtype=np.int64)[None, None, None]
        )
        own = self.graph.node("Unsqueeze", ["position_ids", self.graph.ints(1, 3)])
        return str(self.graph.node("LessOrEqual", [entries, own]))

    def write(self) -> None:
        """Write the whole model."""
        for name in ("input_ids", "position_ids"):
            self.graph.input(name, TensorProto.INT64, ("batch", "sequence"))
        self.graph.input("write_indices", TensorProto.INT64, ("batch",))
        self.graph.input("logits_from", TensorProto.INT64, (1,))
        table = self.weights[self.embedding]
        value = self.graph.rows("input_ids", "embed", table)
        visible = self.visible()
        for index in range(self.shape.num_layers):
            value = self.layer(value, index, visible)
        last = self.graph.ints(np.iinfo(np.int64).max)
        wanted = self.graph.node("Slice", [value, "logits_from", last, self.graph.ints(1)])
        wanted = self.norm(wanted, self.last_norm)
        head = self.weights.get("lm_head.weight", table)
        logits = self.graph.linear(wanted, "lm_head", head.T, is_head=True)
        shape = ("batch", "wanted", len(table))
        self.graph.output(logits, "logits", TensorProto.FLOAT, shape)

    def layer(self, value: str, index: int, visible: str) -> str:
        """Write one decoder layer."""
        prefix = f"model.layers.{index}"
        attended = self.attention(self.norm(value, f"{prefix}.input_layernorm"), index, visible)
        value = self.graph.node("Add", [value, attended])
        lifted = self.mlp(self.norm(value, f"{prefix}.post_attention_layernorm"), index)
        return str(self.graph.node("Add", [value, lifted]))


class EncoderHead(nn.Module):
    """Film [B, C, 256, 256] -> codes [B, 256]: the traced half that encodes."""

    def __init__(self, model: Vqgan) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Replicate the grey channel as training did, then encode."""
        channels = self.model.config.in_channels
        return self.model.encode(image.expand(-1, channels, -1, -1))


class DecoderHead(nn.Module):
    """Codes [B, 256] -> film [B, 1, 256, 256]: the traced half that decodes."""

    def __init__(self, model: Vqgan) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Tensor) -> Tensor:
        """Decode and average the channels to grey."""
        return self.model.decode(codes).mean(1, keepdim=True)


class ClassifierHead(nn.Module):
    """Film [B, 1, 256, 256] -> probabilities of every question, and the novelty of the film.

    Novelty is the Mahalanobis distance of the features from those of the training films.
    """

    def __init__(self, model: FilmClassifier, statistics: FeatureStatistics) -> None:
        super().__init__()
        self.model = model
        self.familiar = statistics

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return view [B, 3], turn [B, 4], inverted [B], findings [B, 14], novelty [B]."""
        found = self.model(image)
        novelty = self.familiar.distance(found["features"])
        return (
            torch.softmax(found["view"], 1),
            torch.softmax(found["turn"], 1),
            torch.sigmoid(found["inverted"]),
            torch.sigmoid(found["findings"]),
            novelty,
        )


TRACED_NAMES: dict[type[nn.Module], tuple[list[str], list[str]]] = {
    EncoderHead: (["image"], ["codes"]),
    DecoderHead: (["codes"], ["image"]),
    ClassifierHead: (["image"], ["p_view", "p_turn", "p_inverted", "p_findings", "novelty"]),
}


def traced(head: nn.Module, example: Tensor, path: Path, *, half_weights: bool) -> None:
    """Trace a head with a free batch size; write it, large weights halved if asked."""
    names_in, names_out = TRACED_NAMES[type(head)]
    program = torch.onnx.export(
        head.eval(),
        (example,),
        dynamo=True,
        opset_version=TRACE_OPSET,
        input_names=names_in,
        output_names=names_out,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
        verbose=False,
    )
    if program is None:
        raise ExportError(f"{type(head).__name__} could not be traced")
    model = halved(program.model_proto) if half_weights else program.model_proto
    if isinstance(head, ClassifierHead):
        add_evidence(model)
    onnx.save(model, path)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large float32 weights as float16 behind a cast; computing stays float32."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < HALF_ABOVE:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
    return model
