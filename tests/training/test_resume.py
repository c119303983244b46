"""A run that was killed and started again is the uninterrupted run, bit for bit."""

import shutil

import pytest
import torch

from engine.nets.checkpoints import complete, newest, read
from training import loop
from training.stages import Run

STAGES = ("classifier", "tokenizer", "sft")


class Killed(BaseException):
    """Stands for the signal that no handler sees."""


def rerun(stage: str, run: Run, base_dir) -> None:
    """Start one stage of a run again."""
    calls = {
        "classifier": run.train_classifier,
        "tokenizer": run.train_tokenizer,
        "sft": lambda: run.train_language_model(base_dir),
    }
    calls[stage]()


def kill_at_first_checkpoint(monkeypatch, train) -> None:
    """Run a stage until it has written one checkpoint."""
    save = loop.checkpoints.save

    def save_then_die(*arguments, **options):
        save(*arguments, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop.checkpoints, "save", save_then_die)
        with pytest.raises(Killed):
            train()


def copy_without(stage: str, trained: Run, target) -> Run:
    """Copy a run, one stage cut back to nothing."""
    shutil.copytree(trained.run_dir, target, dirs_exist_ok=True)
    shutil.rmtree(target / stage)
    return Run(trained.recipe, target)


@pytest.mark.parametrize("stage", ["tokenizer", "sft"])
def test_a_killed_stage_ends_exactly_as_an_uninterrupted_one(
    stage, trained, base_dir, tmp_path, monkeypatch
):
    run = copy_without(stage, trained, tmp_path / "run")
    kill_at_first_checkpoint(monkeypatch, lambda: rerun(stage, run, base_dir))
    torch.manual_seed(99)
    rerun(stage, run, base_dir)
    wanted, found = newest(trained.run_dir, stage), newest(run.run_dir, stage)
    assert found.step == wanted.step
    assert found.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        assert torch.equal(found.tensors[name], tensor), name


@pytest.mark.parametrize("stage", STAGES)
def test_the_log_of_a_finished_stage_has_one_line_a_step(stage, trained):
    lines = (trained.run_dir / stage / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == newest(trained.run_dir, stage).step


def test_a_torn_checkpoint_is_never_seen(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained.run_dir / "sft", run)
    torn = run / "checkpoints" / "step-00000009.partial"
    torn.mkdir()
    (torn / "state.safetensors").write_bytes(b"half")
    assert complete(run)[-1].name == "step-00000004"


def test_a_checkpoint_says_which_code_data_and_recipe_made_it(trained):
    values = newest(trained.run_dir, "sft").values
    assert values["data_manifest"] == trained.catalog.digest()
    assert values["recipe"]["name"] == "demo"
    assert values["training_commit"]


def test_an_incomplete_directory_is_refused_with_its_path(tmp_path):
    with pytest.raises(Exception, match=str(tmp_path)):
        read(tmp_path)
