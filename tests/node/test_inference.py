"""The model runs in a process of its own: what kills it costs one study and nothing else."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from engine.assessment import Bands
from engine.errors import (
    BundleCorrupt,
    BundleIncompatible,
    EngineError,
    GenerationFault,
)
from engine.study_input import Part
from node.errors import InferenceFault
from node.inference import InferenceChild
from tests.fakes import FakeEngine
from tests.node.conftest import (
    is_gone,
    wait_for,
)

DARK, BRIGHT = (np.full((1, 256, 256), value, np.float32) for value in (-0.5, 0.5))
Make = Callable[..., InferenceChild]


def test_every_call_answers_as_in_this_process(make: Make) -> None:
    child, plain = make("plain"), FakeEngine()
    assert child.report(DARK) == plain.report(DARK)
    assert child.inspect(DARK) == plain.inspect(DARK)
    assert child.ask(DARK, "Größe?") == plain.ask(DARK, "Größe?")
    assert child.assess(DARK, "No effusion.", Bands()) == plain.assess(
        DARK, "No effusion.", Bands()
    )
    ours, theirs = child.draw("a", seed=2), plain.draw("a", seed=2)
    assert np.array_equal(ours.image, theirs.image)
    assert (ours.codes, ours.provenance) == (theirs.codes, theirs.provenance)
    for name, area in child.evidence(DARK).items():
        assert np.array_equal(area, plain.evidence(DARK)[name])
    for name in ("name", "version", "digest", "device_uid", "transform", "license"):
        assert getattr(child, name) == getattr(plain, name)
    assert child.intended_use == plain.intended_use


def test_what_is_known_beside_a_film_crosses_to_the_model(make: Make) -> None:
    child = make("parts")
    assert child.inputs == tuple(map(str, Part))
    texts = {"indication": "Größe?", "previous_report": "Clear."}
    given = child.report(DARK, lateral=BRIGHT, **texts).provenance.inputs
    assert given == child.inputs
    assert child.report(DARK, indication="Größe?").provenance.inputs == ("indication", "frontal")
    assert child.ask(DARK, "Why?", lateral=BRIGHT).provenance.inputs == ("frontal", "lateral")
    done = child.follow("Summarise.", text="Größe", max_new_tokens=8)
    assert (done.question, done.text) == ("Summarise.", "Said of: Größe")
    assert child.follow("View?", DARK, max_new_tokens=8).text == "Yes."
    assert child.follow("Which?", DARK, options=("b", "a"), max_new_tokens=8).text == "b"


@pytest.mark.parametrize(
    ("way", "reason", "hint"),
    [
        ("unforeseen", r"internal error: ZeroDivisionError at strange_child.py:\d+", ""),
        ("garbage", "its answer was none", ""),
        ("swells", "more memory than it may take", "node.work.engine_memory_mb"),
        ("runtime", "more memory than it may take", "node.work.engine_memory_mb"),
        ("thread", "more memory than it may take", "node.work.engine_memory_mb"),
        ("threads", "start no more threads", "TasksMax"),
        ("hangs", "it took too long", "node.work.draft_timeout_s"),
        ("crashes", "the runtime crashed", ""),
        ("aborts", "where memory runs out", "node.work.engine_memory_mb"),
        ("leaves", "it ended with 3", ""),
    ],
)
def test_a_call_that_ends_the_process_says_why_and_the_next_is_answered(
    make: Make,
    way: str,
    reason: str,
    hint: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    child = make(way, engine_memory_mb=2048, draft_timeout_s=8)
    child.warm_up()
    first = child.pid
    assert first is not None
    with caplog.at_level(logging.INFO, "cxr_node"), pytest.raises(InferenceFault) as fault:
        child.report(DARK)
    assert fault.match(reason)
    assert hint in fault.value.hint
    assert is_gone(first)
    assert child.report(BRIGHT) == FakeEngine().report(BRIGHT)
    assert child.pid != first
    said = "".join([*capfd.readouterr(), caplog.text, str(fault.value), fault.value.hint])
    assert "Doe" not in said


@pytest.mark.parametrize(
    ("way", "kind", "reason", "hint"),
    [("fault", GenerationFault, "no numbers", "cool it down"), ("own", EngineError, "a class", "")],
)
def test_an_error_of_the_engine_crosses_as_what_it_is(
    make: Make, way: str, kind: type[EngineError], reason: str, hint: str
) -> None:
    child = make(way)
    with pytest.raises(EngineError, match=reason) as fault:
        child.report(DARK)
    assert type(fault.value) is kind
    assert fault.value.hint == hint
    pid = child.pid
    child.report(BRIGHT)
    assert child.pid == pid, "there was no need for another process"


@pytest.mark.parametrize("text", ["no numbers", "no codes"])
def test_a_drawing_of_no_numbers_or_codes_is_never_taken(make: Make, text: str) -> None:
    child = make("plain")
    with pytest.raises(InferenceFault, match="its answer was none"):
        child.draw(text, seed=1)
    assert child.draw("a film", seed=1).codes == tuple(range(256))


def test_a_process_that_stands_still_is_ended_when_its_time_is_over(make: Make) -> None:
    child = make("plain", draft_timeout_s=8)
    child.warm_up()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(InferenceFault, match="it took too long"):
        child.report(DARK)
    assert 1.9 < time.monotonic() - began < 6
    child.report(DARK)


def test_a_process_that_died_between_two_studies_costs_neither(make: Make) -> None:
    child = make("plain")
    child.report(DARK)
    pid = child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid))
    assert child.report(DARK) == FakeEngine().report(DARK)


def test_a_process_that_fails_again_and_again_is_started_less_and_less_often(make: Make) -> None:
    child = make("crashes")
    child.warm_up()
    began = time.monotonic()
    for _ in range(4):
        with pytest.raises(InferenceFault):
            child.report(DARK)
    assert time.monotonic() - began > 3, "a second, then two"
    child.report(BRIGHT)


@pytest.mark.parametrize(
    ("way", "kind", "reason"),
    [
        ("spoiled", BundleCorrupt, "encoder.onnx is missing"),
        ("imports", InferenceFault, "internal error: ImportError"),
        ("late", InferenceFault, "it took too long"),
    ],
)
def test_a_model_that_cannot_be_loaded_says_why(
    make: Make, way: str, kind: type[Exception], reason: str
) -> None:
    child = make(way, draft_timeout_s=6)
    with pytest.raises(kind, match=reason):
        child.warm_up()


def test_what_the_engine_notes_while_it_loads_comes_into_the_log(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cxr_node"):
        make("notes").warm_up()
    assert 'inference.note text="backend skipped: gpu: none here"' in caplog.text


def test_another_bundle_in_the_same_place_is_not_taken_up(make: Make) -> None:
    child = make("changes")
    child.report(DARK)
    pid = child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid))
    with pytest.raises(BundleIncompatible) as refused:
        child.report(DARK)
    assert refused.value.hint == "restart the node"
