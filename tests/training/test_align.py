"""Preference tuning of a miniature run: every method learns, resumes exactly and is exported."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from engine.nets.checkpoints import VALUES, complete, newest
from engine.nets.load import TUNINGS, last_of, load_language_model
from engine.pipeline import Engine
from export.bundle import export_bundle
from export.cli import LICENSE
from export.config import ExportSettings
from tests.training.test_resume import kill_at_first_checkpoint
from training import cli
from training.align import train
from training.align.methods import METHODS
from training.align.plots import read_journey
from training.align.reference import digest_of
from training.align.stage import Alignment
from training.config import AlignSection, changed
from training.errors import PreferenceError, RecipeError
from training.preferences import table
from training.preferences.pairs import Pair, Preferences, halves
from training.stages import Run

GOOD, BAD = "Findings: The lungs are clear.", "Findings: There is a small left pleural effusion."
SETTINGS = {
    "batch_size": 4, "epochs": 2, "learning_rate": 1e-3, "checkpoint_every": 2, "watch": 2,
    "max_length": 900,
}  # fmt: skip


def pair_of(film, **changes):
    pair = Pair(
        film.image_id, film.study_id, film.patient_id, "Report.", "", GOOD, GOOD, BAD, 1.0, 0.0,
        "finding-error",
    )  # fmt: skip
    return replace(pair, **changes)


@pytest.fixture(scope="module")
def preferences(trained, tmp_path_factory):
    """Every training film prefers clear lungs."""
    films = [film for film in trained.catalog.films if film.split == "train"]
    pairs = [pair_of(film) for film in films]
    singles = [single for pair in pairs for single in halves(pair)]
    folder = tmp_path_factory.mktemp("preferences")
    table.write(Preferences(pairs, singles), {}, folder)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained.run_dir, tmp_path / "run")
    return Run(trained.recipe, tmp_path / "run")


def alignment(run, preferences, method, **settings):
    recipe = changed(run.recipe, align={**SETTINGS, "method": method, **settings})
    return Alignment(Run(recipe, run.run_dir), preferences, method)


def log_of(run, method):
    lines = (run.run_dir / "align" / method / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@torch.no_grad()
def preference_of(model, run, row):
    """How much likelier the good report is than the bad one, after the film in a row."""
    prompts, scores = model.prompts, []
    codes = trained_codes(run)[row].tolist()
    prompt = prompts.about_image("Report.", codes)
    for text in (GOOD, BAD):
        answer = [*prompts.text_ids(text), prompts.vocabulary.end_id]
        chances = model.model(torch.tensor([[*prompt, *answer]])).logits.log_softmax(-1)
        taken = chances[0, len(prompt) - 1 : -1].gather(1, torch.tensor(answer)[:, None])
        scores.append(taken.sum().item())
    return scores[0] - scores[1]


def trained_codes(run):
    from training import encode_images

    return encode_images.read(run.run_dir / "codes.npy", len(run.catalog.films))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_comes_to_prefer_what_is_preferred(method, run, preferences):
    before = preference_of(load_language_model(run.run_dir), run, 2)
    alignment(run, preferences, method, epochs=3).learn()
    after = preference_of(load_language_model(run.run_dir, f"align/{method}"), run, 2)
    assert after > before


def test_the_reference_is_the_model_that_tuning_starts_from(run, preferences):
    """Else the first loss would not be that of a policy that has not moved."""
    alignment(run, preferences, "dpo").learn()
    first = log_of(run, "dpo")[0]
    assert first["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert first["margin"] == pytest.approx(0, abs=1e-4)
    assert first["reward_chosen"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_killed_alignment_ends_exactly_as_an_uninterrupted_one(
    method, run, preferences, tmp_path, monkeypatch
):
    other = Run(run.recipe, tmp_path / "other")
    shutil.copytree(run.run_dir, other.run_dir)
    alignment(run, preferences, method).learn()
    kill_at_first_checkpoint(monkeypatch, alignment(other, preferences, method).learn)
    torch.manual_seed(99)
    alignment(other, preferences, method).learn()
    wanted, found = (newest(one.run_dir, f"align/{method}") for one in (run, other))
    assert found.step == wanted.step > SETTINGS["checkpoint_every"]
    assert all(torch.equal(found.tensors[name], t) for name, t in wanted.tensors.items())
    watched = [[row.get("judge_lc") for row in log_of(one, method)] for one in (run, other)]
    assert watched[0] == watched[1]


def test_the_start_is_asked_once_for_all_betas(run, preferences, monkeypatch):
    alignment(run, preferences, "dpo").learn()
    monkeypatch.setattr(train.reference, "score", None)
    alignment(run, preferences, "ipo", beta=0.5).learn()
    found = list((run.run_dir / "align").glob("reference-*.npz"))
    assert len(found) == 1


def test_other_weights_are_another_reference(run):
    model = load_language_model(run.run_dir).model
    before = digest_of(model, [], "no")
    model.get_input_embeddings().weight[0, 0] += 1e-3
    assert digest_of(model, [], "no") != before


def test_length_is_watched_from_the_start_on(run, preferences):
    alignment(run, preferences, "dpo").learn()
    journey = read_journey(run.run_dir / "align" / "dpo")
    assert journey[0]["verbosity"] == 1.0
    steps = newest(run.run_dir, "align/dpo").step
    assert len(journey) == 1 + -(-steps // SETTINGS["checkpoint_every"])
    assert all(row["length_ratio"] >= 0 for row in journey)


def test_the_licences_of_what_was_taught_before_stay(run, preferences):
    stamp = complete(run.run_dir / last_of(run.run_dir, *TUNINGS))[-1] / VALUES
    taught = {"tasks": ["view"], "licences": {"none": 3}}
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "instructions": taught}))
    alignment(run, preferences, "dpo", watch=0, epochs=0.5).learn()
    assert newest(run.run_dir, "align/dpo").values["instructions"] == taught


def test_an_alignment_is_exported_by_its_stage(run, preferences, tmp_path):
    alignment(run, preferences, "simpo").learn()
    settings = ExportSettings(
        run.run_dir, tmp_path / "bundle", LICENSE, max_length=900, stage="align/simpo"
    )
    engine = Engine.load(export_bundle(settings, run.images, run.frontal("train")))
    assert engine.bundle.manifest["alignment"]["method"] == "simpo"
    assert engine.report(run.film(0)).text is not None


def test_the_command_line_takes_method_and_beta(run, preferences, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(run.recipe.model_dump_json())
    sets = [f"--set=align.{name}={value}" for name, value in SETTINGS.items()]
    common = ["align", "--recipe", str(recipe), "--run", str(run.run_dir), *sets]
    options = ["--method", "orpo", "--beta", "0.3", "--preferences", str(preferences)]
    assert cli.main([*common, *options]) == 0
    assert "--stage align/orpo-0.3" in capsys.readouterr().out
    assert newest(run.run_dir, "align/orpo-0.3").values["alignment"]["beta"] == 0.3
    assert (run.run_dir / "align" / "journeys.png").stat().st_size > 0


def test_a_film_of_another_run_is_named(run, preferences, tmp_path):
    folder = tmp_path / "strange"
    pairs = [pair_of(run.catalog.films[2], image_id="elsewhere")] * 2
    table.write(Preferences(pairs, []), {}, folder)
    with pytest.raises(PreferenceError, match="elsewhere, which is no film"):
        alignment(run, folder, "dpo").learn()


def test_a_row_that_is_too_long_is_refused_and_not_cut(run, preferences):
    with pytest.raises(PreferenceError, match=r"align\.max_length"):
        alignment(run, preferences, "dpo", max_length=100).learn()


def test_kto_wants_company():
    with pytest.raises(ValueError, match="kto needs a batch_size"):
        AlignSection(method="kto", batch_size=1)


def test_a_wrong_beta_is_named(trained):
    with pytest.raises(RecipeError, match=r"align\.beta"):
        changed(trained.recipe, align={"beta": -1})
