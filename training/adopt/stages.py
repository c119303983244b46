"""A bundle as the first stages of a run, from which the later ones of a recipe go on.

The bundle stands for ``classifier``, ``calibration``, ``tokenizer`` and every stage of instruction
tuning but the recipe's last, each finished; the language model is the last of these. It
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
from engine.nets.load import (
    CALIBRATION,
    CLASSIFIER,
    TOKENIZER,
    TOKENIZER_FILE,
    TUNINGS,
    untied,
)
from engine.nets.vqgan import Vqgan
from training import checkpoints, provenance
from training.adopt import networks
from training.adopt.proof import Proof, prove
from training.config import Recipe
from training.discriminator import PatchDiscriminator
from training.errors import AdoptionError

STAGES = (CLASSIFIER, CALIBRATION, TOKENIZER, *TUNINGS)
Parts = dict[str, dict[str, Tensor]]


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


def tuned_stage(recipe: Recipe) -> str:
    """Return the stage of tuning that a bundle finishes: the one before the recipe's last."""
    asked = [stage for stage in TUNINGS if getattr(recipe, stage) is not None]
    return asked[-2] if len(asked) > 1 else asked[0]


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
    stamp |= {"training_commit": bundle.manifest["training_commit"], "adopted": bundle.digest}
    tuned = tuned_stage(recipe)
    told = {
        CALIBRATION: {"hints": bundle.manifest.get("hints", {})},
        tuned: {
            "vocabulary": bundle.vocabulary.as_json(),
            "architecture": adopted.model.config.to_dict(),
        },
    }
    steps = {
        CLASSIFIER: recipe.classifier.steps,
        CALIBRATION: 1,
        TOKENIZER: recipe.tokenizer.steps,
        tuned: getattr(recipe, tuned).steps,
    }
    for stage, parts in parts_of(adopted, recipe).items():
        parts["random"] = checkpoints.random_state()
        values = {**stamp, **told.get(stage, {})}
        checkpoints.save(run_dir / stage, steps[stage], parts, values)
    spelling = Tokenizer.from_file(str(bundle.path("tokenizer")))
    spelling.save(str(run_dir / tuned / TOKENIZER_FILE))
    text = json.dumps(parent_of(bundle), indent=1) + "\n"
    (run_dir / provenance.PARENT).write_text(text, encoding="utf-8")


def parts_of(adopted: Adopted, recipe: Recipe) -> dict[str, Parts]:
    """Return what the checkpoint of each stage holds, the calibration in one of its own."""
    weights = dict(adopted.classifier.state_dict())
    fitted = {name: weights[name].clone() for name in ("scale", "shift")}
    weights |= {"scale": torch.ones_like(fitted["scale"])}
    weights |= {"shift": torch.zeros_like(fitted["shift"])}
    settings = recipe.tokenizer
    critic = PatchDiscriminator(settings.in_channels, settings.discriminator_channels)
    codec = dict(adopted.tokenizer.state_dict())
    return {
        CLASSIFIER: {"model": weights},
        CALIBRATION: {"model": fitted},
        TOKENIZER: {"model": codec, "critic": dict(critic.state_dict())},
        tuned_stage(recipe): {"model": untied(adopted.model)},
    }


def parent_of(bundle: Bundle) -> dict[str, Any]:
    """Return what identifies the bundle that a run goes on from, and its terms."""
    names = ("name", "version", "training_commit", "data_manifest", "license")
    return {**{name: bundle.manifest.get(name) for name in names}, "digest": bundle.digest}
