"""Several calls are under way in the model's process at one time, and none pays for another."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from engine.errors import GenerationFault
from engine.results import DraftReport
from engine.scheduler import Urgency
from node.errors import InferenceFault
from node.inference import InferenceChild
from node.inference_child import MAX_CALLS
from node.inference_turns import Turns
from tests.fakes import FakeEngine
from tests.node.conftest import is_gone, wait_for

DARK, BRIGHT, WHITE = (np.full((1, 256, 256), value, np.float32) for value in (-0.5, 0.5, 0.9))
Make = Callable[..., InferenceChild]


def _white_under_way(child: InferenceChild, threads: ThreadPoolExecutor) -> Future[DraftReport]:
    """Begin a report that takes a second; return it when it is with the model."""
    white = threads.submit(child.report, WHITE)
    time.sleep(0.3)
    return white


def test_two_calls_are_with_the_model_at_one_time(make: Make) -> None:
    child = make("meets")
    with ThreadPoolExecutor(2) as threads:
        drafts = list(threads.map(child.report, [DARK, DARK]))
    assert drafts == [FakeEngine().report(DARK)] * 2


def test_a_quick_call_is_answered_before_a_slow_one_that_came_first(make: Make) -> None:
    child = make("plain")
    child.warm_up()
    with ThreadPoolExecutor(1) as threads:
        white = _white_under_way(child, threads)
        assert child.report(BRIGHT) == FakeEngine().report(BRIGHT)
        assert not white.done()
        assert white.result() == FakeEngine().report(WHITE)


def test_answers_reach_those_who_asked(make: Make) -> None:
    child = make("plain")
    films = [np.full((1, 256, 256), number / 100, np.float32) for number in range(60)]
    with ThreadPoolExecutor(8) as threads:
        texts = [draft.text for draft in threads.map(child.report, films)]
    assert texts == [FakeEngine().report(film).text for film in films]


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("unforeseen", r"^internal error: ZeroDivisionError at strange_child.py:\d+$"),
        ("garbage", "its answer was none"),
        ("swells", "more memory than it may take"),
        ("crashes", r"^the model stopped \(report\): the runtime crashed$"),
        ("leaves", "it ended with 3"),
    ],
)
def test_who_ends_the_process_fails_and_who_was_beside_it_does_not(
    make: Make, way: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    child = make(way, engine_memory_mb=2048, draft_timeout_s=20)
    child.warm_up()
    with caplog.at_level(logging.INFO, "cxr_node"), ThreadPoolExecutor(1) as threads:
        white = _white_under_way(child, threads)
        with pytest.raises(InferenceFault, match=reason):
            child.report(DARK)
        assert white.result() == FakeEngine().report(WHITE)
    assert caplog.text.count("num_calls=2") == 1
    assert "Doe" not in caplog.text


def test_a_hang_costs_nobody_else(make: Make) -> None:
    child = make("hangs", draft_timeout_s=8)
    child.warm_up()
    first = child.pid
    with ThreadPoolExecutor(1) as threads:
        hung = threads.submit(child.report, DARK)
        while not hung.done():
            assert child.report(WHITE) == FakeEngine().report(WHITE)
        with pytest.raises(InferenceFault, match=r"^the model stopped \(report\): it took too lo"):
            hung.result()
    assert first is not None
    assert is_gone(first)


def test_a_process_that_dies_under_several_calls_costs_none_of_them(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    child = make("plain")
    child.warm_up()
    pid = child.pid
    assert pid is not None
    with caplog.at_level(logging.INFO, "cxr_node"), ThreadPoolExecutor(3) as threads:
        drafts = [threads.submit(child.report, WHITE) for _ in range(3)]
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        assert [draft.result() for draft in drafts] == [FakeEngine().report(WHITE)] * 3
    assert caplog.text.count("inference.stopped") == 1
    assert 'during=report+report+report reason="the system ended it' in caplog.text


def test_a_refusal_of_the_engine_is_of_one_call_alone(make: Make) -> None:
    child = make("fault")
    child.warm_up()
    pid = child.pid
    with ThreadPoolExecutor(1) as threads:
        white = _white_under_way(child, threads)
        with pytest.raises(GenerationFault):
            child.report(DARK)
        assert white.result() == FakeEngine().report(WHITE)
    assert child.pid == pid


def test_time_that_others_took_is_not_held_against_a_call(make: Make) -> None:
    child = make("serial", draft_timeout_s=8)
    child.warm_up()
    pid = child.pid
    began = time.monotonic()
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(child.report, [DARK] * 3))
    assert time.monotonic() - began > 3, "longer than one report may take"
    assert child.pid == pid


def test_no_more_calls_than_the_table_says_are_with_the_model(make: Make) -> None:
    child = make("counts")
    with ThreadPoolExecutor(MAX_CALLS + 8) as threads:
        asked = [threads.submit(child.ask, DARK, "How many?") for _ in range(MAX_CALLS + 8)]
    most = {int(each.result().text.split()[0]) for each in asked}
    assert 1 < max(most) <= MAX_CALLS


def test_the_urgency_reaches_the_model(make: Make) -> None:
    child = make("counts")
    assert child.ask(DARK, "How urgent?").text == "1 ROUTINE"
    assert child.ask(DARK, "How urgent?", urgency=Urgency.STAT).text == "1 STAT"


def test_who_waits_too_long_for_a_turn_is_told(make: Make) -> None:
    child = make("plain", draft_timeout_s=8)
    child.warm_up()
    child._turns, child._timeout_s = Turns(1), 0.2
    with ThreadPoolExecutor(1) as threads:
        white = _white_under_way(child, threads)
        with pytest.raises(InferenceFault, match=r"busy for 0\.2 s"):
            child.inspect(DARK)
        white.result()


def test_no_thread_is_left_when_the_model_has_stopped(make: Make) -> None:
    before = set(threading.enumerate())
    child = make("crashes")
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(child.report, [BRIGHT, BRIGHT]))
    with pytest.raises(InferenceFault):
        child.report(DARK)
    child.report(BRIGHT)
    child.stop()
    assert set(threading.enumerate()) <= before


def test_who_wants_to_be_alone_goes_before_those_who_join() -> None:
    turns, order = Turns(2), list[str]()

    def come(name: str, *, alone: bool) -> None:
        with turns.turn(5, alone=alone):
            order.append(name)
            time.sleep(0.1)

    alone = threading.Thread(target=come, args=("alone",), kwargs={"alone": True})
    joining = threading.Thread(target=come, args=("joining",), kwargs={"alone": False})
    with turns.turn(1), turns.turn(1):
        assert not turns.take(0.05)
        alone.start()
        wait_for(lambda: turns._num_wanting_alone)
        joining.start()
        time.sleep(0.1)
        assert not order
    alone.join()
    joining.join()
    assert order == ["alone", "joining"]


def test_who_was_not_alone_in_time_bars_nobody() -> None:
    turns = Turns(2)
    with turns.turn(1):
        assert not turns.take(0.05, alone=True)
        assert turns.take(0.05)
