"""The line of likely findings: who is named, when there is none, and that it is the trained one."""

import json
import shutil

import numpy as np
import pytest

from engine import hints
from engine.backends.select import open_backend
from engine.bundle import DEMO, open_bundle
from engine.findings import FINDINGS
from engine.pipeline import Engine
from engine.prompts import REPORT_INSTRUCTIONS
from engine.vqgan import codes_of_film
from tests.training.reports import film
from training import instructions
from training.config import SftSection
from training.instructions import RowBuilder

ALWAYS, NEVER = 0.0, 2.0
FILM = np.tile(np.linspace(-1, 1, 256, dtype=np.float32), (1, 256, 1))


def hinted_bundle(target, thresholds):
    """Copy the demo bundle and state thresholds in it."""
    directory = shutil.copytree(DEMO, target)
    path = directory / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hints": thresholds}))
    return open_bundle(directory)


@pytest.fixture(scope="module")
def hinted(tmp_path_factory):
    """An engine that names an effusion in every prompt."""
    thresholds = {"Pleural Effusion": ALWAYS, "Edema": NEVER}
    bundle = hinted_bundle(tmp_path_factory.mktemp("hints") / "bundle", thresholds)
    return Engine(bundle, open_backend(bundle, "auto", 1))


def test_a_finding_is_likely_from_its_own_threshold_on():
    chances = {"Edema": 0.3, "Fracture": 0.29, "Cardiomegaly": 0.9}
    assert hints.likely(chances, {"Edema": 0.3, "Fracture": 0.3}) == {"Edema"}
    assert hints.likely(chances, {}) == frozenset()


def test_names_stand_in_the_order_of_the_findings_whatever_the_set_s():
    named = {"Support Devices", "Edema", "Cardiomegaly", "No Finding"}
    assert hints.line(named) == "Likely findings: cardiomegaly, edema, support devices."
    assert hints.line(()) == "Likely findings: none."
    assert set(hints.NAMES) == set(FINDINGS) - {"No Finding"}


def test_a_bundle_without_thresholds_gives_no_line(tmp_path):
    engine = Engine(
        bundle := hinted_bundle(tmp_path / "bundle", {}), open_backend(bundle, "auto", 1)
    )
    assert engine.hint_thresholds == {}
    assert engine.context(FILM) == ""


def test_a_bundle_with_thresholds_names_what_reaches_them(hinted):
    assert 0 <= hinted.findings(FILM)["Pleural Effusion"] <= 1
    assert hinted.context(FILM) == "Likely findings: pleural effusion."


def test_the_prompt_of_a_report_is_one_that_training_makes(hinted, monkeypatch):
    given = []
    monkeypatch.setattr(hinted, "write", lambda prompt, *_: given.append(prompt) or [])
    monkeypatch.setattr(instructions, "MISSED_HINT", 0.0)
    monkeypatch.setattr(instructions, "FALSE_HINT", 0.0)
    case = film("s1", "There is a small left pleural effusion.")
    codes = np.asarray([codes_of_film(hinted.backend, FILM)], np.int16)
    builder = RowBuilder(hinted.prompts, [case], codes, SftSection(hints=1.0))
    taught = shown(builder)
    hinted.report(FILM)
    hinted.report(FILM, hinted=False)
    assert given[0] == taught != given[1]
    unhinted = RowBuilder(hinted.prompts, [case], codes, SftSection(hints=0.0))
    assert given[1] == shown(unhinted)


def shown(builder):
    """Return the prompt of the first film as a training row has it."""
    study = builder.study(0, np.random.default_rng(0))
    return builder.prompts.about_study(REPORT_INSTRUCTIONS[0], study)
