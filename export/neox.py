"""The GPT-NeoX family as the same static-cache graph as Llama: dolly-v2, and with it LLM-CXR.

What differs (arXiv 2204.06745, section 2.1): one fused projection for query, key and value, biases
everywhere, layer norm instead of RMS norm, rotary positions on a part of each head, and attention
and feed-forward side by side on the same input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.onnx import LlamaShape, LlamaWriter

Weight = NDArray[np.float32]


@dataclass(frozen=True)
class NeoxShape(LlamaShape):
    """The sizes that the graph writer needs from a GPT-NeoX configuration."""

    rotary_dim: int
    is_parallel: bool

    @property
    def rotated(self) -> int:
        """How much of each head is rotated by position."""
        return self.rotary_dim

    @classmethod
    def from_config(cls, config: Any, max_length: int) -> Self:
        """Read the sizes from a transformers configuration."""
        if config.hidden_act != "gelu":
            raise ExportError(f"cannot export a GPT-NeoX with activation {config.hidden_act}")
        head_dim = config.hidden_size // config.num_attention_heads
        rope = config.rope_parameters
        return cls(
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_attention_heads,
            head_dim,
            config.layer_norm_eps,
            rope["rope_theta"],
            max_length,
            int(head_dim * rope.get("partial_rotary_factor", 1.0)),
            config.use_parallel_residual,
        )


def split_heads(fused: Weight, num_heads: int) -> tuple[Weight, Weight, Weight]:
    """Return query, key and value rows of a fused projection [3 D, ...], heads interleaved."""
    parts = fused.reshape(num_heads, 3, -1, *fused.shape[1:])
    query, key, value = (
        np.ascontiguousarray(parts[:, i].reshape(-1, *fused.shape[1:])) for i in range(3)
    )
    return query, key, value


@dataclass
class NeoxWriter(LlamaWriter):
    """Writes one GPT-NeoX model into a `GraphWriter`."""

    shape: NeoxShape

    embedding: ClassVar[str] = "gpt_neox.embed_in.weight"
    last_norm: ClassVar[str] = "gpt_neox.final_layer_norm"

    def __post_init__(self) -> None:
        """Take the fused projections apart, once."""
        for index in range(self.shape.num_layers):
            prefix = f"gpt_neox.layers.{index}.attention"
            for kind in ("weight", "bias"):
                fused = self.weights.pop(f"{prefix}.query_key_value.{kind}")
                parts = split_heads(fused, self.shape.num_heads)
                for name, part in zip("qkv", parts, strict=True):
                    self.weights[f"{prefix}.{name}.{kind}"] = part

    def projected(self, value: str, name: str) -> str:
        """Apply a weight and its bias."""
        bias = self.graph.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return str(self.graph.node("Add", [self.linear(value, name), bias]))

    def norm(self, value: str, name: str) -> str:
        """Apply a layer norm by its name."""
        parts = [
            self.graph.constant(f"{name}.{kind}", self.weights[f"{name}.{kind}"])
            for kind in ("weight", "bias")
        ]
        inputs = [value, *parts]
        made = self.graph.node("LayerNormalization", inputs, axis=-1, epsilon=self.shape.epsilon)
        return str(made)

    def projections(self, value: str, index: int) -> tuple[str, str, str]:
        """Return query, key and value [B, S, H * D] of a layer."""
        prefix = f"gpt_neox.layers.{index}.attention"
        query, key, own = (self.projected(value, f"{prefix}.{name}") for name in "qkv")
        return query, key, own

    def combined(self, value: str, index: int) -> str:
        """Apply the output projection of a layer's attention."""
        return self.projected(value, f"gpt_neox.layers.{index}.attention.dense")

    def mlp(self, value: str, index: int) -> str:
        """Feed-forward of layer ``index``."""
        prefix = f"gpt_neox.layers.{index}.mlp"
        lifted = self.graph.node("Gelu", [self.projected(value, f"{prefix}.dense_h_to_4h")])
        return self.projected(lifted, f"{prefix}.dense_4h_to_h")

    def layer(self, value: str, index: int, visible: str) -> str:
        """Write one decoder layer: side by side, or one after the other."""
        prefix = f"gpt_neox.layers.{index}"
        attended = self.attention(self.norm(value, f"{prefix}.input_layernorm"), index, visible)
        between = self.graph.node("Add", [value, attended])
        start = value if self.shape.is_parallel else between
        lifted = self.mlp(self.norm(start, f"{prefix}.post_attention_layernorm"), index)
        return str(self.graph.node("Add", [between, lifted]))
