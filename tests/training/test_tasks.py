"""Instruction rows: true to reports and codes, balanced, patient-safe, the same on every run."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bundle import open_bundle
from engine.findings import FINDINGS
from engine.nets.load import load_language_model
from engine.tasks.registry import TASKS
from engine.tasks.values import UNPARSABLE
from tests.training.reports import SHARED, film, real_val_films
from training.catalog import Catalog, label
from training.cli import main
from training.errors import TrainingError
from training.instructions import RowBuilder
from training.pools import TaskPool
from training.tasks import balance, make, mixtures, scorers, table
from training.tasks.anatomy import by_section
from training.tasks.builders import BUILDERS, FORMATS_ONLY, build
from training.tasks.drafts import tidy
from training.tasks.matching import contradicts
from training.tasks.sources import SOURCES
from training.tasks.studies import Study

SICK = "There is a small left pleural effusion. The heart is normal in size. No pneumothorax."
WELL = "The heart is normal in size. No pneumothorax or pleural effusion. The lungs are clear."
IU = "IU X-Ray / Open-i (NLMCXR)"


def told(study, findings, **changes):
    """Return a film labelled by its own report."""
    return film(study, findings=findings, labels=list(label(findings)), **changes)


def rows(task, *films):
    return [row for row in build(films, [task]) if row.task == task]


def test_every_task_has_a_builder_or_a_collection():
    read = set().union(*(source.tasks for source in SOURCES.values()))
    assert set(BUILDERS) | FORMATS_ONLY == set(TASKS)
    assert read >= FORMATS_ONLY


def test_every_scorer_of_the_registry_is_there():
    assert scorers.SCORERS.keys() == {task.scorer for task in TASKS.values()}
    assert balance.KEEP.keys() == {task.answer for task in TASKS.values()}


def test_presence_is_asked_of_what_is_asserted_or_denied_and_of_nothing_else():
    found = {row.finding: row.answer_key for row in rows("binary-disease", told("s1", SICK))}
    assert found == {"Pleural Effusion": "true", "Cardiomegaly": "false", "Pneumothorax": "false"}


def test_a_human_code_forbids_a_no():
    coded = told("s1", WELL, source=IU, mesh="Cardiomegaly/mild")
    assert "Cardiomegaly" not in {row.finding for row in rows("binary-disease", coded)}
    assert not rows("disease-list", coded)


def test_all_findings_are_listed_only_where_none_is_left_open():
    (row,) = rows("disease-list", told("s1", SICK))
    assert row.response == "Pleural effusion."
    assert json.loads(row.answer_key) == ["Pleural Effusion"]
    assert not rows("disease-list", told("s2", "Possible pneumonia. No effusion."))
    assert rows("disease-list", told("s3", WELL))[0].response == "No finding."


def test_no_wrong_option_is_there_or_names_the_same_shadow():
    for row in rows("single-disease", told("s1", "There is left basilar atelectasis.")):
        options = {option.lower() for option in row.options}
        assert len(options) == 4
        assert not options & {"pneumonia", "consolidation", "lung opacity", "pulmonary edema"}


def coded(mesh):
    return film("s1", source=IU, mesh=mesh, findings=SICK)


def test_a_synonym_of_a_code_is_no_wrong_option():
    (row,) = rows("single-disease", coded("Opacity/lung/base/left; Spine/degenerative"))
    assert not {"infiltrate", "airspace disease", "nodule", "osteophyte"} & set(row.options)
    assert row.response == "Opacity."


def test_a_set_of_diseases_differs_from_the_others_in_one():
    (row,) = rows("disease-set", coded("Cardiomegaly/mild; Pleural Effusion/left/small"))
    right = row.options[int(row.answer_key)]
    assert right == "cardiomegaly; pleural effusion"
    assert all(option.startswith("cardiomegaly; ") for option in row.options)


def test_fine_pairs_differ_in_one_word():
    found = {
        row.finding: row
        for row in rows("fine-grained", coded("Pleural Effusion/left/small; Opacity/apex/right"))
    }
    assert found.keys() == {"side", "region", "severity"}
    for row in found.values():
        one, other = (set(option.split()) for option in row.options)
        assert len(one ^ other) == 2


def test_a_pair_that_both_hold_is_not_asked():
    assert not rows("fine-grained", coded("Pleural Effusion/left; Pleural Effusion/right"))
    assert not rows("fine-grained", coded("Pleural Effusion/bilateral/left"))


def test_places_and_grades_come_from_sentences_and_codes():
    both = coded("Nodule/lung/lingula/small; Cardiomegaly/severe; Cicatrix/apex/right; Cicatrix")
    assert [(r.finding, r.answer_key) for r in rows("side", both)] == [
        ("Pleural Effusion", '"left"'), ("Nodule", '"left"'),
    ]  # fmt: skip
    assert [r.answer_key for r in rows("location", both)] == ['"middle"']
    assert [r.answer_key for r in rows("severity", both)] == ['"mild"', '"severe"']
    (place,) = rows("localise", both)
    assert place.response == "Left middle lung."


def test_a_section_has_its_own_sentences_and_no_bare_name():
    found = by_section("Heart size. The lungs are clear. Heart and lungs are normal. Ribs intact.")
    assert found == {
        "breathing": "The lungs are clear. Heart and lungs are normal.",
        "everything else": "Ribs intact.",
    }


def test_a_wrong_text_is_one_that_cannot_be_true():
    study = Study((told("s1", SICK),))
    assert contradicts("Large pneumothorax.", study)
    assert contradicts("No pleural effusion.", study)
    assert contradicts("No acute cardiopulmonary abnormality.", study)
    assert not contradicts("There is a left pleural effusion.", study)
    assert not contradicts("There is scoliosis.", study)


def films(count=24):
    """Sick and well studies by turns, with frontal and lateral films and a third of them val."""
    found = []
    for n in range(count):
        text = SICK if n % 2 else WELL
        split = "val" if n % 3 == 0 else "train"
        common = {"split": split, "impression": "Effusion." if n % 2 else "Normal chest."}
        found.append(told(f"s{n}", text, projection="PA" if n % 4 else "AP", **common))
        found.append(told(f"s{n}", text, image_id=f"s{n}_b", view="lateral", **common))
    return found


def test_texts_of_other_films_are_of_the_same_split_and_another_patient():
    for row in rows("image-text-matching", *films()):
        assert json.loads(row.answer_key) is row.response.startswith("Yes")
    for row in rows("view-matching", *films()):
        split = {one.image_id: one.split for one in films()}
        assert {split[image] for image in row.image_ids} == {row.split}
        assert (row.image_ids[0][:-2] == row.image_ids[1][:-2]) is (row.answer_key == "true")


def mixture(*names, **changes):
    return mixtures.TaskMixture(name="made", tasks=dict.fromkeys(names, 1.0), **changes)


def test_yes_and_no_and_views_are_as_many_and_no_answer_wins_by_being_common():
    made = make.make(Catalog(films(), {}), mixture("binary-disease", "view", "disease-list"))
    counts = Counter((r.task, r.split, r.finding, r.answer_key) for r in made)
    for (task, split, finding, key), number in counts.items():
        if task == "binary-disease":
            other = "false" if key == "true" else "true"
            assert counts[task, split, finding, other] == number
    views = Counter(r.answer_key for r in made if r.task == "view" and r.split == "train")
    assert len(set(views.values())) == 1
    assert len(views) == 3


def test_a_second_run_makes_the_same_in_whatever_order_the_films_come():
    wanted = mixture("binary-disease", "view", "findings", "image-text-matching")
    once = make.make(Catalog(films(), {}), wanted)
    assert once == make.make(Catalog(films()[::-1], {}), wanted)


def test_a_limit_holds_for_each_task_and_split():
    made = make.make(Catalog(films(), {}), mixture("findings", "view", limit=2))
    assert max(Counter((row.task, row.split) for row in made).values()) == 2
    assert made.dropped["view: beyond the limit"] > 0


def test_tasks_come_by_their_weights():
    pool = TaskPool.of(["a", "b", "b", "b"], {"a": 3.0, "b": 1.0})
    rng = np.random.default_rng(0)
    share = np.mean([pool.pick(n, 1, rng) == 0 for n in range(800)])
    assert share == pytest.approx(0.75, abs=0.05)
    with pytest.raises(TrainingError, match="no training row for c"):
        TaskPool.of(["a"], {"a": 1.0, "c": 1.0})


def test_a_stage_learns_the_responses_of_the_table(trained):
    model = load_language_model(trained.run_dir, "sft4")
    mixed = trained.mixture("sft4", model.prompts)
    builder = mixed.builder
    rng = np.random.default_rng(0)
    for number, example in enumerate(builder.examples):
        assert example.split == "train"
        row = builder.task(number, rng)
        learned = [t for t, kept in zip(row.input_ids, row.labels, strict=True) if kept >= 0]
        assert model.prompts.text(learned) == example.response
        shown = set(row.input_ids) & set(model.prompts.vocabulary.image_range)
        assert bool(shown) is bool(example.image_ids)


def test_a_row_that_compares_films_shows_both_in_their_order(trained):
    prompts = load_language_model(trained.run_dir, "sft4").prompts
    shown = films()
    codes = np.random.default_rng(0).integers(0, 64, (len(shown), 256)).astype(np.int16)
    made = make.make(Catalog(shown, {}), mixture("view-matching"))
    builder = RowBuilder(prompts, shown, codes, examples=made.rows)
    images = prompts.vocabulary.image_range
    for number, example in enumerate(made.rows):
        row = builder.task(number, np.random.default_rng(0))
        seen = [token for token in row.input_ids if token in images]
        both = [codes[builder.places[image]] for image in example.image_ids]
        assert seen == prompts.vocabulary.to_ids(np.concatenate(both).tolist())
        assert "Second film: " in prompts.text(row.input_ids)


def test_the_bundle_says_what_taught_it(bundle_dir):
    stated = open_bundle(bundle_dir).manifest["instructions"]
    assert stated["licences"].keys() == {"none"}
    assert "findings" in stated["tasks"]


@settings(deadline=None)
@given(st.sampled_from(sorted(FINDINGS[1:])), st.text(max_size=40))
def test_no_reply_scores_beyond_its_bounds(finding, reply):
    (row,) = rows("disease-list", told("s1", SICK))
    value = scorers.score(row, reply)
    assert 0 <= value <= 1
    if scorers.reading(row, reply) is UNPARSABLE:
        assert value == 0
    assert scorers.score(row, row.response) == 1


def test_lone_stops_go():
    assert tidy("Clear lungs. . No effusion. .") == "Clear lungs. No effusion."


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not here")
def test_real_films_give_sound_balanced_rows_of_every_task():
    found = list(build(real_val_films(), BUILDERS))
    made = table.admit(found)
    assert set(made.tasks()) == set(BUILDERS)
    assert sum(made.dropped.values()) < 0.05 * len(found)
    kept = balance.balanced(made.rows, Counter())
    counts = Counter(row.answer_key for row in kept if row.task == "image-text-matching")
    assert counts["true"] == counts["false"] > 50


def test_the_table_is_built_and_told_from_the_command_line(trained, capsys):
    path = trained.run_dir / "mixture.yaml"
    call = ["instructions", "build", "--mixture", str(path), "--run", str(trained.run_dir)]
    assert main(call) == 0
    shown = capsys.readouterr().out
    assert "licence: " in shown
    assert (trained.run_dir / "instructions" / "statistics.md").is_file()
    assert main([*call[:2], "--mixture", "none", "--run", str(trained.run_dir)]) == 1
    assert "shipped mixtures: films" in capsys.readouterr().err
