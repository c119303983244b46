import json
import shutil

import numpy as np
import pytest

from engine.bundle import open_bundle
from engine.errors import BundleCorrupt, BundleIncompatible, BundleMissing, CxrError
from engine.nets.load import load_language_model
from engine.pipeline import Engine
from export import parity
from export.cli import main
from export.drawn import FloatSteps, drawn_codes


@pytest.fixture
def copy(bundle_dir, tmp_path):
    return shutil.copytree(bundle_dir, tmp_path / "bundle")


def edit(bundle, **changes):
    path = bundle / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return bundle


def test_a_bundle_holds_no_pickle_and_names_every_file(bundle_dir):
    bundle = open_bundle(bundle_dir)
    named = {entry["path"] for entry in bundle.manifest["files"].values()} | {"bundle.json"}
    assert {path.name for path in bundle_dir.iterdir()} == named
    assert {path.suffix for path in bundle_dir.iterdir()} == {".onnx", ".json", ".txt"}


def test_a_missing_bundle_says_where_it_looked(tmp_path):
    with pytest.raises(BundleMissing, match=str(tmp_path)) as caught:
        open_bundle(tmp_path)
    assert "engine.bundle" in caught.value.hint


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json", "language_model.onnx"])
def test_one_changed_byte_is_refused_by_the_file_s_name(copy, name):
    with (copy / name).open("r+b") as stream:
        stream.seek(100)
        byte = stream.read(1)
        stream.seek(100)
        stream.write(bytes([byte[0] ^ 1]))
    with pytest.raises(BundleCorrupt, match=name):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"format": 99}, "format 99"),
        ({"prompt_version": "other"}, "other"),
        ({"files": {}}, "encoder"),
        (
            {"vocabulary": {"num_text": 5, "end_id": 9, "image_open_id": 1, "image_close_id": 2}},
            "outside",
        ),
    ],
)
def test_a_bundle_for_other_software_is_refused_in_one_line(copy, changes, word):
    with pytest.raises(BundleIncompatible, match=word) as caught:
        open_bundle(edit(copy, **changes))
    assert "\n" not in str(caught.value)


def test_a_file_outside_the_bundle_is_refused(copy):
    files = open_bundle(copy).manifest["files"]
    files["license"]["path"] = "../secret"
    with pytest.raises(BundleCorrupt, match="leaves the bundle"):
        open_bundle(edit(copy, files=files))


def test_an_int8_bundle_is_measured_against_its_float32_model(trained, bundle_dir):
    rows = trained.reported("val")[:2]
    texts = [trained.report_text(int(row)) for row in rows]
    found = parity.measure(trained.run_dir, bundle_dir, np.asarray(trained.images[rows]), texts)
    # halved weights flip near ties, of which an untrained codebook is full
    assert found.codes_equal > 0.7
    assert found.kl < 0.02
    assert found.drawing_error < 0.02
    assert found.drawings_equal <= found.drawing_codes_equal <= 1.0


def test_the_float32_model_draws_the_same_film_from_the_same_seed(trained, bundle_dir):
    bundle, model = open_bundle(bundle_dir), load_language_model(trained.run_dir)
    exact = FloatSteps(model.model, bundle.cache.max_length)

    def draw(seed: int) -> list[int]:
        slots = [exact.open_slot(), exact.open_slot()]
        return drawn_codes(exact, slots, bundle, model, "The lungs are clear.", seed)

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_the_gate_says_no_when_a_figure_misses():
    good = parity.Parity(4, 1.0, 0.01, 0.95, 1.0, 1.0, 0.0, 1.0, 1.0)
    assert good.passed
    assert not parity.Parity(4, 1.0, 0.03, 0.95, 1.0, 1.0, 0.0, 1.0, 1.0).passed
    assert not parity.Parity(4, 1.0, 0.01, 0.90, 1.0, 1.0, 0.0, 1.0, 1.0).passed
    assert not parity.Parity(4, 0.9, 0.01, 0.95, 1.0, 1.0, 0.0, 1.0, 1.0).passed


def test_the_command_line_names_a_run_that_is_none(tmp_path, capsys):
    assert main(["bundle", "--run", str(tmp_path), "--output", str(tmp_path / "b")]) == 1
    assert "is no run directory" in capsys.readouterr().err


def test_an_unknown_backend_is_refused(bundle_dir):
    with pytest.raises(CxrError, match="unknown backend"):
        Engine.load(bundle_dir, backend="abacus")
