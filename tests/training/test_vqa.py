import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.findings import FINDINGS
from engine.tasks.terms import REGION, SEVERITY, SIDE, yes_or_no
from engine.tasks.words import NOUNS
from tests.training.reports import SHARED, film, real_val_films
from training import catalog
from training.cli import main
from training.errors import VqaError
from training.sections import mentions_prior
from training.vqa import answers, phrasings, rules, table
from training.vqa.table import Question

SICK = "There is a small left pleural effusion. Patchy opacity in the right upper lobe."
WELL = "The heart is normal in size. No pneumothorax or pleural effusion. The lungs are clear."


def question(case, **changes):
    values = {
        "study_id": case.study_id, "patient_id": case.patient_id, "image_id": case.image_id,
        "split": case.split, "kind": "presence", "finding": "Pleural Effusion",
        "question": "Is there a pleural effusion?",
        "answer": "Yes, there is a small left pleural effusion.", "answer_key": "yes",
        "evidence": "There is a small left pleural effusion.", "source": "rules-1",
    }  # fmt: skip
    return Question(**{**values, **changes})


def admit(*rows, case=None):
    case = case or film(findings=SICK)
    return table.admit(rows, {case.image_id: case})


def test_a_sound_row_is_admitted():
    row = question(film())
    assert admit(row).rows == [row]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_id": "other"}, "film is not in the catalog"),
        ({"split": "val"}, "study, patient or split is not the film's"),
        ({"patient_id": "other"}, "study, patient or split is not the film's"),
        ({"kind": "mood"}, "unknown kind"),
        ({"finding": "Gout"}, "unknown finding"),
        ({"answer": "  "}, "question or answer is empty"),
        ({"evidence": "There is a large effusion."}, "evidence is not in the report"),
        ({"evidence": ""}, "evidence is not in the report"),
        ({"evidence": " "}, "evidence is not in the report"),
        ({"evidence": "", "source": "labels"}, "evidence is not in the report"),
        ({"answer_key": "no"}, "answer does not give its key"),
        ({"answer_key": ""}, "answer does not give its key"),
        ({"answer": "Yes, unchanged since the prior study."}, "speaks of another examination"),
        ({"answer": "Yes; follow-up is advised."}, "speaks of what should be done next"),
    ],
)
def test_an_unsound_row_is_dropped_under_its_reason(changes, reason):
    assert admit(question(film(), **changes)).dropped == {reason: 1}


def test_the_same_question_stands_once_in_a_study():
    first = question(film())
    again = dataclasses.replace(first, question="is there  a pleural effusion")
    made = admit(first, again)
    assert made.rows == [first]
    assert made.dropped == {"same question twice in a study": 1}


def test_labels_answer_only_where_there_is_no_report():
    bare = film()
    row = question(bare, evidence="", source="labels", answer="Yes, there is a pleural effusion.")
    assert admit(row, case=bare).rows == [row]


def test_a_language_model_may_give_an_open_answer():
    row = question(film(), kind="appearance", answer="It blunts the angle.", answer_key="",
                   source="some-llm")  # fmt: skip
    assert admit(row).rows == [row]


def test_a_table_survives_the_disk_and_another_table_is_refused(tmp_path, films_dir):
    made = table.Questions([question(film())], {"unknown kind": 2})
    table.write(made, tmp_path / "vqa.parquet")
    assert table.read(tmp_path / "vqa.parquet") == made
    with pytest.raises(VqaError, match="no table") as caught:
        table.read(tmp_path / "none.parquet")
    assert "cxr-train vqa" in caught.value.hint
    catalog.write(catalog.build(films_dir), tmp_path / "films.parquet")
    with pytest.raises(VqaError, match="other columns"):
        table.read(tmp_path / "films.parquet")


@pytest.mark.parametrize(
    ("kind", "expected", "text", "read"),
    [
        ("presence", "yes", "Yes, there is.", "yes"),
        ("presence", "yes", "no.", "no"),
        ("presence", "no", "There is none.", ""),
        ("presence", "no", "Nothing is seen.", ""),
        ("presence", "yes", "", ""),
        ("location", "left", "It is on the right side.", "right"),
        ("location", "left", "On the left and on the right.", "bilateral"),
        ("location", "base", "In the right upper lobe.", "upper"),
        ("location", "base", "In the upper lobe and at the base.", ""),
        ("severity", "mild", "It is small.", "mild"),
        ("severity", "mild", "Mild to moderate.", ""),
        ("appearance", "patchy", "It looks patchy.", "patchy"),
        ("view", "frontal", "This is a lateral view.", "lateral"),
        ("view", "AP", "An anterior-to-posterior film.", "AP"),
        ("view", "AP", "It maps to nothing.", ""),
    ],
)
def test_answers_are_read_by_first_word_or_by_term(kind, expected, text, read):
    assert answers.parse(kind, expected, text) == read


@given(
    st.sampled_from(sorted(NOUNS)),
    st.sampled_from(["", *SEVERITY]),
    st.sampled_from(["", *SIDE]),
    st.sampled_from(["", *REGION]),
)
def test_what_a_rule_says_reads_back_as_its_key(name, severity, side, region):
    noun = NOUNS[name]
    told = {"severity": severity, "side": side, "region": region}
    assert yes_or_no(phrasings.presence_answer(noun, True, **told)) == "yes"
    assert yes_or_no(phrasings.presence_answer(noun, False, **told)) == "no"
    if severity:
        assert answers.parse("severity", severity, phrasings.quality_answer(noun, severity)) == (
            severity
        )
    if side:
        assert answers.parse("location", side, phrasings.side_answer(noun, side)) == side
    if region:
        said = phrasings.region_answer(noun, region, side)
        assert answers.parse("location", region, said) == region


def by_kind(made, kind):
    return {row.answer_key: row for row in made.rows if row.kind == kind}


def test_a_report_gives_presence_place_size_and_look_each_with_its_sentence():
    pair = [film("s1", findings=SICK), film("s2", findings=WELL)]
    made = rules.generate(pair)
    assert {r.answer for r in made if r.finding == "Pleural Effusion" and r.kind == "presence"} == {
        "Yes, there is a small left pleural effusion.", "No, there is no pleural effusion.",
    }  # fmt: skip
    assert set(by_kind(made, "location")) == {"left", "right", "upper"}
    assert by_kind(made, "location")["upper"].finding == "Lung Opacity"
    assert by_kind(made, "severity")["mild"].answer == "The pleural effusion is small."
    assert by_kind(made, "appearance")["patchy"].evidence == SICK.split(". ")[1]
    assert {row.source for row in made} == {"rules-1"}


def test_a_study_that_says_two_sides_is_asked_no_side_and_counted():
    text = "Left pleural effusion. There is also a pleural effusion on the right."
    made = rules.generate([film(findings=text)])
    assert not by_kind(made, "location")
    assert made.dropped["side stated in more than one way"] == 1


def test_presence_is_balanced_by_split_and_finding():
    films = [film(f"w{n}", findings=WELL) for n in range(9)]
    films += [film(f"k{n}", findings=SICK) for n in range(3)]
    films += [film(f"v{n}", findings=SICK, split="val") for n in range(2)]
    made = rules.generate(films)
    counts = Counter(
        (row.split, row.answer_key) for row in made if row.kind == "presence"
        and row.finding == "Pleural Effusion"
    )  # fmt: skip
    assert counts == {("train", "yes"): 3, ("train", "no"): 3}
    assert made.dropped["presence not needed for the balance of yes and no"] > 0


def test_a_film_without_a_report_answers_from_its_labels():
    states = {"Edema": 1.0, "Pneumonia": -1.0, "Atelectasis": 0.0}
    sick = [states.get(name) for name in FINDINGS]
    well = [0.0 if name == "Edema" else None for name in FINDINGS]
    made = rules.generate([film("s1", labels=sick), film("s2", labels=well)])
    asked = [row for row in made if row.kind == "presence"]
    assert {(row.finding, row.answer_key, row.source, row.evidence) for row in asked} == {
        ("Edema", "yes", "labels", ""), ("Edema", "no", "labels", ""),
    }  # fmt: skip


def test_a_view_is_asked_of_one_film_a_study_and_a_projection_where_it_is_stated():
    films = [film(f"s{n}", projection="AP" if n % 2 else "PA") for n in range(40)]
    films += [film(f"s{n}", image_id=f"s{n}_b", view="lateral") for n in range(20)]
    made = rules.generate(films)
    assert Counter(row.study_id for row in made).most_common(1)[0][1] == 1
    assert {row.answer_key for row in made} == {"frontal", "lateral", "PA", "AP"}
    assert "This is an AP film." in {row.answer for row in made}


def test_a_second_run_asks_the_same_in_whatever_order_the_films_come():
    films = [film(f"s{n}", findings=SICK if n % 2 else WELL) for n in range(12)]
    once, again = rules.generate(films), rules.generate(films[::-1])
    assert once == again
    assert len({row.question for row in once if row.finding == "Pleural Effusion"}) > 3


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not here")
def test_real_reports_give_grounded_balanced_questions():
    films = real_val_films()
    made = rules.generate(films)
    by_image = {f.image_id: f for f in films}
    assert table.admit(made.rows, by_image) == table.Questions(made.rows, {})
    counts = Counter((r.source, r.finding, r.answer_key) for r in made if r.kind == "presence")
    assert all(counts[s, f, "yes"] == counts[s, f, "no"] for s, f, _ in counts)
    assert {row.kind for row in made} == set(table.KINDS)
    assert not any(mentions_prior(f"{row.question} {row.answer}") for row in made)


def test_the_command_writes_the_table_and_says_what_it_counts(films_dir, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["catalog", "--run", run, "--films", str(films_dir)]) == 0
    assert main(["vqa", "--run", run]) == 0
    printed = capsys.readouterr().out
    assert all(kind in printed for kind in table.KINDS)
    assert "dropped: " in printed
    assert len(table.read(tmp_path / "run" / "vqa.parquet")) > 0
    assert main(["vqa", "--run", run, "--generator", "vllm"]) == 1
    assert "--model DIR" in capsys.readouterr().err
