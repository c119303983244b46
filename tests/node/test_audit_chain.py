"""The trail: what is written stays, and what was touched shows."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.audit_chain import AuditError, Chain, ChainBroken, seal_of, verify


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.jsonl"


def _filled(trail: Path, count: int = 5) -> list[bytes]:
    chain = Chain(trail)
    for number in range(count):
        chain.append([{"event": f"e{number}", "xml": "<a/>"}], {"event": number + 1})
    chain.close()
    return trail.read_bytes().splitlines(keepends=True)


def test_a_trail_is_for_its_owner_alone_and_verifies(trail: Path) -> None:
    before = os.umask(0)
    try:
        _filled(trail)
    finally:
        os.umask(before)
    assert stat.S_IMODE(trail.stat().st_mode) == 0o600
    head = verify(trail)
    assert (head.sequence, head.marks) == (5, {"event": 5})


def test_a_trail_goes_on_where_it_ended(trail: Path) -> None:
    _filled(trail, 2)
    chain = Chain(trail)
    assert chain.head == verify(trail)
    chain.append([{"event": "a"}, {"event": "b"}], {"event": 9})
    chain.close()
    assert verify(trail).sequence == 4


def _changed(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"e2", b"e9"), *lines[3:]]


def _resealed(lines: list[bytes]) -> list[bytes]:
    record = json.loads(lines[2]) | {"event": "e9"}
    record["seal"] = seal_of(record)
    return [*lines[:2], json.dumps(record).encode() + b"\n", *lines[3:]]


@pytest.mark.parametrize(
    ("tamper", "line"),
    [
        (_changed, 3),
        (_resealed, 4),
        (lambda lines: [*lines[:2], *lines[3:]], 3),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
        (lambda lines: [*lines[:3], b"noise\n", *lines[3:]], 4),
        (lambda lines: [*lines[:3], b"[]\n", *lines[3:]], 4),
    ],
    ids=["changed", "resealed", "dropped", "beheaded", "swapped", "doubled", "noise", "list"],
)
def test_the_first_touched_line_is_named(
    trail: Path, tamper: Callable[[list[bytes]], list[bytes]], line: int
) -> None:
    trail_lines = _filled(trail)
    trail.write_bytes(b"".join(tamper(trail_lines)))
    with pytest.raises(ChainBroken, match=f"line {line} of"):
        verify(trail)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_can_be_flipped_unseen(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    trail = tmp_path_factory.mktemp("flip") / "audit.jsonl"
    content = bytearray(b"".join(_filled(trail, 3)))
    place %= len(content) - 1
    content[place] ^= 1 << bit
    trail.write_bytes(content)
    with pytest.raises(ChainBroken):
        verify(trail)


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_half_a_line_after_a_power_cut_is_cut_off_and_the_trail_goes_on(
    trail: Path, kept: float
) -> None:
    lines = _filled(trail, 3)
    trail.write_bytes(b"".join(lines[:2]) + lines[2][: int(len(lines[2]) * kept)])
    chain = Chain(trail)
    assert chain.head.marks == {"event": 2}
    chain.append([{"event": "again"}], {"event": 3})
    chain.close()
    assert verify(trail).sequence == 3


def test_marks_move_with_the_last_line_of_a_batch(trail: Path) -> None:
    chain = Chain(trail)
    chain.append([{"event": "a"}, {"event": "b"}], {"event": 7})
    chain.close()
    first, second = map(json.loads, trail.read_bytes().splitlines())
    assert (first["marks"], second["marks"]) == ({}, {"event": 7})


def test_a_disk_that_refuses_leaves_a_whole_chain(
    trail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain(trail)
    chain.append([{"event": "a"}], {"event": 1})

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(AuditError, match="No space left"):
        chain.append([{"event": "b"}], {"event": 2})
    monkeypatch.undo()
    assert verify(trail).sequence == 1
    chain.append([{"event": "b"}], {"event": 2})
    chain.close()
    assert verify(trail).marks == {"event": 2}


def test_an_absent_trail_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="No such file"):
        verify(tmp_path / "none.jsonl")


def test_a_line_longer_than_a_block_is_found_again(trail: Path) -> None:
    chain = Chain(trail)
    big: dict[str, Any] = {"xml": "x" * 3_000_000}
    chain.append([big], {"event": 1})
    chain.append([big], {"event": 2})
    chain.close()
    again = Chain(trail)
    assert again.head == verify(trail)
    again.close()
