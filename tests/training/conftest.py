"""A miniature of what training needs: films with reports, a base model, a recipe."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from export.bundle import export_bundle
from export.cli import LICENSE
from export.config import ExportSettings
from training import catalog, config
from training.distractors import discs
from training.stages import Run

NUM_THREADS = torch.get_num_threads()
"""What torch begins with; a command or a backend that a test runs may change it for the process."""
SENTENCES = (
    "The heart is normal in size.",
    "The lungs are clear.",
    "There is a small left pleural effusion.",
    "No pneumothorax is seen.",
)
OVERRIDES = [
    "classifier.backbone=efficientnet_lite0", "classifier.weights=null",
    "classifier.steps=2", "classifier.batch_size=2",
    "tokenizer.channels=16", "tokenizer.channel_mult=[1, 1, 1]", "tokenizer.z_channels=8",
    "tokenizer.num_groups=4", "tokenizer.code_dim=4", "tokenizer.discriminator_channels=4",
    "tokenizer.discriminator_start=2", "tokenizer.steps=4", "tokenizer.batch_size=2",
    "tokenizer.checkpoint_every=2", "tokenizer.feature_sizes=[192, 256]", "tokenizer2=null",
    "base.gguf_file=null",
    "base.keep_layers=[0, 2]",
    "base.max_vocabulary=290", "sft.steps=4", "sft.batch_size=2", "sft.checkpoint_every=2",
    "sft.max_length=900", "sft2.steps=2", "sft2.batch_size=2", "sft2.checkpoint_every=2",
    "sft2.max_length=900", "sft3.steps=2", "sft3.batch_size=2", "sft3.checkpoint_every=2",
    "sft3.max_length=900", "sft4.steps=2", "sft4.batch_size=2", "sft4.checkpoint_every=2",
    "sft4.max_length=900", "sft4.warmup_steps=1",
]  # fmt: skip


PARTS = "sft.parts={lateral: 1, indication: 1, previous_report: 1}"
STUDY = [
    *OVERRIDES, "base.prompt_version=alpaca-study-1", "sft.mixture={report: 1.0}",
    "sft.max_length=1300", "sft2=null", "sft3=null", "sft4=null",
]  # fmt: skip


def write_films(root: Path, count: int = 12) -> Path:
    """Write a folder in the layout of the shared data: manifest and JPEGs, two splits."""
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        name = f"images/film_{index}.jpg"
        Image.fromarray(discs(rng, np.zeros((256, 256), np.uint8))).save(root / name)
        picks = rng.choice(SENTENCES, 2, replace=False)
        rows.append(
            {
                "id": f"film_{index}", "file": name, "source_dataset": "made for this test",
                "license": "none", "patient_id": f"p{index}", "study_id": f"s{index}",
                "split": "val" if index % 3 == 0 else "train",
                "view": "lateral" if index == 1 else "frontal", "findings": " ".join(picks),
                "impression": "No acute disease.", "chexpert": {"Pleural Effusion": index % 2},
                "width": 256, "height": 256, "aspect": "squashed to 256x256",
            }
        )  # fmt: skip
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def write_mixture(root: Path) -> Path:
    """Write a mixture of the tasks that so few films can teach."""
    path = root / "mixture.yaml"
    weights = {"disease-list": 2.0, "findings": 1.0, "impression-from-findings": 1.0}
    path.write_text(json.dumps({"name": "made for this test", "tasks": weights}))
    return path


def write_base_model(root: Path) -> Path:
    """Write a three-layer Llama with a byte-level tokenizer, as `from_pretrained` expects it."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(SENTENCES * 4, trainer)
    PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|im_end|>").save_pretrained(root)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=bare.get_vocab_size(), hidden_size=64, intermediate_size=96,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(root)
    return root


@pytest.fixture(scope="session")
def films_dir(tmp_path_factory):
    return write_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory):
    return write_base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def recipe():
    return config.load("demo", OVERRIDES)


@pytest.fixture(autouse=True)
def same_threads():
    """As many threads for every test: sums are rounded as they are split."""
    torch.set_num_threads(NUM_THREADS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, films_dir, base_dir, recipe):
    """A run with every stage done once."""
    torch.set_num_threads(NUM_THREADS)
    run = Run(recipe, tmp_path_factory.mktemp("run"))
    run.make_catalog(films_dir)
    run.train_classifier()
    run.calibrate()
    run.train_tokenizer()
    run.encode()
    run.make_questions()
    run.make_instructions(str(write_mixture(run.run_dir)))
    run.train_language_model(base_dir)
    run.train_language_model(base_dir, "sft2")
    run.train_language_model(base_dir, "sft3")
    run.train_language_model(base_dir, "sft4")
    return run


def export(run, target):
    """Write the bundle of a run."""
    settings = ExportSettings(run.run_dir, target, LICENSE, max_length=900)
    return export_bundle(settings, np.asarray(run.images), run.frontal("train"))


@pytest.fixture(scope="session")
def bundle_dir(trained, tmp_path_factory):
    """The bundle of that run; tests that write into one take a copy."""
    return export(trained, tmp_path_factory.mktemp("export") / "bundle")


def with_companions(films):
    """Return films of which the lateral one has a frontal companion, which came after another."""
    changes = {
        1: {"study_id": "s2", "patient_id": "p2"},
        2: {"indication": "Cough and fever.", "previous_study_id": "s4"},
        4: {"patient_id": "p2"},
    }
    return [replace(film, **changes.get(row, {})) for row, film in enumerate(films)]


@pytest.fixture(scope="session")
def study_run(trained, base_dir, tmp_path_factory):
    """The miniature run, its language model trained on with parts of studies."""
    run_dir = tmp_path_factory.mktemp("study") / "run"
    shutil.copytree(trained.run_dir, run_dir)
    for stage in ("sft", "sft2", "sft3", "sft4"):
        shutil.rmtree(run_dir / stage)
    films = with_companions(trained.catalog.films)
    catalog.write(catalog.Catalog(films, {}), run_dir / "catalog.parquet")
    run = Run(config.load("demo", [*STUDY, PARTS]), run_dir)
    run.train_language_model(base_dir)
    return run


@pytest.fixture(scope="session")
def study_bundle(study_run, tmp_path_factory):
    return export(study_run, tmp_path_factory.mktemp("export") / "bundle")
