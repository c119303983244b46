"""Published LLM-CXR checkpoints as a bundle: a taming VQ-GAN and a GPT-NeoX with image rows.

The two come apart: a Lightning checkpoint with taming-transformers' names, and a Hugging Face
folder whose embedding table holds the tokenizer's tokens and then 1,024 image codes (arXiv
2305.11490, section 3.2; 50,281 + 1,024 rows). Neither has a guard, so that of another bundle is
taken: it decides what is a frontal film, but its figures and its novelty limit were measured on
other renderings, so no finding counts as proven and no film as unfamiliar.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from engine.bundle import FORMAT, open_bundle
from engine.nets.checkpoints import take_up
from engine.nets.inert import tensors_in, unpickled
from engine.nets.vqgan import Vqgan, VqganConfig
from engine.pixels import Transform
from engine.vocabulary import NUM_CODES, Vocabulary
from export.bundle import FILES, entries, write_manifest, write_tokenizer_halves
from export.config import INTENDED_USE
from export.errors import ExportError
from export.graph import Precision
from export.language_model import language_model, save

PROMPT_VERSION: Final = "alpaca-1"
END: Final = "### End"
TRANSFORM: Final = Transform(resize="centre_crop", clip_percentile=0.0, equalise=True)
"""Short side to 256, centre crop, histogram equalised: what the training films had been through."""
DRAWING: Final = {"temperature": 1.0, "top_p": 1.0, "guidance": 1.0}


@dataclass(frozen=True)
class PublishedSettings:
    """Where the parts of a published model lie, and what the bundle is called."""

    model_dir: Path
    tokenizer_path: Path
    """The VQ-GAN's checkpoint."""
    guard_dir: Path
    """A bundle whose classifier looks at films first."""
    license_path: Path
    output_dir: Path
    name: str
    version: str
    precision: Precision = "int8"
    max_length: int = 1024


def import_llm_cxr(settings: PublishedSettings) -> Path:
    """Write a bundle of a published model; return its directory.

    Raises
    ------
    ExportError
        A part is missing, or is not of the published form.
    CheckpointError
        The VQ-GAN's file cannot be read, or its tensors have other shapes.
    """
    words = read_words(settings.model_dir)
    model = read_model(settings.model_dir)
    vocabulary = vocabulary_of(words, len(model.get_input_embeddings().weight))
    target = settings.output_dir
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_tokenizer_halves(read_vqgan(settings.tokenizer_path), partial)
    save(
        language_model(model, settings.max_length, settings.precision),
        partial / FILES["language_model"],
    )
    words.save(str(partial / FILES["tokenizer"]))
    guard = open_bundle(settings.guard_dir)
    shutil.copyfile(guard.path("classifier"), partial / FILES["classifier"])
    shutil.copyfile(settings.license_path, partial / FILES["license"])
    write_manifest(partial, _manifest(settings, model, vocabulary, partial))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target


def read_words(directory: Path) -> Tokenizer:
    """Return the tokenizer of a published model."""
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise ExportError(
            f"no tokenizer.json in {directory}",
            hint="save the model's fast tokenizer there: AutoTokenizer(...).save_pretrained",
        )
    return Tokenizer.from_file(str(path))


def read_model(directory: Path) -> Any:
    """Return the language model of a folder, nothing fetched and nothing in it executed."""
    try:
        return AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        ).eval()
    except (OSError, ValueError) as fault:
        raise ExportError(f"no language model in {directory}: {type(fault).__name__}") from fault


def read_vqgan(path: Path) -> Vqgan:
    """Return the VQ-GAN of a taming checkpoint; its losses' networks are left out."""
    weights = tensors_in(unpickled(path))
    kept = {key: value for key, value in weights.items() if not key.startswith("loss.")}
    if "quantize.embedding.weight" not in kept:
        raise ExportError(f"{path.name} holds no VQ-GAN of taming-transformers")
    made = Vqgan(VqganConfig(in_channels=3, legacy_beta=True))
    take_up(made, kept)
    return made.eval()


def vocabulary_of(words: Tokenizer, num_rows: int) -> Vocabulary:
    """Return where words end and codes begin.

    Raises
    ------
    ExportError
        The table has not just the tokenizer's tokens and the image codes, or a mark is missing.
    """
    num_text = num_rows - NUM_CODES
    if num_text != words.get_vocab_size():
        raise ExportError(
            f"the table has {num_rows} rows: the tokenizer's {words.get_vocab_size()} tokens and "
            f"{NUM_CODES} image codes would be {words.get_vocab_size() + NUM_CODES}",
            hint="is this the tokenizer that the model was trained with",
        )
    return Vocabulary(num_text, *(_mark(words, mark) for mark in (END, "<", ">")))


def _mark(words: Tokenizer, mark: str) -> int:
    number = words.token_to_id(mark)
    if number is None:
        raise ExportError(f"the tokenizer has no token for {mark}")
    return int(number)


def _manifest(
    settings: PublishedSettings,
    model: Any,
    vocabulary: Vocabulary,
    directory: Path,
) -> dict[str, Any]:
    """Return ``bundle.json``; what nobody measured is not in it."""
    config = model.config
    return {
        "format": FORMAT,
        "name": settings.name,
        "version": settings.version,
        "base_model": str(config.model_type),
        "recipe": "llm-cxr, published",
        "precision": settings.precision,
        "quantiser": "vq",
        "transform": TRANSFORM.as_json(),
        "prompt_version": PROMPT_VERSION,
        "vocabulary": vocabulary.as_json(),
        "cache": {
            "num_layers": config.num_hidden_layers,
            "num_kv_heads": config.num_attention_heads,
            "max_length": settings.max_length,
            "head_dim": config.hidden_size // config.num_attention_heads,
        },
        "drawing": DRAWING,
        "guard": {},
        "hints": {},
        "license": f"see {FILES['license']}",
        "intended_use": INTENDED_USE,
        "metrics": {},
        "files": entries(directory),
    }
