"""The language model as a graph, whichever family it is of, and as a file of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import onnx

from export.errors import ExportError
from export.graph import PROTOBUF_LIMIT, GraphWriter, Precision, stored_bytes
from export.neox import NeoxShape, NeoxWriter
from export.onnx import LlamaShape, LlamaWriter

FAMILIES: Final[dict[str, tuple[type[LlamaShape], type[LlamaWriter]]]] = {
    "llama": (LlamaShape, LlamaWriter),
    "gpt_neox": (NeoxShape, NeoxWriter),
}


def language_model(model: Any, max_length: int, precision: Precision) -> onnx.ModelProto:
    """Return the static-cache graph of a model of a known family.

    Raises
    ------
    ExportError
        The family is not known.
    """
    kind = str(model.config.model_type)
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ExportError(f"cannot export a {kind} language model", hint=f"known: {known}")
    shape, writer = FAMILIES[kind]
    weights = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    made = writer(GraphWriter(precision), shape.from_config(model.config, max_length), weights)
    made.write()
    return made.graph.model("language_model")


def weights_beside(path: Path) -> Path:
    """Return the file that holds a graph's weights, where one file is too small for both."""
    return path.with_suffix(".weights")


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph, its weights beside it where one file is too small for both."""
    if stored_bytes(model) < PROTOBUF_LIMIT:
        onnx.save(model, path)
        return
    location = weights_beside(path).name
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=1024)
