"""The demo takes a film round a real node and brings back a marked draft."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image as PilImage
from pydicom import dcmread

from engine.banner import is_burned
from node.config import Settings
from node.demo import DemoFailed, add_arguments, run_demo
from node.drawn_phantom import NoPhantom, attempts
from node.phantom import film_from_file
from node.sc import missing_marks
from node.sr_text import as_html, as_text
from tests.fakes import FakeEngine
from tests.films import phantom
from tests.node.outputs_made import draft, draft_sr, identity

FILES = {
    "draft-report.dcm",
    "draft-report.html",
    "draft-report.txt",
    "draft.pdf",
    "film.dcm",
    "film.png",
    "findings.dcm",
    "findings.html",
    "synthetic-image.dcm",
    "synthetic-image.png",
    "draft-beside-film.png",
}


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_demo_brings_back_a_marked_draft_and_leaves_its_files(tmp_path, capsys):
    assert run_demo(options("-o", str(tmp_path)), FakeEngine()) == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert dcmread(tmp_path / "draft-report.dcm").VerificationFlag == "UNVERIFIED"
    assert missing_marks(dcmread(tmp_path / "synthetic-image.dcm")) == ()
    assert dcmread(tmp_path / "film.dcm").SyntheticData == "YES"
    assert is_burned(np.asarray(PilImage.open(tmp_path / "film.png")))
    told = capsys.readouterr().out
    assert "accept_synthetic" in told
    assert "not a medical device" in told


def test_the_users_film_goes_round_under_the_name_of_the_phantom(tmp_path):
    film = tmp_path / "mine.dcm"
    phantom(PatientName="Secret^Name", PatientID="SECRET").save_as(film, enforce_file_format=True)
    out = tmp_path / "out"
    assert run_demo(options("--film", str(film), "-o", str(out)), FakeEngine()) == 0
    assert dcmread(out / "draft-report.dcm").PatientName == "PHANTOM^CHEST"
    assert all(b"ecret" not in path.read_bytes().lower() for path in out.iterdir())


def test_a_film_that_the_guard_refuses_ends_the_demo_with_the_reason(tmp_path):
    engine = FakeEngine(rejects=("this is not a chest X-ray",))
    film = tmp_path / "film.png"
    PilImage.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).save(film)
    with pytest.raises(DemoFailed, match="this is not a chest X-ray"):
        run_demo(options("--film", str(film), "-o", str(tmp_path / "out")), engine)
    assert not (tmp_path / "out").exists()


def test_drawings_that_no_seed_gets_past_the_guard_end_the_demo(tmp_path):
    with pytest.raises(NoPhantom, match="No drawing passed the guard"):
        run_demo(options("-o", str(tmp_path)), FakeEngine(rejects=("lateral",)))


def test_only_the_demo_lets_synthetic_films_in():
    assert Settings().node.intake.accept_synthetic is False


def test_a_16_bit_png_keeps_its_grey_scale(tmp_path):
    from datetime import UTC, datetime

    path = tmp_path / "deep.png"
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    PilImage.fromarray(ramp).save(path)
    stored = film_from_file(path, datetime.now(UTC)).pixel_array
    assert (stored.min(), stored.max()) == (0, 4095)
    assert len(np.unique(stored)) > 50


HOSTILE = '<script>alert("x")</script>'


def test_the_html_of_a_report_escapes_whatever_it_is_given():
    ds = draft_sr(phantom(PatientName=HOSTILE), draft=draft(findings=(HOSTILE,)))
    page = as_html(ds)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("UNVERIFIED") >= 2


def test_the_text_of_a_report_opens_and_closes_with_its_status():
    lines = as_text(draft_sr(identity=identity())).splitlines()
    assert lines[0] == lines[-1] == "*** UNVERIFIED · PARTIAL · PRELIMINARY ***"
    assert "  - Heart size is normal." in lines


def test_a_phantom_is_drawn_until_the_guard_takes_one_and_is_marked():
    engine = FakeEngine()
    (attempt,) = attempts(engine, 3, datetime.now(UTC))
    assert (attempt.seed, attempt.reasons) == (3, ())
    assert attempt.film.SyntheticData == "YES"
