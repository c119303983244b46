"""Accuracy of answers against majority answers."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.bundle import open_bundle
from tests.training.reports import SHARED, film, real_val_films
from training import catalog
from training.cli import main
from training.evaluate import vqa
from training.vqa import rules, table

SICK = "There is a small left pleural effusion. Patchy opacity in the right upper lobe."
WELL = "The heart is normal in size. No pneumothorax or pleural effusion. The lungs are clear."


@pytest.fixture(scope="module")
def asked():
    """The table of twelve sick and twelve well studies, half of them val."""
    films = [
        film(f"s{n}", findings=SICK if n % 2 else WELL, split="val" if n % 4 > 1 else "train")
        for n in range(48)
    ]
    return rules.generate(films).rows


def predictions(asked, ask):
    majority = vqa.majorities(row for row in asked if row.split == "train")
    rows = [row for row in asked if row.split == "val"]
    by_text = {row.question: row for row in rows}
    return vqa.ask_all(
        rows, lambda _: np.zeros((1, 256, 256), np.float32),
        lambda _, text: ask(by_text[text]), majority,
    )  # fmt: skip


def test_majority_answers_are_chance_on_balanced_presence(asked):
    found = vqa.figures(predictions(asked, lambda row: "Yes."))
    for name in ("presence", "presence: Pleural Effusion"):
        assert found[f"{name}, model"].value == 0.5
        assert found[f"{name}, majority by topic"].value == 0.5
        assert found[f"{name}, gain over majority by finding"].value == 0.0


def test_a_model_that_is_silent_is_wrong_everywhere(asked):
    found = vqa.figures(predictions(asked, lambda row: "The film is fine."))
    assert {found[f"{kind}, model"].value for kind in ("presence", "location", "severity")} == {0.0}


def test_topics_are_scored_apart_and_side_and_region_have_their_own_majority(asked):
    majority = vqa.majorities(asked)
    assert majority["side", "Pleural Effusion"] == "left"
    assert majority["region", "Lung Opacity"] == "upper"
    found = vqa.figures([vqa.judge(row, row.answer, majority) for row in asked])
    assert found["location (side), model"].value == 1.0
    assert found["location (side), majority by finding"].value == 1.0
    assert found["location (side), majority by topic"].value == 0.5


def test_intervals_resample_patients_not_questions():
    values = np.repeat([0.0, 1.0], 50)
    one_patient_each = vqa.rate(values, [f"p{n}" for n in range(100)])
    two_patients = vqa.rate(values, ["p0"] * 50 + ["p1"] * 50)
    assert one_patient_each.value == two_patients.value == 0.5
    assert two_patients.high - two_patients.low > one_patient_each.high - one_patient_each.low
    assert two_patients.count == 2


def test_a_limit_takes_the_same_questions_of_every_topic(asked):
    few = vqa.chosen(asked, 3)
    assert few == vqa.chosen(asked[::-1], 3)
    assert {vqa.topic(row) for row in few} == {vqa.topic(row) for row in asked}
    assert all(sum(vqa.topic(r) == t for r in few) == 3 for t in ("presence", "side", "view"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not here")
def test_the_shipped_bundle_answers_and_is_scored_on_real_films(tmp_path):
    """Predictions first: the figures can be computed again from the file alone."""
    picked = [f for f in real_val_films() if f.source.startswith("IU")][:24]
    run_dir = tmp_path / "run"
    catalog.write(catalog.Catalog(picked, {}), run_dir / "catalog.parquet")
    transform = open_bundle(None).transform
    catalog.write_images(picked, transform, run_dir / "images.npy")
    command = ["--run", str(run_dir), "--limit", "2"]
    assert main(["vqa", "--run", str(run_dir)]) == 0
    assert main(["evaluate", "vqa", *command]) == 0
    output = run_dir / "evaluate" / "vqa"
    rows = pq.read_table(output / "predictions.parquet").to_pylist()
    stored = json.loads((output / "metrics.json").read_text())
    views = [row["correct"] for row in rows if row["kind"] == "view"]
    assert stored["view, model"]["value"] == pytest.approx(np.mean(views))
    assert {row["question"] for row in rows} <= {
        row.question for row in table.read(run_dir / "vqa.parquet")
    }
