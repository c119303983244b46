"""However a step is divided, it is the same step."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

from engine.nets.checkpoints import newest
from engine.nets.load import load_language_model
from training.stages import Run

STEPS = 2


def tune(trained, base_dir, target, *overrides, processes=1):
    """Run stage one anew through the command line, as users do; return its checkpoint."""
    if not target.exists():
        shutil.copytree(trained.run_dir, target)
        shutil.rmtree(target / "sft")
    launcher = [
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={processes}",
        "--standalone",
        "-m",
        "--",
    ]
    recipe = target.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(trained.recipe.model_dump(mode="json")))
    settings = [f"sft.steps={STEPS}", "sft.batch_size=4", *overrides]
    command = [
        sys.executable, *(launcher if processes > 1 else ["-m"]), "training", "sft",
        "--recipe", str(recipe), "--run", str(target), "--base", str(base_dir), "--threads", "1",
        *(part for setting in settings for part in ("--set", setting)),
    ]  # fmt: skip
    quiet = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    return newest(target, "sft")


def assert_same_weights(found, wanted, atol):
    ours, theirs = found.part("model"), wanted.part("model")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=atol, rtol=0, msg=name)


@pytest.mark.parametrize("override", ["sft.accumulation=2", "sft.accumulation=4"])
def test_batch_size_and_accumulation_trade(trained, base_dir, tmp_path, override):
    parted = tune(trained, base_dir, tmp_path / "run", override, "precision='no'")
    wanted = tune(trained, base_dir, tmp_path / "whole", "precision='no'")
    assert_same_weights(parted, wanted, atol=2e-5)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_take_the_step_of_one(trained, base_dir, tmp_path, parallel):
    options = ("precision='no'", f"sft.parallel={parallel}")
    two = tune(trained, base_dir, tmp_path / "two", *options, processes=2)
    one = tune(trained, base_dir, tmp_path / "one", *options)
    assert_same_weights(two, one, atol=2e-5)
    assert two.part("optimizer").keys() == one.part("optimizer").keys()


def test_a_sharded_run_goes_on_exactly_and_on_one_process_too(trained, base_dir, tmp_path):
    options = ("precision='no'", "sft.parallel=fsdp", "sft.checkpoint_every=1")
    wanted = tune(trained, base_dir, tmp_path / "whole", *options, processes=2)
    for processes, atol in ((2, 0.0), (1, 2e-5)):
        target = tmp_path / f"resumed_{processes}"
        shutil.copytree(tmp_path / "whole", target)
        shutil.rmtree(target / "sft" / "checkpoints" / f"step-{STEPS:08d}")
        found = tune(trained, base_dir, target, *options, processes=processes)
        assert_same_weights(found, wanted, atol)


def test_adapters_resume_and_fold_into_a_plain_model(trained, base_dir, tmp_path):
    options = ("precision='no'", "sft.lora.rank=4", "sft.checkpoint_every=1")
    wanted = tune(trained, base_dir, tmp_path / "run", *options)
    shutil.rmtree(tmp_path / "run" / "sft" / "checkpoints" / f"step-{STEPS:08d}")
    resumed = tune(trained, base_dir, tmp_path / "run", *options)
    assert_same_weights(resumed, wanted, atol=0.0)
    plain = load_language_model(tmp_path / "run", "sft").model
    assert not any("lora" in name for name, _ in plain.named_parameters())
    start = Run(trained.recipe, trained.run_dir).start_model("sft", base_dir).model
    moved = plain.model.layers[0].self_attn.q_proj.weight
    assert not torch.equal(moved, start.model.layers[0].self_attn.q_proj.weight)
    table = plain.get_input_embeddings().weight
    assert not torch.equal(table, start.get_input_embeddings().weight)


def test_activation_checkpointing_changes_nothing(trained, base_dir, tmp_path):
    options = ("precision='no'", "sft.activation_checkpointing=true")
    checked = tune(trained, base_dir, tmp_path / "run", *options)
    plain = tune(trained, base_dir, tmp_path / "plain", "precision='no'")
    assert_same_weights(checked, plain, atol=1e-6)
