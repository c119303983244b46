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
from training.evaluate.tasks import SYSTEMS


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
