"""Candidates, judges, pairs and readers' feedback: what becomes a preference, and what does not."""

import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.keys import key
from engine.pipeline import Engine
from tests.training.reports import film
from training import cli
from training.config import PreferencesSection, changed
from training.errors import PreferenceError
from training.preferences import build, feedback, pairs, table
from training.preferences.candidates_file import CandidatesFile
from training.preferences.judges import OWN, open_judge
from training.preferences.pairs import Pair, judged
from training.preferences.sampling import Candidates
from training.stages import Run

CLEAR = "The lungs are clear. No acute disease."
LEFT = "There is a small left pleural effusion."
RIGHT = "There is a small right pleural effusion."
NOTHING = "Degenerative changes of the spine."
SETTINGS = PreferencesSection()


def candidates(texts, reference, ended=None, image_id="a"):
    return Candidates(
        image_id, "s", "p", "Report.", "", reference, list(texts), ended or [True] * len(texts)
    )


def pairs_of(*films, judge="finding-error", **changes):
    settings = SETTINGS.model_copy(update=changes)
    return judged(films, judge, OWN[judge], settings)


def test_best_and_worst_become_a_pair_with_their_rewards():
    made = pairs_of(candidates([CLEAR, LEFT, RIGHT], LEFT))
    (pair,) = made.pairs
    assert (pair.chosen, pair.rejected) == (LEFT, CLEAR)
    assert (pair.chosen_reward, pair.rejected_reward) == (1.0, 0.0)
    assert made.rewards == [[0.0, 1.0, 0.0]]
    assert [(one.text, one.desirable) for one in made.singles] == [(LEFT, True), (CLEAR, False)]


def test_what_gives_no_pair_is_counted_by_reason():
    made = pairs_of(
        candidates([LEFT, LEFT], LEFT),
        candidates([NOTHING, NOTHING], NOTHING),
        candidates([LEFT, CLEAR], LEFT, [False, False]),
    )
    assert made.pairs == []
    assert made.dropped == {pairs.TIE: 1, pairs.UNJUDGED: 1, pairs.UNENDED: 1}
    assert made.dropped_share == 1.0


def test_a_text_that_was_cut_off_is_never_chosen_and_may_be_rejected():
    cut = candidates([LEFT, RIGHT, CLEAR], LEFT, [False, True, True])
    (pair,) = pairs_of(cut, judge="label-f1").pairs
    assert pair.chosen == RIGHT
    (pair,) = pairs_of(candidates([LEFT, CLEAR], LEFT, [True, False])).pairs
    assert pair.rejected == CLEAR
    assert not pair.rejected_ended


def test_a_chosen_text_may_not_be_much_longer():
    long = candidates([f"{LEFT} {'Lungs are clear. ' * 20}", CLEAR], LEFT)
    assert pairs_of(long).pairs
    assert pairs_of(long, max_length_ratio=1.5).dropped == {pairs.LONG: 1}


def test_judges_by_hand():
    judge = {name: lambda a, b, each=each: each([a], [b])[0] for name, each in OWN.items()}
    assert judge["label-f1"](LEFT, LEFT) == 1
    assert judge["label-f1"](CLEAR, LEFT) == 0
    assert judge["finding-error"](RIGHT, LEFT) == 0, "the wrong side is no match"
    assert math.isnan(judge["finding-error"](NOTHING, NOTHING))
    twice = f"{LEFT} {'The bones are intact. ' * 2}".strip()
    words = len(twice.split()) / len(LEFT.split())
    assert judge["finding-error-lc"](twice, LEFT) == pytest.approx(1 / words)


@given(st.lists(st.sampled_from([CLEAR, LEFT, RIGHT, NOTHING]), min_size=2, max_size=5))
def test_a_pair_never_prefers_the_worse(texts):
    made = pairs_of(candidates(texts, LEFT))
    rewards = OWN["finding-error"](texts, [LEFT] * len(texts))
    known = rewards[~np.isnan(rewards)]
    for pair in made.pairs:
        assert pair.chosen_reward == known.max() > pair.rejected_reward == known.min()
    assert len(made.pairs) + sum(made.dropped.values()) == 1


def test_a_published_judge_says_why_it_is_not_there():
    with pytest.raises(PreferenceError, match="no path to its weights") as refused:
        open_judge("green")
    assert "label-f1" in refused.value.hint


STAND_IN = """
def score(candidates, references, model_type, num_layers):
    assert num_layers == 5
    same = [float(a == b) for a, b in zip(candidates, references, strict=True)]
    return same, same, same
"""


def test_bertscore_judges_each_report_under_its_package(tmp_path, monkeypatch):
    """A package of the same shape as bert-score 0.3.13: no weights can be had here."""
    site, folder = tmp_path / "site", tmp_path / "judges" / "bertscore"
    (site / "bert_score").mkdir(parents=True)
    (site / "bert_score" / "__init__.py").write_text(STAND_IN)
    (site / "bert_score" / "utils.py").write_text("model2layers = {'distilroberta-base': 5}\n")
    record = site / "bert_score-0.3.13.dist-info" / "METADATA"
    record.parent.mkdir()
    record.write_text("Metadata-Version: 2.1\nName: bert-score\nVersion: 0.3.13\n")
    folder.mkdir(parents=True)
    (folder / "tokenizer_config.json").write_text("{}")
    config = {"_name_or_path": "distilroberta-base", "num_hidden_layers": 6}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("PYTHONPATH", str(site))
    judge = open_judge("bertscore", folder.parent)
    assert judge([LEFT, CLEAR], [LEFT, LEFT]).tolist() == [1.0, 0.0]


MADE_BY = {"bundle": "b", "seed": 1}


def test_candidates_go_on_after_a_kill(tmp_path):
    found = CandidatesFile(tmp_path / "candidates.jsonl")
    found.begin(MADE_BY)
    found.append([candidates([CLEAR], LEFT, image_id=name) for name in "ab"])
    with found.path.open("a") as lines:
        lines.write('{"image_id": "torn')
    found.begin(MADE_BY)
    found.append([candidates([CLEAR], LEFT, image_id="c")])
    assert [one.image_id for one in found] == ["a", "b", "c"]
    assert found.made_by() == MADE_BY


def test_candidates_of_another_model_are_not_mixed_in(tmp_path):
    found = CandidatesFile(tmp_path / "candidates.jsonl")
    found.begin(MADE_BY)
    with pytest.raises(PreferenceError, match="another model"):
        found.begin({**MADE_BY, "seed": 2})


def test_tables_come_back_as_they_were(tmp_path):
    made = pairs_of(candidates([CLEAR, LEFT], LEFT), candidates([RIGHT, LEFT], RIGHT))
    table.write(made, {}, tmp_path)
    assert table.read_pairs(tmp_path) == made.pairs
    assert table.read_singles(tmp_path) == made.singles


def test_a_folder_without_preferences_names_the_command(tmp_path):
    with pytest.raises(PreferenceError, match="no preferences") as refused:
        table.read_pairs(tmp_path)
    assert "cxr-train preferences" in refused.value.hint


def test_a_pair_holds_words_and_no_token_of_any_model():
    types = {str(field.type) for field in Pair.__dataclass_fields__.values()}
    assert types == {"str", "float", "bool"}


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained.run_dir, tmp_path / "run")
    recipe = changed(trained.recipe, preferences={"num_samples": 2, "films_per_part": 2})
    return Run(recipe, tmp_path / "run")


def test_sampling_is_repeatable_and_goes_on_where_it_stopped(run, bundle_dir):
    engine = Engine.load(bundle_dir)
    part = list(build.sample(run, engine, 3))
    whole = list(build.sample(run, engine))
    assert whole[:3] == part
    build.candidates_of(run).path.unlink()
    assert sorted(build.sample(run, engine), key=lambda one: one.image_id) == sorted(
        whole, key=lambda one: one.image_id
    )
    train = {film.image_id for film in run.catalog.films if film.split == "train"}
    assert {one.image_id for one in whole} <= train
    assert all(len(one.texts) == 2 for one in whole)
    assert all(one.instruction and one.reference for one in whole)


def test_validation_films_are_refused(run):
    held = next(film for film in run.catalog.films if film.split == "val")
    found = build.candidates_of(run)
    found.begin(MADE_BY)
    found.append([candidates([CLEAR, LEFT], LEFT, image_id=held.image_id)])
    with pytest.raises(PreferenceError, match="not on training films"):
        build.prefer(run, "label-f1", OWN["label-f1"])


def test_the_command_line_judges_again_without_sampling_again(run, capsys):
    found = build.candidates_of(run)
    found.begin(MADE_BY)
    names = [film.image_id for film in run.catalog.films if film.split == "train"]
    found.append([candidates([CLEAR, LEFT], LEFT, image_id=name) for name in names])
    recipe = run.run_dir / "recipe.yaml"
    recipe.write_text(run.recipe.model_dump_json())
    common = ["preferences", "--recipe", str(recipe), "--run", str(run.run_dir)]
    assert cli.main([*common, "--judge", "label-f1", "--judge-only"]) == 0
    assert "label-f1" in capsys.readouterr().out
    folder = build.folder(run, "label-f1")
    assert len(table.read_pairs(folder)) == len(names)
    statistics = json.loads((folder / "statistics.json").read_text())
    assert statistics["made_by"] == MADE_BY
    assert statistics["dropped_share"] == 0
    assert {"rewards.png", "lengths.png"} <= {path.name for path in folder.iterdir()}


DRAFT = {"findings": ["The lungs are clear."], "impression": ["No acute disease."]}
EDIT = {"findings": ["There is a small left pleural effusion."], "impression": ["Effusion."]}


def line(**changes):
    """A line as `cxr-node feedback export` prints it."""
    values = {
        "study": key("1.2.3"), "film": key("s1_a"), "generation": 1, "verdict": "edit",
        "reasons": ["omission"], "answers_indication": 4, "saves_time": None, "seconds": 41.0,
        "bundle": "ab" * 32, "bundle_name": "demo", "bundle_version": "1", "prompt_version": "1",
        "draft": DRAFT, "edited": EDIT, "at": 1000.0,
    }  # fmt: skip
    return {**values, **changes}


def preferred(*lines, films=None):
    verdicts = [feedback.Verdict.model_validate(one) for one in lines]
    return feedback.preferred(verdicts, films or [film("s1")], lambda row: "Likely findings: none.")


def test_an_edit_prefers_the_corrected_text():
    (pair,) = preferred(line()).pairs
    assert pair.chosen == "Findings: There is a small left pleural effusion.\nImpression: Effusion."
    assert pair.rejected == "Findings: The lungs are clear.\nImpression: No acute disease."
    assert (pair.context, pair.judge) == ("Likely findings: none.", "reader")


@pytest.mark.parametrize(("verdict", "desirable"), [("accept", True), ("reject", False)])
def test_a_verdict_without_an_edit_is_wanted_or_not(verdict, desirable):
    made = preferred(line(verdict=verdict, edited=None))
    assert made.pairs == []
    (single,) = made.singles
    assert (single.desirable, single.image_id) == (desirable, "s1_a")


@pytest.mark.parametrize(
    ("changes", "films", "reason"),
    [
        ({"film": key("strange")}, None, feedback.UNKNOWN),
        ({}, [film("s1", split="val")], feedback.HELD_OUT),
        ({"draft": {"findings": [], "impression": []}}, None, feedback.EMPTY),
        (
            {"edited": {"findings": ["Unchanged from the prior study."], "impression": []}},
            None,
            feedback.HISTORY,
        ),
    ],
)
def test_what_cannot_be_learned_is_counted_by_reason(changes, films, reason):
    made = preferred(line(**changes), films=films)
    assert (made.pairs, made.singles) == ([], [])
    assert made.dropped == {reason: 1}


def test_a_rejected_draft_may_speak_of_the_past():
    history = {"findings": ["Unchanged from the prior study."], "impression": []}
    assert preferred(line(verdict="reject", edited=None, draft=history)).singles


def test_the_last_verdict_on_a_draft_counts():
    made = preferred(
        line(verdict="accept", edited=None, at=2000.0), line(verdict="reject", edited=None)
    )
    assert [one.desirable for one in made.singles] == [True]
    assert made.dropped == {feedback.REVISED: 1}


def test_a_line_that_is_no_verdict_is_named(tmp_path):
    path = tmp_path / "feedback.jsonl"
    path.write_text(json.dumps(line()) + '\n{"verdict": "maybe"}\n')
    with pytest.raises(PreferenceError, match=r"feedback\.jsonl line 2"):
        feedback.read(path)


def test_feedback_of_a_reader_becomes_preferences_of_a_run(run, bundle_dir, capsys):
    names = [film.image_id for film in run.catalog.films if film.split == "train"]
    lines = [line(film=key(name), study=key(f"study of {name}")) for name in names]
    path = run.run_dir / "feedback.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    recipe = run.run_dir / "recipe.yaml"
    recipe.write_text(run.recipe.model_dump_json())
    options = ["--bundle", str(bundle_dir), "--feedback", str(path)]
    common = ["--recipe", str(recipe), "--run", str(run.run_dir)]
    assert cli.main(["preferences", *common, *options]) == 0
    assert len(table.read_pairs(build.folder(run, "reader"))) == len(names)
    assert "reader" in capsys.readouterr().out


def test_feedback_on_films_that_nobody_has_says_how_to_name_them(run, bundle_dir):
    path = run.run_dir / "feedback.jsonl"
    path.write_text(json.dumps(line()) + "\n")
    with pytest.raises(PreferenceError, match="none of 1 verdicts") as refused:
        build.of_readers(run, Engine.load(bundle_dir), path)
    assert "SOP Instance UID" in refused.value.hint


def test_rewards_that_differ_less_than_asked_are_a_tie():
    close = SETTINGS.model_copy(update={"min_spread": 2.0})
    assert judged([candidates([CLEAR, LEFT], LEFT)], "label-f1", OWN["label-f1"], close).dropped
