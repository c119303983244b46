"""The demo bundle in a process of its own: the same objects, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from engine.config import EngineSettings
from engine.pipeline import Engine
from engine.pixels import render
from engine.scheduler import Urgency
from node.config import StorageSettings, WorkSettings
from node.config_outputs import OutputSettings, SyntheticSettings
from node.drawn_phantom import PROMPT
from node.errors import InferenceFault
from node.inference import InferenceChild
from node.made import Made
from node.models import Models
from node.phantom import film_from_drawing
from node.pipeline import Pipeline
from node.ports import Drafter
from node.records import Claim, StoredInstance
from node.spool import Spool
from tests import films
from tests.fakes import ManualClock, PlainRenderer

pytestmark = pytest.mark.slow

_BLANK = np.zeros((1, 256, 256), np.float32)
_KINDS = ("report", "findings", "synthetic", "heatmap", "pdf")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load()


@pytest.fixture
def child() -> Iterator[InferenceChild]:
    made = InferenceChild(EngineSettings(), WorkSettings())
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def film(engine: Engine) -> Dataset:
    """Return a film that the model draws and its guard accepts, for nobody's film is needed."""
    for seed in range(12):
        drawn = film_from_drawing(engine.draw(PROMPT, seed=seed), datetime(2026, 1, 1, tzinfo=UTC))
        if engine.inspect(render(drawn, engine.transform)).accepted:
            return drawn
    pytest.fail("no drawing passed the guard")


def _objects(engine: Drafter, film: Dataset, root: Path, study_uid: str = "") -> dict[str, bytes]:
    """Draft a study; return the files of what leaves the node."""
    spool = Spool(StorageSettings(root=root, free_min_gb=0, free_min_percent=0))
    spool.prepare()
    path, _ = spool.store_output(Made.of(film))
    outputs = OutputSettings(synthetic=SyntheticSettings(enabled=True))
    clock = ManualClock()
    pipeline = Pipeline(
        Models(engine), PlainRenderer(), outputs, spool, clock, None, {"pacs": _KINDS}
    )
    stored = StoredInstance(film.SOPInstanceUID, film.SOPClassUID, film.SeriesInstanceUID, path)
    claim = Claim(study_uid or film.StudyInstanceUID, 1, "key", clock.now(), 1, "worker")
    finished = pipeline.draft_study(claim, (stored,))
    return {output.kind: spool.path(output.path).read_bytes() for output in finished.outputs}


def test_a_study_gets_the_same_objects_byte_for_byte(
    engine: Engine, child: InferenceChild, film: Dataset, tmp_path: Path
) -> None:
    ours = _objects(child, film, tmp_path / "child")
    theirs = _objects(engine, film, tmp_path / "engine")
    assert set(ours) >= {"report", "findings", "synthetic", "pdf"}
    assert ours == theirs


def test_studies_side_by_side_get_the_same_objects_as_alone(
    child: InferenceChild, film: Dataset, tmp_path: Path
) -> None:
    """They are told apart by their UID, and so by the seed of the drawing."""
    studies = [films.uid("study", number) for number in range(3)]
    alone = [_objects(child, film, tmp_path / f"alone {one}", one) for one in studies]
    with ThreadPoolExecutor(len(studies)) as threads:
        under_way = [
            threads.submit(_objects, child, film, tmp_path / f"beside {one}", one)
            for one in studies
        ]
        question = child.ask(_BLANK, "Is the heart large?", urgency=Urgency.STAT)
    assert [each.result() for each in under_way] == alone
    assert question.text == child.ask(_BLANK, "Is the heart large?").text
    assert len({objects["synthetic"] for objects in alone}) == len(studies)


def test_answers_are_those_of_the_engine_in_this_process(
    engine: Engine, child: InferenceChild, film: Dataset
) -> None:
    image = render(film, engine.transform)
    ours, theirs = child.ask(image, "Is the heart large?"), engine.ask(image, "Is the heart large?")
    timeless = {"milliseconds": 0.0}
    assert replace(ours, provenance=replace(ours.provenance, **timeless)) == replace(
        theirs, provenance=replace(theirs.provenance, **timeless)
    )
    assert child.evidence(image).keys() == engine.evidence(image).keys()
    assert (child.license, child.intended_use) == (engine.license, engine.intended_use)
    assert (child.transform, child.device_uid) == (engine.transform, engine.device_uid)


@pytest.mark.parametrize("memory_mb", [400, 480, 560, 640])
def test_too_little_memory_is_a_reason_with_its_hint(memory_mb: int) -> None:
    child = InferenceChild(EngineSettings(), WorkSettings(engine_memory_mb=memory_mb))
    try:
        with pytest.raises(InferenceFault) as fault:
            child.warm_up()
        assert "memory" in str(fault.value)
        assert "node.work.engine_memory_mb" in fault.value.hint
    finally:
        child.stop()
