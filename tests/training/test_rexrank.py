"""ReXrank's JSON in and out, through the command and the bundle that ships."""

from __future__ import annotations

import json

import pytest

from engine.errors import CxrError
from engine.results import DraftReport, Provenance
from tests.fakes import FakeEngine
from tests.training.conftest import write_films
from training.cli import main
from training.evaluate.rexrank import (
    TRACKS,
    StudyFault,
    failures_path,
    indication_of,
    key_image,
    locate,
    predict,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = write_films(tmp_path_factory.mktemp("films"), count=3)
    (folder / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return folder


def run(tmp_path, root, studies, *more: str) -> tuple[int, dict]:
    source, output = tmp_path / "in.json", tmp_path / "out" / "predictions.json"
    source.write_text(json.dumps(studies))
    code = main(
        ["inference", "--input-json", str(source), "--output-json", str(output),
         "--image-root", str(root), "--threads", "2", *more]
    )  # fmt: skip
    return code, json.loads(output.read_text())


def test_every_field_is_handed_through_and_a_prediction_added(tmp_path, root, capsys):
    study = {
        "image_path": ["images/film_1.jpg", "images/film_0.jpg"],
        "frontal_lateral": ["Lateral", "Frontal"],
        "context": "Indication: cough.",
        "section_findings": "Überblick: normal.",
        "added later": {"kept": [1, None]},
    }
    code, predicted = run(tmp_path, root, {"s1": study})
    assert code == 0
    (answered,) = predicted.values()
    text = answered.pop("model_prediction")
    assert answered == study
    assert len(text.split()) > 3
    assert not failures_path(tmp_path / "out" / "predictions.json").exists()
    again, repeated = run(tmp_path, root, {"s1": study}, "--track", "findings")
    assert (again, repeated["s1"]["model_prediction"]) == (0, text)


@pytest.mark.parametrize(
    ("context", "indication"),
    [
        ("Age:60-70.Gender:F.Indication: Cough.Comparison: None.", "Cough."),
        ("Indication: ___ year old man with fever. Age: 3", "Man with fever."),
        ("Age:60-70.", ""),
        (None, ""),
    ],
)
def test_the_indication_is_read_from_the_context(context, indication):
    assert indication_of({"context": context}) == indication


def test_a_model_is_given_the_parts_that_it_reads_and_no_other(root):
    study = {
        "image_path": ["images/film_1.jpg", "images/film_0.jpg"],
        "frontal_lateral": ["Lateral", "Frontal"],
        "context": "Indication: cough.",
    }
    plain, knowing = FakeEngine(), FakeEngine()
    knowing.inputs = ("frontal", "lateral", "indication")
    for model in (plain, knowing):
        predict({"s": study}, root, model, "report")
    assert plain.given == [{}]
    (given,) = knowing.given
    assert given.keys() == {"lateral", "indication"}
    assert given["indication"] == "Cough."


def test_what_cannot_be_read_is_named_and_nothing_is_lost(tmp_path, root, capsys):
    studies = {
        "missing": {"image_path": ["images/none.jpg"]},
        "broken": {"image_path": ["images/broken.jpg"]},
        "outside": {"image_path": ["../../etc/passwd"]},
        "no image": {"image_path": [], "context": "kept"},
        "good": {"image_path": "images/film_2.jpg"},
    }
    code, predicted = run(tmp_path, root, studies, "--track", "report")
    assert code == 1
    assert list(predicted) == list(studies)
    assert predicted["no image"]["context"] == "kept"
    empty = {name for name, study in predicted.items() if not study["model_prediction"]}
    assert empty == studies.keys() - {"good"}
    assert predicted["good"]["model_prediction"].startswith("Findings: ")
    failures = json.loads(failures_path(tmp_path / "out" / "predictions.json").read_text())
    assert failures.keys() == empty
    lines = [line for line in capsys.readouterr().err.splitlines() if "no prediction for" in line]
    assert len(lines) == len(empty)


@pytest.mark.parametrize("content", ["[1, 2]", '{"s": "text"}', "{", None])
def test_an_input_that_holds_no_studies_is_refused_in_one_line(content, tmp_path, capsys):
    source = tmp_path / "in.json"
    if content is not None:
        source.write_text(content)
    output = tmp_path / "out.json"
    arguments = ["--input-json", str(source), "--output-json", str(output)]
    assert main(["inference", *arguments, "--image-root", str(tmp_path)]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert str(source) in error
    assert hint.startswith("hint: ")
    assert not output.exists()


def test_the_key_image_comes_first_then_a_frontal_one():
    paths = ["a.png", "b.png"]
    views = ["Lateral", "Frontal"]
    assert key_image({"image_path": paths, "key_image_path": "b.png"}) == "b.png"
    assert key_image({"image_path": paths, "frontal_lateral": views}) == "b.png"
    assert key_image({"image_path": paths}) == "a.png"
    with pytest.raises(StudyFault, match="no image"):
        key_image({})


def test_an_image_path_stays_under_the_root(tmp_path):
    assert locate("p10/a.png", tmp_path) == tmp_path.resolve() / "p10" / "a.png"
    for path in ("/etc/passwd", "../a.png"):
        with pytest.raises(CxrError, match="leads out"):
            locate(path, tmp_path)


def test_the_tracks_write_what_rexrank_expects():
    provenance = Provenance("demo", "1", "0", "1", "cpu", None, 1.0)
    draft = DraftReport(("Clear lungs.", "No effusion."), ("Normal.",), "", provenance)
    assert TRACKS["findings"](draft) == "Clear lungs. No effusion."
    assert TRACKS["report"](draft) == "Findings: Clear lungs. No effusion. Impression: Normal."
