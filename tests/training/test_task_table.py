"""The table of instruction rows: what is dropped and why, on disk, its statistics and mixtures."""

import dataclasses

import pytest

from tests.training.test_tasks import SICK, WELL, films, mixture, rows, told
from training.catalog import Catalog
from training.errors import TaskTableError
from training.tasks import make, mixtures, statistics, table
from training.tasks.builders import BUILDERS


def test_a_patient_in_two_splits_is_refused():
    (row,) = rows("findings", told("s1", WELL))
    with pytest.raises(TaskTableError, match="1 patients stand in two splits"):
        table.admit([row, dataclasses.replace(row, split="val", study_id="s2")])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"licence": " "}, "licence is not stated"),
        ({"text": "word " * 400}, "too long"),
        ({"image_ids": ()}, "number of films is not the task's"),
        ({"response": "Perhaps."}, "response is unreadable"),
        ({"answer_key": "false"}, "response does not give its key"),
    ],
)
def test_an_unsound_row_is_dropped_under_its_reason(changes, reason):
    row = next(r for r in rows("binary-disease", told("s1", SICK)) if r.answer_key == "true")
    made = table.admit([dataclasses.replace(row, **changes)])
    assert made.dropped == {f"binary-disease: {reason}": 1}


def test_the_same_instruction_stands_once_on_a_film():
    (row,) = rows("findings", told("s1", WELL))
    assert table.admit([row, row]).dropped == {"findings: same instruction twice on a film": 1}


def test_a_table_survives_the_disk_and_another_is_refused(tmp_path):
    made = make.make(Catalog(films(), {}), mixture("findings", "single-disease"))
    table.write(made, tmp_path / "rows.parquet", {"mixture": "made"})
    assert table.read_table(tmp_path / "rows.parquet") == made
    assert table.provenance(tmp_path / "rows.parquet")["instructions"]["licences"]["none"] > 0
    with pytest.raises(TaskTableError, match="no instruction rows") as caught:
        table.read_table(tmp_path / "none.parquet")
    assert "cxr-train instructions build" in caught.value.hint


def test_the_statistics_name_the_commonest_answer():
    made = make.make(Catalog(films(), {}), mixture("binary-disease"))
    (train, val) = statistics.lines(made, lambda text: len(text.split()))
    assert (train.split, val.split) == ("train", "val")
    assert train.share == 0.5
    assert train.mean_tokens > 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{name: x, tasks: {mood: 1}}", "unknown: mood"),
        ("{name: x, tasks: {view: 0}}", "a weight must be above 0"),
        ("{name: x, tasks: {phrase-grounding: 1}}", "name a source"),
        ("{name: x, tasks: {}}", "tasks"),
    ],
)
def test_a_wrong_mixture_is_refused_in_one_line(text, words, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(TaskTableError, match=words):
        mixtures.load(str(tmp_path / "x.yaml"))


def test_the_shipped_mixture_has_every_task_that_films_teach():
    assert mixtures.load("films").tasks.keys() == BUILDERS.keys()
