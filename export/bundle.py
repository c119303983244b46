"""Checkpoint to bundle: four graphs, a tokenizer file, a licence and the manifest that names them.

Everything is written into a fresh directory beside the target and renamed at the end, so that a
killed export leaves either the old bundle or the new one.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.bundle import FORMAT, MANIFEST, CacheShape, sha256_of
from engine.nets.checkpoints import newest
from engine.nets.classifier import FilmClassifier
from engine.nets.load import (
    TOKENIZER,
    TOKENIZER2,
    TUNINGS,
    LanguageModel,
    hint_thresholds,
    last_of,
    load_classifier,
    load_language_model,
    load_tokenizer,
)
from engine.nets.vqgan import Vqgan
from engine.study_input import Part, inputs_of
from engine.vocabulary import CODES_PER_IMAGE
from export.config import INTENDED_USE, LICENSE, ExportSettings
from export.kept import NOTHING, Kept
from export.language_model import language_model, save, weights_beside
from export.novelty import FeatureStatistics
from export.onnx import ClassifierHead, DecoderHead, EncoderHead, traced

FILES = {
    "encoder": "encoder.onnx",
    "decoder": "decoder.onnx",
    "language_model": "language_model.onnx",
    "classifier": "classifier.onnx",
    "tokenizer": "tokenizer.json",
    "license": "LICENSE-weights.txt",
}
SIZE = 256


def write_tokenizer_halves(model: Vqgan, directory: Path, kept: Kept = NOTHING) -> None:
    """Trace the halves of the VQ-GAN that are not kept, weights stored in half precision."""
    film = torch.zeros(2, 1, SIZE, SIZE)
    codes = torch.zeros(2, CODES_PER_IMAGE, dtype=torch.int64)
    if not kept.has("encoder"):
        traced(EncoderHead(model), film, directory / FILES["encoder"], half_weights=True)
    traced(DecoderHead(model), codes, directory / FILES["decoder"], half_weights=True)


def write_classifier(
    model: FilmClassifier, images: NDArray[np.uint8], rows: NDArray[np.int64], directory: Path
) -> dict[str, float]:
    """Trace the classifier with what is familiar to it; return the guard's limits."""
    statistics = FeatureStatistics.of(model, images, rows)
    head = ClassifierHead(model, statistics)
    film = torch.zeros(2, 1, SIZE, SIZE)
    traced(head, film, directory / FILES["classifier"], half_weights=True)
    return {"max_novelty": round(statistics.limit, 3)}


def cache_shape(model: LanguageModel, max_length: int) -> CacheShape:
    """Return the static cache that a graph of this model expects."""
    config = model.model.config
    return CacheShape(
        config.num_hidden_layers, config.num_key_value_heads, max_length, config.head_dim
    )


def manifest(
    settings: ExportSettings,
    model: LanguageModel,
    guard: dict[str, float],
    directory: Path,
    kept: Kept = NOTHING,
) -> dict[str, Any]:
    """Return ``bundle.json`` for the files of a directory."""
    stamp = model.values
    recipe = stamp["recipe"]
    return {
        "format": FORMAT,
        "name": settings.name,
        "version": settings.version,
        "base_model": recipe["base"]["model"],
        "recipe": recipe["name"],
        "alignment": stamp.get("alignment"),
        "averaged": stamp.get("averaged"),
        "training_commit": last_trained(settings.run_dir, stamp)["training_commit"],
        "data_manifest": stamp["data_manifest"],
        "parent": stamp.get("parent"),
        "instructions": stamp.get("instructions"),
        "precision": settings.precision,
        "quantiser": recipe["tokenizer"]["quantizer"],
        "transform": recipe["transform"],
        "prompt_version": recipe["base"]["prompt_version"],
        "vocabulary": model.prompts.vocabulary.as_json(),
        "cache": asdict(cache_shape(model, settings.max_length)),
        "drawing": settings.drawing,
        "guard": guard,
        "hints": told(settings.run_dir, recipe),
        **inputs(recipe),
        "license": LICENSE,
        "intended_use": INTENDED_USE,
        "metrics": kept.metrics | measured(settings.run_dir),
        "files": entries(directory),
    }


def last_trained(run_dir: Path, stamp: dict[str, Any]) -> dict[str, Any]:
    """Return the stamp of the language model, or of the tokenizer where that alone was trained."""
    coder = newest(run_dir, last_of(run_dir, TOKENIZER, TOKENIZER2)).values
    return coder if stamp.get("adopted") and not coder.get("adopted") else stamp


def told(run_dir: Path, recipe: dict[str, Any]) -> dict[str, float]:
    """Return the hints' thresholds, if the model has been taught to read hints."""
    thresholds = hint_thresholds(run_dir) if last_stage(recipe)["hints"] else {}
    return {name: round(value, 4) for name, value in thresholds.items()}


def inputs(recipe: dict[str, Any]) -> dict[str, list[str]]:
    """Return the parts of a study that the last stage has taught the model to read, if any."""
    shares = last_stage(recipe).get("parts") or {}
    known = [Part.FRONTAL, *(part for part, share in shares.items() if share)]
    return {"inputs": [str(part) for part in inputs_of(known)]} if len(known) > 1 else {}


def with_room(settings: ExportSettings, recipe: dict[str, Any]) -> ExportSettings:
    """Return settings whose cache holds the rows of a model that reads more than one film."""
    if not inputs(recipe):
        return settings
    longest = int(last_stage(recipe)["max_length"])
    return replace(settings, max_length=max(settings.max_length, longest))


def last_stage(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the last stage of instruction tuning of a recipe."""
    return next(dict(recipe[stage]) for stage in reversed(TUNINGS) if recipe.get(stage))


def entries(directory: Path) -> dict[str, Any]:
    """Return the manifest's lines of a folder, weights that lie beside their graph included."""
    found = {role: entry(directory / name) for role, name in FILES.items()}
    weights = weights_beside(directory / FILES["language_model"])
    return found | ({"language_model_weights": entry(weights)} if weights.is_file() else {})


def entry(path: Path) -> dict[str, Any]:
    """Return a file's line in the manifest."""
    return {"path": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}


def measured(run_dir: Path) -> dict[str, Any]:
    """Return the figures that evaluations of a run have written, by evaluation.

    A figure without an interval has NaN there, which JSON does not know: null in a manifest.
    """
    found = sorted((run_dir / "evaluate").glob("*/metrics.json"))
    return {
        path.parent.name: json.loads(
            path.read_text(encoding="utf-8"), parse_constant=lambda constant: None
        )
        for path in found
    }


def stamp_metrics(run_dir: Path, directory: Path) -> dict[str, Any]:
    """Write a run's figures into the manifest of its bundle; return all that are there.

    Figures that need the bundle come after it, so they are stamped in a step of their own. What the
    run has not measured stays: figures of networks that were taken from a parent.
    """
    values = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    values["metrics"] |= measured(run_dir)
    write_manifest(directory, values)
    return dict(values["metrics"])


def write_manifest(directory: Path, values: dict[str, Any]) -> None:
    """Write ``bundle.json``."""
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def export_bundle(
    settings: ExportSettings, images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> Path:
    """Write the bundle of a run; ``images[rows]`` are the frontal films that define "familiar".

    Returns the bundle's directory.
    """
    model = load_language_model(settings.run_dir, settings.stage)
    settings = with_room(settings, model.values["recipe"])
    run_dir, parent_dir = settings.run_dir, settings.parent_dir
    kept = Kept.of(run_dir, parent_dir, settings.stage) if parent_dir else NOTHING
    target = settings.output_dir
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kept.copy(partial)
    if not kept.has("encoder", "decoder"):
        write_tokenizer_halves(load_tokenizer(run_dir), partial, kept)
    guard = kept.guard
    if not kept.has("classifier"):
        guard = write_classifier(load_classifier(run_dir), images, rows, partial)
    if kept.has("language_model"):
        settings = replace(settings, max_length=kept.max_length)
    else:
        graph = language_model(model.model, settings.max_length, settings.precision)
        save(graph, partial / FILES["language_model"])
    model.prompts.tokenizer.save(str(partial / FILES["tokenizer"]))
    shutil.copyfile(settings.license_path, partial / FILES["license"])
    write_manifest(partial, manifest(settings, model, guard, partial, kept))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target
