"""What tuning cost the model of its plain English: loss on text-only instructions, beside the base.

Two models with different vocabularies are compared by nats a character of the response, each with
its own tokenizer and the same prompt. The shipped set is two dozen everyday questions that no stage
trains on; ``--texts`` names another of the same format.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from engine.nets.load import load_language_model
from engine.prompts import PromptBuilder
from training.base import find_vocabulary, load_pretrained
from training.evaluate.bootstrap import Figure, bootstrap, mean_figure
from training.evaluate.figure_table import store
from training.stages import Run
from training.texts import Exchange, read

SHIPPED = Path(__file__).parent / "retained.jsonl"


@torch.no_grad()
def loss_a_character(model: Any, prompts: PromptBuilder, exchange: Exchange) -> float:
    """Return the negative log-likelihood [nats a character] of a response given its prompt."""
    prompt = prompts.about_text(exchange.instruction, exchange.context)
    response = prompts.text_ids(exchange.response)
    ids = torch.tensor([[*prompt, *response]])
    chances = torch.log_softmax(model(ids).logits[0, len(prompt) - 1 : -1].float(), -1)
    taken = chances.gather(1, torch.tensor(response)[:, None])
    return -float(taken.sum()) / len(exchange.response)


def losses(model: Any, prompts: PromptBuilder, exchanges: Sequence[Exchange]) -> list[float]:
    """Return the loss of every exchange."""
    return [loss_a_character(model, prompts, exchange) for exchange in exchanges]


def base_prompts(tokenizer: Tokenizer, version: str) -> PromptBuilder:
    """Return prompts for the base model, before any image code was added to it."""
    num_text = tokenizer.get_vocab_size(with_added_tokens=True)
    return PromptBuilder(tokenizer, find_vocabulary(tokenizer, num_text), version)


def evaluate_retention(
    run: Run, base_dir: Path | None, texts: Path | None, stage: str | None = None
) -> dict[str, Figure]:
    """Compare a tuned model of a run with its base; ratio 1.1 means ten percent lost."""
    exchanges = read(texts or SHIPPED)
    tuned = load_language_model(run.run_dir, stage)
    plain, tokenizer = load_pretrained(run.recipe.base, base_dir)
    prompts = base_prompts(tokenizer, run.recipe.base.prompt_version)
    ours = np.asarray(losses(tuned.model, tuned.prompts, exchanges))
    theirs = np.asarray(losses(plain.eval(), prompts, exchanges))
    figures = {
        "tuned [nats a character]": mean_figure(ours),
        "base [nats a character]": mean_figure(theirs),
        "tuned / base": bootstrap(
            len(ours), lambda picks: float(ours[picks].mean() / theirs[picks].mean())
        ),
    }
    output = run.run_dir / "evaluate" / "retention"
    output.mkdir(parents=True, exist_ok=True)
    rows = [
        {"instruction": exchange.instruction, "tuned": float(a), "base": float(b)}
        for exchange, a, b in zip(exchanges, ours, theirs, strict=True)
    ]
    (output / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store(figures, output)
    return figures
