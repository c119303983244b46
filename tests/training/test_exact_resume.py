"""A GPT-NeoX model with a head of its own resumes exactly."""

import shutil

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from engine.nets.checkpoints import newest
from engine.nets.load import load_language_model
from tests.training.test_resume import copy_without, kill_at_first_checkpoint

HEAD = "lm_head.weight"


def neox(vocab_size=96):
    torch.manual_seed(0)
    shape = GPTNeoXConfig(
        vocab_size=vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=2, max_position_embeddings=1024, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPTNeoXForCausalLM(shape)


@pytest.fixture(scope="module")
def neox_dir(base_dir, tmp_path_factory):
    """The miniature base model's tokenizer with a GPT-NeoX."""
    target = tmp_path_factory.mktemp("base") / "neox"
    shutil.copytree(base_dir, target, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    neox(vocab_size=320).save_pretrained(target)
    return target


def test_our_loop_resumes_a_head_of_its_own_bit_for_bit(trained, neox_dir, tmp_path, monkeypatch):
    whole, killed = (copy_without("sft", trained, tmp_path / name) for name in ("whole", "killed"))
    whole.train_language_model(neox_dir)
    kill_at_first_checkpoint(monkeypatch, lambda: killed.train_language_model(neox_dir))
    torch.manual_seed(99)
    killed.train_language_model(neox_dir)
    wanted, found = (newest(run.run_dir, "sft") for run in (whole, killed))
    assert wanted.tensors.keys() == found.tensors.keys()
    assert all(torch.equal(found.tensors[name], t) for name, t in wanted.tensors.items())
    head = wanted.part("model")[HEAD]
    start = whole.start_model("sft", neox_dir).model.state_dict()[HEAD]
    assert not torch.equal(head, start), "an untrained head proves nothing"
    assert torch.equal(load_language_model(killed.run_dir, "sft").model.state_dict()[HEAD], head)
