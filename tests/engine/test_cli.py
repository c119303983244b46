"""`cxr` answers on standard output, explains on standard error, and marks what it draws."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as PilImage

from engine.banner import is_burned
from engine.cli import DRAFT_STATUS, FAULT, REFUSED, main
from engine.errors import BundleMissing
from engine.results import Answer
from tests.fakes import FakeEngine
from tests.films import phantom


class Model(FakeEngine):
    """The fake model as the command line sees it."""

    def report(self, image, *, advance, **beside):
        advance(1)
        return super().report(image, **beside)

    def ask(self, image, question, *, advance, **beside):
        return Answer(question, "No.", self._provenance(None, **beside))

    def draw(self, text, *, seed, advance):
        advance(256)
        return super().draw(text, seed=seed)


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.dcm"
    phantom().save_as(path, enforce_file_format=True)
    return str(path)


def run(*arguments: str, model: FakeEngine | None = None) -> int:
    return main(arguments, load=lambda _bundle: model or Model())


def test_a_report_is_drafted_and_says_that_it_is_a_draft(film, capsys):
    assert run("report", film) == 0
    out = capsys.readouterr().out
    assert out.startswith(DRAFT_STATUS)
    assert "Impression\n- No acute finding." in out


def test_a_report_as_json_holds_text_guard_and_provenance(film, capsys):
    assert run("report", film, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["status"] == DRAFT_STATUS
    assert record["impression"] == ["No acute finding."]
    assert record["inspection"]["accepted"] is True
    assert record["provenance"]["bundle_digest"] == FakeEngine.digest


def test_a_question_is_answered(film, capsys):
    assert run("ask", film, "Is there a pneumothorax?") == 0
    assert capsys.readouterr().out == "No.\n"


def test_a_drawing_is_marked_in_its_pixels_and_in_its_file(tmp_path):
    path = tmp_path / "drawn.png"
    assert run("draw", "No acute finding.", "-o", str(path), "--seed", "3") == 0
    with PilImage.open(path) as raster:
        assert raster.text["Synthetic"] == "yes"
        assert json.loads(raster.text["Provenance"])["seed"] == 3
        assert is_burned(np.asarray(raster))


def test_a_refused_film_is_not_read_unless_forced(film, capsys):
    model = Model(rejects=("this is a lateral film",))
    assert run("report", film, model=model) == REFUSED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "refused: the film is refused: this is a lateral film\nhint: `--force`" in captured.err
    assert run("report", film, "--force", model=model) == 0
    assert "warning: this is a lateral film" in capsys.readouterr().err


def test_a_refusal_as_json_gives_its_reasons(film, capsys):
    assert run("report", film, "--json", model=Model(rejects=("lateral",))) == REFUSED
    assert json.loads(capsys.readouterr().out)["reasons"] == ["lateral"]


ERRORS = {
    "cannot open": ("report", "missing.dcm"),
    "the question is empty": ("ask", "film.dcm", " "),
    "the text is empty": ("draw", "", "-o", "drawn.png"),
    "cannot write": ("draw", "Normal.", "-o", "no/such/folder/drawn.png"),
}


@pytest.mark.parametrize("message", ERRORS)
def test_an_error_is_one_line_and_a_hint(message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*ERRORS[message]) == FAULT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert len(captured.err.splitlines()) == 2


def test_a_missing_bundle_is_an_error_with_its_hint(film, capsys):
    def load(bundle):
        raise BundleMissing(f"no bundle at {bundle}")

    assert main(["report", film, "--bundle", "nowhere"], load=load) == FAULT
    assert "hint: point `engine.bundle`" in capsys.readouterr().err


def test_a_model_that_fails_is_an_error_not_a_draft(film, capsys):
    assert run("report", film, model=Model(fails=True)) == FAULT
    assert capsys.readouterr().out == ""


def test_a_report_is_told_what_is_known_beside_the_film(film, capsys):
    model = Model()
    model.inputs = ("frontal", "indication")
    known = ("--indication", "Cough", "--lateral", film)
    assert run("report", film, *known, "--json", model=model) == 0
    told = capsys.readouterr()
    assert model.given[0]["indication"] == "Cough"
    assert "trained without: lateral; left out" in told.err
    assert "looks frontal" in told.err
    assert json.loads(told.out)["provenance"]["inputs"] == ["indication", "frontal"]
