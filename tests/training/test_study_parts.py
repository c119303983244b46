"""Rows that hold the parts of a study, a model trained on them, its bundle, and its figures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.bundle import open_bundle
from engine.nets.checkpoints import newest
from engine.nets.load import load_language_model
from engine.pipeline import Engine
from engine.study_input import Part, StudyInput, without_age
from tests.training.conftest import PARTS, STUDY
from training import config
from training.errors import RecipeError
from training.evaluate.reports import FRONTAL_FILM, MODEL, predict
from training.sections import clean_indication
from training.study_parts import Companions


@pytest.fixture(scope="module")
def builder(study_run):
    prompts = load_language_model(study_run.run_dir, "sft").prompts
    return study_run.mixture("sft", prompts).builder


def test_the_lateral_film_has_codes(study_run):
    codes = np.load(study_run.run_dir / "codes.npy")
    assert study_run.catalog.films[1].view == "lateral"
    assert (codes[1] >= 0).all()


def test_a_row_holds_every_part_that_its_study_has(builder, study_run):
    study = builder.study(2, np.random.default_rng(0))
    before = study_run.catalog.films[4]
    assert study.parts == tuple(Part)
    assert list(study.lateral) == builder.codes[1].tolist()
    assert study.previous_report == f"Findings: {before.findings} Impression: {before.impression}"
    row = builder.report(2, np.random.default_rng(0))
    images = [token for token in row.input_ids if token in builder.prompts.vocabulary.image_range]
    assert len(images) == 2 * 256
    assert row.num_left_out == 0
    assert builder.study(5, np.random.default_rng(0)).parts == (Part.FRONTAL,)


def test_a_lateral_film_is_never_shown_as_a_frontal_one(builder):
    assert builder.study(1, np.random.default_rng(0)).parts == (Part.LATERAL,)


def test_each_part_comes_as_often_as_asked(builder):
    settings = builder.settings.model_copy(update={"parts": {"lateral": 0.7, "indication": 0.2}})
    rng, some = np.random.default_rng(0), replace(builder, settings=settings)
    studies = [some.study(2, rng) for _ in range(300)]
    shares = {part: np.mean([part in study.parts for study in studies]) for part in Part}
    assert shares[Part.LATERAL] == pytest.approx(0.7, abs=0.07)
    assert shares[Part.INDICATION] == pytest.approx(0.2, abs=0.07)
    assert shares[Part.PREVIOUS_REPORT] == 0


def test_what_finds_no_room_is_left_out_whole_and_counted(builder, study_run):
    row = builder.report(2, np.random.default_rng(0))
    settings = builder.settings.model_copy(update={"max_length": len(row) - 1})
    shorter = replace(builder, settings=settings).report(2, np.random.default_rng(0))
    assert (shorter.num_left_out, len(shorter) < len(row)) == (1, True)
    assert "Previous report" not in builder.prompts.text(shorter.input_ids)
    answer = [label for label in row.labels if label >= 0]
    assert [label for label in shorter.labels if label >= 0] == answer
    mixture = replace(study_run.mixture("sft", builder.prompts), builder=builder)
    assert mixture.pack([row, shorter]).num_left_out == 1


def test_the_log_counts_what_was_left_out(study_run):
    lines = (study_run.run_dir / "sft" / "metrics.jsonl").read_text().splitlines()
    assert all("parts_left_out" in json.loads(line) for line in lines)


def test_rows_of_a_recipe_without_parts_are_those_of_before(trained, study_run):
    prompts = load_language_model(trained.run_dir, "sft").prompts
    plain, knowing = (run.mixture("sft", prompts).builder for run in (trained, study_run))
    knowing = replace(knowing, settings=plain.settings)
    for film in (2, 4, 5):
        ours, theirs = (one.report(film, np.random.default_rng(film)) for one in (plain, knowing))
        assert ours == theirs


def test_the_checkpoint_and_the_bundle_name_the_parts(study_run, study_bundle):
    stated = newest(study_run.run_dir, "sft").values["recipe"]["sft"]["parts"]
    assert stated == {"lateral": 1.0, "indication": 1.0, "previous_report": 1.0}
    bundle = open_bundle(study_bundle)
    assert bundle.inputs == tuple(Part)
    assert bundle.cache.max_length == 1300


def test_the_bundle_of_a_recipe_without_parts_names_none(bundle_dir):
    manifest = open_bundle(bundle_dir).manifest
    assert "inputs" not in manifest


def test_prompts_in_service_are_those_of_training(study_run, study_bundle, builder):
    engine = Engine.load(study_bundle, num_threads=1)
    beside = study_run.beside(2, engine.inputs)
    prompt = engine.prompt_on(study_run.film(2), "Report.", hinted=False, **beside)
    codes = [engine.films.codes(study_run.film(row)).tolist() for row in (2, 1)]
    taught = builder.study(2, np.random.default_rng(0))
    shown = replace(taught, frontal=codes[0], lateral=codes[1])
    assert prompt.ids == builder.prompts.about_study("Report.", shown)
    assert prompt.inputs == tuple(Part)


def test_figures_are_of_all_parts_and_of_the_frontal_film_alone(study_run, study_bundle):
    engine = Engine.load(study_bundle, num_threads=1)
    rows = np.asarray([2], np.int64)
    systems = {one.system for one in predict(study_run, engine, rows)}
    assert {MODEL, FRONTAL_FILM} <= systems


def test_a_film_without_companions_has_nothing_beside_it(trained):
    found = Companions.of(trained.catalog.films).whole(trained.catalog.films[2])
    assert (found.lateral, found.indication, found.previous_report) == (None, "", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("base.prompt_version=alpaca-1", "knows no parts"),
        ("sft.parts={smell: 1}", "parts"),
        ("sft.earliest_only=true", "earliest_only"),
    ],
)
def test_a_recipe_whose_parts_cannot_be_is_refused(change, said):
    with pytest.raises(RecipeError, match=said):
        config.load("demo", [*STUDY, PARTS, change])


def test_the_recipe_modern_teaches_parts_and_the_others_do_not():
    modern = config.load("modern")
    assert all(stage.parts for stage in (modern.sft, modern.sft2))
    assert not any(config.load(name).sft.parts for name in ("demo", "paper"))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("XXXX-year-old male with chest pain.", "Male with chest pain."),
        ("___ year old woman with dyspnea. Known to ___.", "Woman with dyspnea."),
        ("___F with cough", "F with cough"),
        ("65 yo, preop.", "Preop."),
        ("2 views of the chest", "2 views of the chest"),
        ("XXXX-year-old with XXXX.", ""),
        ("XXXX.", ""),
        (None, ""),
    ],
)
def test_indications_are_kept_without_ages_and_redactions(written, kept):
    assert clean_indication(written) == kept


def test_an_age_is_left_out_in_service_as_in_training():
    assert StudyInput(indication="A 65-year-old man with\nfever.").indication == "man with fever."
    assert without_age("Fever for 3 days.") == "Fever for 3 days."
