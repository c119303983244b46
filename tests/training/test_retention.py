import json

import pytest
import torch

from engine.nets.load import load_language_model
from training.base import load_pretrained
from training.errors import TrainingError
from training.evaluate.retention import (
    SHIPPED,
    base_prompts,
    evaluate_retention,
    loss_a_character,
)
from training.texts import Exchange, read


def test_tuned_and_base_are_compared_on_every_exchange(trained, base_dir):
    figures = evaluate_retention(trained, base_dir, None)
    exchanges = read(SHIPPED)
    assert figures["tuned / base"].count == len(exchanges) > 20
    ratio = figures["tuned [nats a character]"].value / figures["base [nats a character]"].value
    assert figures["tuned / base"].value == pytest.approx(ratio)
    lines = (trained.run_dir / "evaluate/retention/predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["instruction"] for line in lines] == [e.instruction for e in exchanges]


def test_a_model_that_spreads_its_chances_evenly_loses_the_log_of_its_vocabulary(trained, base_dir):
    plain, tokenizer = load_pretrained(trained.recipe.base, base_dir)
    prompts = base_prompts(tokenizer, trained.recipe.base.prompt_version)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    exchange = Exchange(instruction="Say something.", response="The lungs are clear.")
    num_tokens = len(prompts.text_ids(exchange.response))
    wanted = num_tokens * torch.tensor(float(plain.config.vocab_size)).log() / 20
    assert loss_a_character(plain, prompts, exchange) == pytest.approx(float(wanted), rel=1e-5)


def test_no_stage_trains_on_what_is_asked(trained):
    prompts = load_language_model(trained.run_dir).prompts
    shown = {text.instruction for text in trained.mixture("sft", prompts).builder.texts}
    assert not shown & {exchange.instruction for exchange in read(SHIPPED)}


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"instruction": "a", "response": "b"}\n{"instruction": 3}\n')
    with pytest.raises(TrainingError, match="line 2"):
        read(path)
