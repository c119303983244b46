"""Loops look at the ledger, live through faults, and end when told."""

from __future__ import annotations

import threading
import time

from node.dispatch import LocalDispatch
from tests.node.conftest import wait_for


def test_a_step_that_fails_is_run_again() -> None:
    seen: list[int] = []

    def step() -> bool:
        seen.append(1)
        if len(seen) < 3:
            raise OSError("the ledger was locked")
        return False

    dispatch = LocalDispatch(sweep_s=0.01)
    dispatch.add("failing", step)
    dispatch.start()
    wait_for(lambda: len(seen) > 3)
    assert dispatch.stop(5)


def test_a_kick_needs_no_sweep_and_a_lost_one_is_only_a_delay() -> None:
    ran = threading.Event()

    def step() -> bool:
        ran.set()
        return False

    dispatch = LocalDispatch(sweep_s=0.3)
    dispatch.add("slow", step)
    dispatch.start()
    assert ran.wait(1)
    ran.clear()
    dispatch.kick()
    assert ran.wait(0.2)
    ran.clear()
    assert ran.wait(1)
    assert dispatch.stop(5)


def test_a_step_under_way_is_let_end() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def step() -> bool:
        begun.set()
        return not may_end.wait(5)

    dispatch = LocalDispatch(sweep_s=0.01)
    dispatch.add("long", step)
    dispatch.start()
    begun.wait(5)
    assert not dispatch.stop(0.05)
    may_end.set()
    assert dispatch.stop(5)


def test_a_step_that_hangs_is_gone_on_with_by_another_thread() -> None:
    begun, may_end, ran = threading.Event(), threading.Event(), threading.Event()

    def step() -> bool:
        if not begun.is_set():
            begun.set()
            may_end.wait(20)
        else:
            ran.set()
        return False

    dispatch = LocalDispatch(sweep_s=0.01)
    dispatch.add("hanging", step, limit_s=0.1)
    dispatch.start()
    assert ran.wait(5)
    assert dispatch.stop(5), "what hangs is not waited for"
    may_end.set()


def test_a_step_that_always_hangs_is_given_up_at_last() -> None:
    begun, may_end = [], threading.Event()

    def step() -> bool:
        begun.append(1)
        return not may_end.wait(20)

    dispatch = LocalDispatch(sweep_s=0.01)
    dispatch.add("hanging", step, limit_s=0.01)
    dispatch.start()
    wait_for(lambda: len(begun) == 17)
    time.sleep(0.2)
    assert len(begun) == 17
    may_end.set()
    assert dispatch.stop(5)
