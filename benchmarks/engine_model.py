"""The model that runtimes are compared on: SmolLM2-135M with the rows of an image vocabulary.

Written once in every format: transformers' folder, a bundle's graph, llama.cpp's Q8_0 file. The
rows that are new are the mean of the old ones, so that every runtime reads the very same weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from export.language_model import language_model, save
from training.base import plain

NUM_NEW = 1026
MAX_LENGTH = 640


@dataclass(frozen=True)
class ModelFiles:
    """One model, as each runtime wants it."""

    folder: Path

    @property
    def transformers(self) -> Path:
        """A folder that transformers loads, in float32."""
        return self.folder / "hf"

    @property
    def graph(self) -> Path:
        """The graph of a bundle, int8."""
        return self.folder / "language_model.onnx"

    @property
    def gguf(self) -> Path:
        """llama.cpp's file, Q8_0."""
        return self.folder / "model-Q8_0.gguf"

    @property
    def genai(self) -> Path:
        """A folder of onnxruntime-genai, int8 in blocks of 128."""
        return self.folder / "genai"

    @property
    def num_text(self) -> int:
        """Rows of words."""
        return int(json.loads((self.folder / "sizes.json").read_text())["num_text"])


def make(base_dir: Path, folder: Path) -> ModelFiles:
    """Write the model in every format that is not there yet."""
    files = ModelFiles(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (source,) = base_dir.glob("*.gguf")
    if not files.transformers.is_dir():
        _write_transformers(source, files)
    if not files.graph.is_file():
        model = AutoModelForCausalLM.from_pretrained(files.transformers, dtype=torch.float32)
        save(language_model(model, MAX_LENGTH, "int8"), files.graph)
    if not files.gguf.is_file():
        _write_gguf(source, files.gguf)
    return files


def _write_transformers(source: Path, files: ModelFiles) -> None:
    options = {"gguf_file": source.name}
    loaded = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **options)
    model = plain(loaded)
    table = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(len(table) + NUM_NEW, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[len(table) :] = table.mean(0)
    model.save_pretrained(files.transformers)
    AutoTokenizer.from_pretrained(source.parent, **options).save_pretrained(files.transformers)
    (files.folder / "sizes.json").write_text(json.dumps({"num_text": len(table)}))


def _write_gguf(source: Path, target: Path) -> None:
    """Copy a GGUF file with its weights as Q8_0 and more rows of vocabulary."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    _copy_fields(reader, writer)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name == "token_embd.weight":
            values = np.concatenate([values, np.tile(values.mean(0), (NUM_NEW, 1))])
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
            continue
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_LONGER = {
    "tokenizer.ggml.tokens": lambda index: f"<img_{index}>",
    "tokenizer.ggml.token_type": lambda index: int(gguf.TokenType.UNUSED),
    "tokenizer.ggml.scores": lambda index: 0.0,
}


def _copy_fields(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        value = field.contents()
        if name in _LONGER:
            value = [*value, *(_LONGER[name](index) for index in range(NUM_NEW))]
        if name == "llama.vocab_size":
            value += NUM_NEW
        kinds = field.types
        inner = kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, kinds[0], sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
