"""What carries loss, how much, and the curve that a fixed run must follow."""

import numpy as np
import pytest
import torch

from engine.prompts import PromptBuilder
from tests.training.reports import film
from training import base, config
from training.config import BaseSection
from training.finetune import SftLoop
from training.instructions import RowBuilder
from training.mixture import Mixture, stack
from training.parallel import World
from training.pools import pools
from training.supervised import Supervised, tensors
from training.texts import glossary

TEXTS = ("The heart is normal in size.", "There is a small left pleural effusion.")
QUESTION = ("Is there a pleural effusion?", "Yes, a small one on the left.")
GOLDEN = (7.222132, 7.161887, 7.122671, 7.036295, 6.984344, 6.983615)
"""Losses of the first steps. After a change that is meant to move them, run this file and copy
what the failed assertion shows; say in the commit why they moved."""


@pytest.fixture(scope="module")
def recipe():
    changes = [
        "precision='no'", "sft.mixture={report: 0.3, draw: 0.3, vqa: 0.2, text: 0.2}",
        "sft.steps=6", "sft.batch_size=4", "sft.rows_per_line=2", "sft.max_length=900",
        "sft.warmup_steps=2", "sft.learning_rate=1e-3", "sft.image_token_weight=0.4",
    ]  # fmt: skip
    return config.load("demo", changes)


@pytest.fixture
def start(base_dir):
    torch.manual_seed(0)
    return base.prepare(BaseSection(), base_dir, [], torch.zeros(1024, 4))


@pytest.fixture
def mixture(recipe, start):
    """Four films with codes that no network had to find, so that the curve rests on few parts."""
    films = [film(f"s{number}", TEXTS[number % 2], TEXTS[0]) for number in range(4)]
    codes = np.random.default_rng(0).integers(0, 1024, (4, 256)).astype(np.int16)
    prompts = PromptBuilder(start.tokenizer, start.vocabulary, "alpaca-compact-1")
    questions = {row: [QUESTION] for row in range(4)}
    builder = RowBuilder(prompts, films, codes, recipe.sft, questions, glossary())
    return Mixture(builder, pools(films, recipe.sft, questions), recipe.seed)


def learned(row):
    return [label for label in row.labels if label >= 0]


@pytest.mark.parametrize("task", ["vqa", "text"])
def test_an_answer_is_learned_with_its_end_mark_and_nothing_else(mixture, task):
    builder = mixture.builder
    allowed = {
        "vqa": {QUESTION[1]},
        "text": {TEXTS[0], *(exchange.response for exchange in glossary())},
    }[task]
    for seed in range(20):
        taken = learned(builder.tasks()[task](0, np.random.default_rng(seed)))
        assert taken[-1] == builder.prompts.vocabulary.end_id
        assert builder.prompts.text(taken[:-1]) in allowed


@pytest.mark.parametrize("task", ["report", "draw", "vqa", "text"])
def test_the_response_is_the_row_s_end_and_learned_as_it_stands(mixture, task):
    row = mixture.builder.tasks()[task](1, np.random.default_rng(0))
    taken = learned(row)
    assert row.input_ids[-len(taken) :] == taken
    assert row.labels[: -len(taken)] == [-100] * (len(row) - len(taken))
    before = mixture.builder.prompts.text(row.input_ids[: -len(taken)])
    assert before.endswith("### Response:")


def test_of_a_drawing_256_codes_count_less_and_three_marks_in_full(mixture, start):
    row = mixture.builder.draw(0, np.random.default_rng(0))
    net = Supervised(start.model, start.vocabulary, image_weight=0.4)
    _, labels, _ = tensors(stack([[row, row]]), torch.device("cpu"))
    assert net.weight_of(labels).item() == pytest.approx(2 * (256 * 0.4 + 3))


def test_the_loss_is_that_of_the_response_given_its_prompt(mixture, start):
    row = mixture.builder.question(0, np.random.default_rng(0))
    net = Supervised(start.model, start.vocabulary, image_weight=1.0)
    ids, labels, _ = tensors(stack([[row]]), torch.device("cpu"))
    logits = start.model(ids).logits.detach()
    taken = learned(row)
    first = len(row) - len(taken)
    rows = logits[0, first - 1 : len(row) - 1]
    wanted = torch.nn.functional.cross_entropy(rows, torch.tensor(taken), reduction="sum")
    torch.testing.assert_close(net(ids, labels, None), wanted)


def test_the_loss_follows_its_golden_curve(recipe, start, mixture):
    fit = SftLoop(recipe, start, mixture, World())
    found = [round(fit.step(step)["loss"], 6) for step in range(recipe.sft.steps)]
    assert found == pytest.approx(GOLDEN, abs=1e-4)
