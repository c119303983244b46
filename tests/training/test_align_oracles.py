"""Our losses beside those of TRL, on the same models and the same tokens."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from training.align.branches import Branch, Role, Scored, Tree, plant
from training.align.losses import Answers, Compared
from training.align.methods import METHODS
from training.align.train import compared
from training.config import AlignSection

# TRL 1.16 calls names that transformers 5.23 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
BETA = 0.3
PROMPTS = ([5, 6, 7], [8, 9], [10, 11, 12], [13])
CHOSEN = ([20, 21, 22], [23], [24, 25], [26, 27, 28, 29])
REJECTED = ([30], [31, 32, 33], [34, 35], [36, 37])
OTHERS = [*CHOSEN[1:], CHOSEN[0]]


def llama(seed):
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        initializer_range=0.4,
    )  # fmt: skip
    return LlamaForCausalLM(shape)


POLICY, REFERENCE = llama(0), llama(1)


def trees(roles):
    answers = {Role.CHOSEN: CHOSEN, Role.REJECTED: REJECTED, Role.OTHER: OTHERS}
    return [
        Tree(prompt, [Branch(list(answers[role][n]), role) for role in roles])
        for n, prompt in enumerate(PROMPTS)
    ]


@torch.no_grad()
def ours(method, roles, **settings):
    forest = plant(trees(roles))
    found = compared(forest, Scored(POLICY)(forest), Scored(REFERENCE)(forest))
    section = AlignSection(method=method, beta=BETA, batch_size=4, **settings)
    return METHODS[method].loss(found, section).mean().item()


def padded(rows):
    """Prompts with their answers as TRL's collators lay them out, padded on the right."""
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids, mask, completion = (torch.zeros(len(rows), width, dtype=torch.int64) for _ in range(3))
    for row, (prompt, answer) in enumerate(rows):
        whole = [*prompt, *answer]
        ids[row, : len(whole)] = torch.tensor(whole)
        mask[row, : len(whole)] = 1
        completion[row, len(prompt) : len(whole)] = 1
    return {"input_ids": ids, "attention_mask": mask, "completion_mask": completion}


def trainer(kind, config, rows, base_dir, tmp_path, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = config(
            output_dir=str(tmp_path), beta=BETA, bf16=False, use_cpu=True, report_to="none",
            per_device_train_batch_size=4, **settings,
        )  # fmt: skip
        tokenizer = PreTrainedTokenizerFast.from_pretrained(base_dir)
        tokenizer.pad_token = tokenizer.eos_token
        return kind(
            model=POLICY, ref_model=REFERENCE, args=options, processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
        )  # fmt: skip


@torch.no_grad()
def test_dpo(base_dir, tmp_path):
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 4
    theirs = trainer(DPOTrainer, DPOConfig, rows, base_dir, tmp_path)
    both = [*zip(PROMPTS, CHOSEN, strict=True), *zip(PROMPTS, REJECTED, strict=True)]
    wanted = theirs._compute_loss(POLICY, padded(both), False)
    assert ours("dpo", (Role.CHOSEN, Role.REJECTED)) == pytest.approx(wanted.item(), rel=1e-4)


@torch.no_grad()
def test_kto(base_dir, tmp_path):
    rows = [{"prompt": "a", "completion": "b", "label": n % 2 == 0} for n in range(4)]
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.5}
    theirs = trainer(KTOTrainer, KTOConfig, rows, base_dir, tmp_path, **weights)
    both = [*zip(PROMPTS, CHOSEN, strict=True), *zip(PROMPTS, REJECTED, strict=True)]
    others = padded([*zip(PROMPTS, OTHERS, strict=True)] * 2)
    batch = {
        **padded(both),
        **{f"KL_{name}": value for name, value in others.items()},
        "label": torch.tensor([True] * 4 + [False] * 4),
    }
    wanted = theirs._compute_loss(POLICY, batch, False)
    found = ours("kto", tuple(Role), **weights)
    assert found == pytest.approx(wanted.item(), rel=1e-4)


def averaged(values):
    policy = torch.tensor(values, dtype=torch.float64)
    return Answers(policy, torch.zeros_like(policy), torch.ones_like(policy))


MEANS = ([-0.4, -1.3, -2.0], [-0.9, -0.7, -3.1])


def compare(method, **settings):
    chosen, rejected = map(averaged, MEANS)
    found = Compared(chosen, rejected, averaged([0.0]))
    return METHODS[method].loss(found, AlignSection(method=method, beta=BETA, **settings))


def experimental(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "orpo":
            from trl.experimental.orpo import ORPOTrainer

            return ORPOTrainer.odds_ratio_loss
        from trl.experimental.cpo import CPOTrainer

        return CPOTrainer.cpo_loss


def test_orpo():
    chosen, rejected = (torch.tensor(values) for values in MEANS)
    itself = SimpleNamespace(beta=BETA, accelerator=SimpleNamespace(device="cpu"))
    theirs = experimental("orpo")(itself, chosen, rejected)[0]
    torch.testing.assert_close(compare("orpo"), (-chosen - theirs).double(), atol=1e-5, rtol=1e-5)


def test_simpo():
    chosen, rejected = (torch.tensor(values) for values in MEANS)
    itself = SimpleNamespace(
        beta=BETA, simpo_gamma=0.5, loss_type="simpo", label_smoothing=0.0, alpha=0.0,
        accelerator=SimpleNamespace(device="cpu"),
    )  # fmt: skip
    theirs = experimental("simpo")(itself, chosen, rejected)[0]
    found = compare("simpo", target_margin=0.5)
    torch.testing.assert_close(found, theirs.double(), atol=1e-5, rtol=1e-5)
