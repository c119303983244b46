"""The mean of models: exact, named in checkpoint and bundle, refused where there is none."""

import json
import shutil

import pytest
import torch

from engine.nets.checkpoints import VALUES, newest
from engine.nets.load import AVERAGE, TOKENIZER_FILE, load_language_model
from engine.pipeline import Engine
from tests.training.conftest import export
from training import checkpoints, cli
from training.average import Member, average
from training.errors import TrainingError
from training.stages import Run


@pytest.fixture
def run(trained, tmp_path):
    """A run of its own, and beside it another one whose weights went on."""
    for name in ("run", "other"):
        shutil.copytree(trained.run_dir, tmp_path / name)
    other, found = tmp_path / "other" / "sft", newest(tmp_path / "other", "sft")
    weights = {name: value + 1 for name, value in found.part("model").items()}
    checkpoints.save(other, found.step + 2, {"model": weights}, found.values, keep=1)
    return Run(trained.recipe, tmp_path / "run")


def members(run, *shares):
    dirs = (run.run_dir, run.run_dir.parent / "other")
    return [Member(path, "sft", share) for path, share in zip(dirs, shares, strict=True)]


def test_a_mean_lies_where_its_shares_say_and_is_the_last_model(run):
    start = newest(run.run_dir, "sft").part("model")
    average(run, members(run, 3, 1))
    found = newest(run.run_dir, AVERAGE)
    mean = found.part("model")
    assert mean.keys() == start.keys()
    for name, value in start.items():
        torch.testing.assert_close(mean[name], value + 0.25)
    loaded = load_language_model(run.run_dir)
    assert [one["share"] for one in loaded.values["averaged"]] == [0.75, 0.25]
    assert found.step == newest(run.run_dir.parent / "other", "sft").step


def test_a_bundle_of_a_mean_names_its_members_and_answers(run, tmp_path):
    average(run, members(run, 1, 1))
    bundle = Engine.load(export(run, tmp_path / "bundle"), num_threads=1).bundle
    told = bundle.manifest["averaged"]
    assert [(one["stage"], one["share"]) for one in told] == [("sft", 0.5), ("sft", 0.5)]
    assert told[0]["settings"]["steps"] == run.recipe.sft.steps
    assert str(run.run_dir) not in json.dumps(bundle.manifest)


def test_the_command_says_what_it_wrote_or_why_not(run, recipe, tmp_path, capsys):
    own, other = (f"{path.run_dir}/sft" for path in members(run, 1, 1))
    call = ["average", "--recipe", str(tmp_path / "recipe.yaml"), "--run", str(run.run_dir)]
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe.model_dump(mode="json")))
    assert cli.main([*call, "--of", f"{own}=1", "--of", f"{other}=1"]) == 0
    assert AVERAGE in capsys.readouterr().out
    for wrong in (["--of", f"{own}=1"], ["--of", own, "--of", other], ["--of", f"{own}=-1"] * 2):
        assert cli.main([*call, *wrong]) == 1
        assert "hint: " in capsys.readouterr().err


@pytest.mark.parametrize("what", ["vocabulary", "architecture", "data_manifest", "tokenizer"])
def test_models_that_differ_in_more_than_their_weights_are_refused(run, what):
    stage = run.run_dir.parent / "other" / "sft"
    if what == "tokenizer":
        (stage / TOKENIZER_FILE).write_text("{}")
    else:
        (path,) = stage.glob(f"checkpoints/step-*/{VALUES}")
        path.write_text(json.dumps(json.loads(path.read_text()) | {what: "another"}))
    with pytest.raises(TrainingError, match=what):
        average(run, members(run, 1, 1))
