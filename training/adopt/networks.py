"""The networks of a bundle in PyTorch, their shapes from `engine.nets`, their weights from ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from engine.bundle import Bundle
from engine.nets.checkpoints import take_up
from engine.nets.classifier import FilmClassifier
from engine.nets.load import load_untied
from engine.nets.vqgan import Vqgan, VqganConfig
from engine.vocabulary import CODES_PER_IMAGE
from training.adopt.graph import Graph
from training.errors import AdoptionError

TRACED = "model."
"""Every traced half holds its network under this attribute."""
SIZE = 256
DIGITS = 5
"""Of a setting that went through float32: as it was written, in all likelihood."""
ROTARY_ERROR = 1e-3


def classifier(bundle: Bundle, backbone: str) -> FilmClassifier:
    """Return the film classifier, calibrated as the bundle is.

    Batch norms that the tracer folded into the convolution before them come back as that
    convolution and a norm that only adds: the same function, fit to be used, not to be trained on.
    """
    made = FilmClassifier(backbone)
    found = Graph.read(bundle.path("classifier")).under(TRACED)
    take_up(made, {**counters(made), **unfolded(made, found)})
    return made.eval().requires_grad_(False)


def counters(net: nn.Module) -> dict[str, Tensor]:
    """Return the batch counters of a network, which no graph holds."""
    return {key: value for key, value in net.state_dict().items() if value.dtype == torch.int64}


def unfolded(net: nn.Module, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give every folded batch norm parameters of its own."""
    state = {key: value for key, value in found.items() if not key.endswith(".weight_bias")}
    before = ""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            before = name
        elif isinstance(module, nn.BatchNorm2d) and f"{name}.weight" not in found:
            bias = found.get(f"{before}.weight_bias")
            if bias is None:
                raise AdoptionError(f"the classifier's graph lacks {name}")
            ones = torch.ones_like(bias)
            state |= {f"{name}.weight": ones, f"{name}.bias": bias}
            state |= {f"{name}.running_mean": torch.zeros_like(bias)}
            state |= {f"{name}.running_var": ones - module.eps}
    return state


def tokenizer(bundle: Bundle, config: VqganConfig) -> Vqgan:
    """Return the VQ-GAN; its codebook's running averages start from the codebook."""
    made = Vqgan(config).eval()
    film = torch.zeros(1, config.in_channels, SIZE, SIZE)
    codes = torch.zeros(1, CODES_PER_IMAGE, dtype=torch.int64)
    state: dict[str, Tensor] = {}
    for role, run in (
        ("encoder", lambda: made.encode(film)),
        ("decoder", lambda: made.decode(codes)),
    ):
        graph = Graph.read(bundle.path(role))
        state |= graph.under(TRACED) | named_norms(graph, made, run)
    rows = state.get("quantize.embedding.weight")
    if config.quantizer == "ema" and rows is not None:
        state["quantize.sums"] = rows.clone()
        state["quantize.usage"] = torch.ones(len(rows))
        state["quantize.is_initialised"] = torch.ones((), dtype=torch.bool)
    take_up(made, state)
    return made.requires_grad_(False)


def named_norms(graph: Graph, net: nn.Module, run: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Return the group norms of a graph by the names that they have in a network.

    Both compute in one order, so the norms are matched by running the network once.
    """
    names, found = norms_in_order(net, run), list(graph.group_norms())
    if len(names) != len(found):
        raise AdoptionError(
            f"the graph has {len(found)} group norms, the recipe's network {len(names)}",
            hint="name the recipe that the bundle was trained with",
        )
    pairs = zip(names, found, strict=True)
    return {
        f"{name}.{part}": value
        for name, both in pairs
        for part, value in zip(("weight", "bias"), both, strict=True)
    }


@torch.no_grad()
def norms_in_order(net: nn.Module, run: Callable[[], Tensor]) -> list[str]:
    """Return the names of a network's group norms in the order in which a call meets them."""
    met: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        return lambda *_: met.append(name)

    norms = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.GroupNorm)]
    hooks = [module.register_forward_hook(watch(name)) for name, module in norms]
    run()
    for hook in hooks:
        hook.remove()
    return met


def language_model(bundle: Bundle) -> Any:
    """Return the language model, int8 weights as the floats that they stand for."""
    graph = Graph.read(bundle.path("language_model"))
    model = LlamaForCausalLM(architecture(bundle, graph))
    rows, head = graph.tensors["embed"], graph.tensors["lm_head"].t().contiguous()
    state = {"model.embed_tokens.weight": rows}
    if not model.config.tie_word_embeddings:
        state["lm_head.weight"] = head
    for name, value in graph.under("model.").items():
        matrix = value.t().contiguous() if value.ndim == 2 else value
        state[f"model.{name}.weight"] = matrix
    load_untied(model, state)
    return model.eval().requires_grad_(False)


def architecture(bundle: Bundle, graph: Graph) -> LlamaConfig:
    """Return the configuration that the shapes and attributes of a graph tell."""
    cache, weights = bundle.cache, graph.tensors
    rows = weights["embed"]
    return LlamaConfig(
        vocab_size=rows.shape[0],
        hidden_size=rows.shape[1],
        intermediate_size=weights["model.layers.0.mlp.gate_proj"].shape[1],
        num_hidden_layers=cache.num_layers,
        num_attention_heads=graph.attribute("RotaryEmbedding", "num_heads"),
        num_key_value_heads=cache.num_kv_heads,
        head_dim=cache.head_dim,
        rms_norm_eps=rounded(graph.attribute("RMSNormalization", "epsilon")),
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta(weights)},
        tie_word_embeddings=torch.equal(rows, weights["lm_head"].t()),
        bos_token_id=None,
        eos_token_id=bundle.vocabulary.end_id,
    )


def rounded(value: float) -> float:
    """Return a setting without the dust of float32."""
    return float(f"{value:.{DIGITS}g}")


def rope_theta(weights: dict[str, Tensor]) -> float:
    """Return the base of the rotary angles (arXiv 2104.09864, eq. 15) from their tables.

    Raises
    ------
    AdoptionError
        The tables are of another kind, such as stretched ones.
    """
    cosine, sine = weights["rope.cos"].double(), weights["rope.sin"].double()
    count = cosine.shape[1]
    turn = float(torch.atan2(sine[1, 1], cosine[1, 1]))
    theta = rounded(turn**-count)
    angles = torch.outer(
        torch.arange(len(cosine)).double(), theta ** -(torch.arange(count) / count)
    )
    if float((angles.cos() - cosine).abs().max()) > ROTARY_ERROR:
        raise AdoptionError("the language model turns its positions in a way unknown here")
    return theta
