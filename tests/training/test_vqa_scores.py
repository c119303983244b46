"""Multiple choice, and accuracy against majority answers."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.bundle import open_bundle
from tests.training.reports import SHARED, film, real_val_films
from training import catalog
from training.cli import main
from training.errors import VqaError
from training.evaluate import chexbench as exam
from training.evaluate import vqa
from training.vqa import chexbench, rules, table
from training.vqa.chexbench import Item

SICK = "There is a small left pleural effusion. Patchy opacity in the right upper lobe."
WELL = "The heart is normal in size. No pneumothorax or pleural effusion. The lungs are clear."


def iu(study, mesh, **changes):
    source = "IU X-Ray / Open-i (NLMCXR)"
    return film(study, split="val", source=source, mesh=mesh, **changes)


def items_of(*films):
    return {item.slice: item for item in chexbench.build(films)}


def right(item):
    return item.options[item.answer]


def test_one_disease_is_asked_with_three_that_the_film_does_not_have():
    item = items_of(iu("s1", "Scoliosis; Lung/hypoinflation"))["disease, single"]
    assert right(item) == "Scoliosis"
    assert len(set(item.options)) == 4


def test_a_synonym_of_what_is_there_is_no_wrong_option():
    item = items_of(iu("s1", "Opacity/lung/base/left"))["disease, single"]
    assert not {"Infiltrate", "Airspace Disease", "Nodule"} & set(item.options)


def test_several_diseases_are_one_option():
    found = items_of(iu("s1", "Cardiomegaly/mild; Pleural Effusion/left/small"))
    item = found["disease, several"]
    assert right(item) == "Cardiomegaly; Pleural Effusion"
    assert "disease, single" not in found


def test_fine_pairs_differ_in_one_word():
    found = items_of(iu("s1", "Pleural Effusion/left/small; Opacity/lung/upper lobe/right"))
    side, size = found["fine-grained, side"], found["fine-grained, severity"]
    assert right(side) == "The film shows small left pleural effusion."
    assert right(size) == right(side)
    assert set(size.options) - {right(size)} == {"The film shows large left pleural effusion."}
    region = found["fine-grained, region"]
    assert right(region) == "The film shows opacity in the right upper lobe."
    for item in (side, size, region):
        one, other = (set(option.split()) for option in item.options)
        assert len(one ^ other) == 2


def test_a_pair_that_both_hold_is_not_asked():
    both = items_of(iu("s1", "Pleural Effusion/left; Pleural Effusion/right"))
    assert "fine-grained, side" not in both
    assert "fine-grained, side" not in items_of(iu("s2", "Pleural Effusion/bilateral/left"))


def test_views_are_asked_as_stated_and_only_val_films_of_iu_are_used():
    assert right(items_of(iu("s1", "", projection="AP"))["view"]) == "AP"
    assert right(items_of(iu("s1", "", view="lateral", projection="PA"))["view"]) == "Lateral"
    assert items_of(iu("s1", "")) == {}
    assert items_of(film("s1", mesh="Scoliosis", split="val", projection="PA")) == {}


def item(*options, answer=0):
    named = {f"option_{n}": text for n, text in enumerate(options)}
    return Item(question="Which?", answer=answer, image_path="x.jpg", data_source="made",
                slice="made", **named)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("B", 1), ("(B)", 1), ("B) Edema", 1), ("Answer: C.", 2), ("option A", 0),
        ("D", chexbench.UNPARSABLE), ("", chexbench.UNPARSABLE), ("I cannot tell.", -1),
        ("A film with edema.", 1), ("It shows lung edema.", 2), ("Pneumonia or edema.", -1),
        ("pneumonia", 0), ("b", -1),
    ],
)  # fmt: skip
def test_an_option_is_read_by_letter_or_by_text_and_else_is_wrong(text, option):
    assert chexbench.choice(item("Pneumonia", "Edema", "Lung edema"), text) == option


def test_items_survive_the_disk_and_foreign_files_are_read_or_refused(tmp_path):
    path = tmp_path / "items.json"
    chexbench.write([item("Yes", "No", answer=1)], path)
    assert chexbench.read(path) == [item("Yes", "No", answer=1)]
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{**rows[0], "option_2": "Maybe", "more": {"x": 1}}]))
    assert chexbench.read(path)[0].options == ["Yes", "No", "Maybe"]
    for broken in ("{", "[1]", json.dumps([{**rows[0], "answer": 3}]), "3"):
        path.write_text(broken)
        with pytest.raises(VqaError):
            chexbench.read(path)


def test_accuracy_by_slice_stands_beside_chance():
    told = [exam.Chosen(item("Yes", "No"), "Yes", 0), exam.Chosen(item("Yes", "No"), "?", -1)]
    found = exam.figures(told)
    assert found["made, accuracy"].value == 0.5
    assert found["made, chance"].value == 0.5
    assert found["made, unparsable"].value == 0.5


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not here")
def test_real_codes_give_items_of_every_kind_with_the_right_option_anywhere():
    items = chexbench.build(real_val_films())
    slices = {item.slice for item in items}
    assert slices == {
        "view", "disease, single", "disease, several", "fine-grained, side",
        "fine-grained, region", "fine-grained, severity",
    }  # fmt: skip
    for name in slices:
        assert len({item.answer for item in items if item.slice == name}) > 1
    assert all(chexbench.choice(item, right(item)) == item.answer for item in items)


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
    picked = [f for f in real_val_films() if f.source.startswith(chexbench.IU)][:24]
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
    assert main(["chexbench", "build", "--run", str(run_dir)]) == 0
    assert main(["chexbench", "run", *command]) == 0
    told = pq.read_table(run_dir / "evaluate" / "chexbench" / "predictions.parquet").to_pylist()
    slices = [row["slice"] for row in told]
    assert 1 <= max(map(slices.count, slices)) <= 2
    assert all(row["correct"] == (row["option"] == row["answer"]) for row in told)
