"""A bundle as the first stages of a run, from which the later ones of a recipe go on.

The bundle stands for ``classifier``, ``calibration``, ``tokenizer`` and ``sft``, each finished. It
holds no optimiser state, no discriminator and no running averages of the codebook; those start
fresh.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from engine.bundle import Bundle
from engine.nets.checkpoints import complete
from engine.nets.classifier import FilmClassifier
from engine.nets.load import CALIBRATION, CLASSIFIER, SFT, TOKENIZER, TOKENIZER_FILE, untied
from engine.nets.vqgan import Vqgan
from training import checkpoints, provenance
from training.adopt import networks
from training.adopt.proof import Proof, prove
from training.config import Recipe
from training.discriminator import PatchDiscriminator
from training.errors import AdoptionError

STAGES = (CLASSIFIER, CALIBRATION, TOKENIZER, SFT)
KEPT_BY_CALIBRATION = ("scale", "shift")


@dataclass(frozen=True)
class Adopted:
    """The networks of a bundle, in float32."""

    classifier: FilmClassifier
    tokenizer: Vqgan
    model: Any


def adopt(bundle: Bundle, recipe: Recipe, run_dir: Path) -> Proof:
    """Write the networks of a bundle as the first stages of a run; return how well they agree.

    Raises
    ------
    AdoptionError, CheckpointError
        The run has been begun, the recipe is of other networks, or what was read back does not
        answer as the bundle does.
    """
    refuse_begun(run_dir)
    check_recipe(bundle, recipe)
    adopted = Adopted(
        networks.classifier(bundle, recipe.classifier.backbone),
        networks.tokenizer(bundle, recipe.tokenizer.net()),
        networks.language_model(bundle),
    )
    proof = prove(bundle, adopted.classifier, adopted.tokenizer, adopted.model)
    if not proof.passed:
        raise AdoptionError(f"the networks read back differ from the bundle: {proof}")
    torch.manual_seed(recipe.seed)
    write(bundle, recipe, adopted, run_dir)
    return proof


def refuse_begun(run_dir: Path) -> None:
    """Refuse a run in which a stage has checkpoints."""
    begun = [stage for stage in STAGES if complete(run_dir / stage)]
    if begun:
        raise AdoptionError(
            f"{run_dir} has checkpoints of {', '.join(begun)}", hint="name a fresh run with --run"
        )


def check_recipe(bundle: Bundle, recipe: Recipe) -> None:
    """Refuse a recipe that shows its networks other films, prompts or codes than the bundle's."""
    wanted = {
        "transform": (bundle.transform, recipe.transform.build()),
        "prompt_version": (bundle.prompt_version, recipe.base.prompt_version),
        "quantiser": (bundle.manifest.get("quantiser"), recipe.tokenizer.quantizer),
    }
    for name, (theirs, ours) in wanted.items():
        if theirs != ours:
            raise AdoptionError(
                f"{name}: the bundle has {theirs}, recipe {recipe.name} {ours}",
                hint="change the recipe, or set the value with --set",
            )


def write(bundle: Bundle, recipe: Recipe, adopted: Adopted, run_dir: Path) -> None:
    """Write one finished checkpoint a stage, and where all of it came from."""
    stamp = provenance.stamp(recipe, str(bundle.manifest["data_manifest"]), parent_of(bundle))
    stamp["training_commit"] = bundle.manifest["training_commit"]
    weights = dict(adopted.classifier.state_dict())
    fitted = {name: weights[name].clone() for name in KEPT_BY_CALIBRATION}
    weights |= {
        "scale": torch.ones_like(fitted["scale"]),
        "shift": torch.zeros_like(fitted["shift"]),
    }
    critic = PatchDiscriminator(
        recipe.tokenizer.in_channels, recipe.tokenizer.discriminator_channels
    )
    codec = {"model": dict(adopted.tokenizer.state_dict()), "critic": dict(critic.state_dict())}
    save(run_dir, CLASSIFIER, recipe.classifier.steps, {"model": weights}, stamp)
    save(run_dir, CALIBRATION, 1, {"model": fitted}, {**stamp, "hints": bundle.manifest["hints"]})
    save(run_dir, TOKENIZER, recipe.tokenizer.steps, codec, stamp)
    words = {
        **stamp,
        "vocabulary": bundle.vocabulary.as_json(),
        "architecture": adopted.model.config.to_dict(),
    }
    save(run_dir, SFT, recipe.sft.steps, {"model": untied(adopted.model)}, words)
    spelling = Tokenizer.from_file(str(bundle.path("tokenizer")))
    spelling.save(str(run_dir / SFT / TOKENIZER_FILE))
    text = json.dumps(parent_of(bundle), indent=1) + "\n"
    (run_dir / provenance.PARENT).write_text(text, encoding="utf-8")


def save(
    run_dir: Path,
    stage: str,
    step: int,
    parts: dict[str, dict[str, Tensor]],
    values: dict[str, Any],
) -> None:
    """Write a stage's checkpoint with what a resumed loop looks for beside its weights."""
    checkpoints.save(run_dir / stage, step, {**parts, "random": checkpoints.random_state()}, values)


def parent_of(bundle: Bundle) -> dict[str, Any]:
    """Return what identifies the bundle that a run goes on from, and its terms."""
    names = ("name", "version", "training_commit", "data_manifest", "license")
    return {**{name: bundle.manifest.get(name) for name in names}, "digest": bundle.digest}
