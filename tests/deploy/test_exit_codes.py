"""An exit code means the same in all four programs, as docs/reference/commands.md has it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import engine.cli
import export.cli
import node.cli
import training.cli

Main = Callable[[Sequence[str]], int]
MAINS: dict[str, Main] = {
    "cxr": engine.cli.main,
    "cxr-node": node.cli.main,
    "cxr-train": training.cli.main,
    "cxr-export": export.cli.main,
}


@pytest.mark.parametrize("program", MAINS)
def test_what_is_done_exits_with_0(program: str) -> None:
    assert MAINS[program](["completion", "bash"]) == 0


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("cxr", ["report", "nowhere.dcm"]),
        ("cxr-node", ["check", "-c", "nowhere.yaml"]),
        ("cxr-node", ["status", "-c", "nowhere.yaml"]),
        ("cxr-node", ["lint", "nowhere.dcm"]),
        ("cxr-node", ["support-bundle", "-c", "nowhere.yaml"]),
        ("cxr-train", ["catalog", "--recipe", "nowhere"]),
        ("cxr-export", ["explain", "--bundle", "nowhere", "--version", "1.0.0"]),
    ],
)
def test_what_fails_says_why_and_exits_with_1(
    program: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert MAINS[program](words) == 1
    assert capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", MAINS)
@pytest.mark.parametrize("words", [["nosuchverb"], ["completion", "nosuchshell"], []])
def test_a_command_that_does_not_exist_exits_with_2(program: str, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        MAINS[program](words)
    assert ended.value.code == 2


@pytest.mark.parametrize("words", [["node.cli", "schema"], ["node.cli", "completion", "bash"]])
def test_a_reader_who_has_seen_enough_is_no_failure(words: list[str]) -> None:
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout
        assert program.stderr
        program.stdout.close()
        said = program.stderr.read()
    assert (program.returncode, said) == (0, b"")
