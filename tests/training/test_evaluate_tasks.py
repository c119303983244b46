"""Tasks measured from the command line: own val rows and CheXbench's file, beside baselines."""

import json

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.training.reports import film
from tests.training.test_task_sources import BENCH, CHOICE
from training.catalog import age_of
from training.cli import main
from training.evaluate import subgroups
from training.evaluate.task_tables import boxes_found
from training.evaluate.tasks import SYSTEMS, answerable, scored
from training.tasks.bench import BenchItem, choice, grounding
from training.tasks.builders import build


def test_own_rows_are_scored_beside_four_baselines(trained, bundle_dir, capsys):
    run = str(trained.run_dir)
    assert main(["evaluate", "tasks", "--run", run, "--bundle", str(bundle_dir),
                 "--limit", "2"]) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "| findings |" in shown
    output = trained.run_dir / "evaluate" / "tasks"
    rows = pq.read_table(output / "predictions.parquet").to_pylist()
    assert {row["system"] for row in rows} == set(SYSTEMS)
    assert {row["split"] for row in rows} == {"val"}
    assert all(row["score"] == 0 for row in rows if not row["is_parsed"])
    stored = json.loads((output / "metrics.json").read_text())
    model = [r["score"] for r in rows if r["system"] == "model" and r["task"] == "findings"]
    assert stored["findings, model"]["value"] == pytest.approx(sum(model) / len(model))
    assert (output / "tables.md").is_file()
    assert (output / "tasks.png").is_file()


def test_the_published_file_is_asked_and_pairs_are_counted(trained, bundle_dir, tmp_path, capsys):
    for name in ("d.jpg", "a.jpg"):
        Image.linear_gradient("L").save(tmp_path / name)
    items = {**BENCH, "Single Disease Identification": [{**CHOICE, "image_path": "d.jpg"}]}
    (tmp_path / "data.json").write_text(json.dumps(items))
    call = ["evaluate", "tasks", "--run", str(trained.run_dir), "--bundle", str(bundle_dir)]
    assert main([*call, "--items", str(tmp_path / "data.json")]) == 0
    shown = capsys.readouterr().out
    assert "| Single Disease Identification |" in shown
    assert "not asked, two films: 1 Temporal Classification" in shown
    assert "| Findings Generation |" in shown
    assert "* Phrase Grounding: boxes found (IoU at least 0.5) " in shown


@pytest.mark.parametrize(("reply", "share"), [("(10,20),(30,40)", 1), ("(20,20),(40,40)", 0)])
def test_a_box_is_found_that_shares_half_of_the_two(reply, share):
    row = BENCH["Phrase Grounding"][0]
    item = BenchItem("Phrase Grounding", grounding(row, 0), ("d.jpg",))
    (figure,) = boxes_found([scored(item, "model", reply)]).values()
    assert figure.value == share


def test_pairs_are_asked_of_a_bundle_that_was_taught_to_compare():
    films = [
        film(f"s{n}", "The lungs are clear.", image_id=f"s{n}{view}", view=view)
        for n in range(4)
        for view in ("frontal", "lateral")
    ]
    assert not [row for row in build(films[:2], ["view-matching"]) if row.answer_key == "false"]
    rows = build(films, ["view-matching"])
    items = [BenchItem("", row, row.image_ids) for row in rows]
    assert answerable(items, frozenset()) == ([], {"view-matching": len(items)})
    assert answerable(items, frozenset({"view-matching"})) == (items, {})


def test_a_published_choice_on_two_films_is_never_asked_on_one():
    row = {**CHOICE, "image_path": ["a.jpg", "b.jpg"]}
    item = BenchItem("Temporal Classification", choice(row, 0), ("a.jpg", "b.jpg"))
    found = answerable([item], frozenset({item.example.task}))
    assert found == ([], {"Temporal Classification": 1})


@pytest.mark.parametrize(
    ("stated", "age"),
    [("71.0", 71), ("077Y", 77), (33, 33), ("", None), (None, None), ("412", None), ("3M", None)],
)
def test_ages_are_read_as_they_are_stated(stated, age):
    assert age_of(stated) == age


def test_ages_make_groups():
    films = [film(f"s{n}", age=30.0 if n % 2 else 70.0) for n in range(50)]
    assert {name for name in subgroups.subgroups(films) if name.startswith("age")} == {
        "age: under 40", "age: 65 and over",
    }  # fmt: skip
