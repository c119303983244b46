"""Shells complete the words of all four programs; real bash reads the script."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import engine.cli
import export.cli
import node.cli
import training.cli
from engine.completion import SHELLS

PROGRAMS = {
    "cxr": engine.cli.main,
    "cxr-node": node.cli.main,
    "cxr-train": training.cli.main,
    "cxr-export": export.cli.main,
}

_COMPLETE = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
"$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\).*/\\1/')" "$1" "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


def _script(program: str, shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert PROGRAMS[program](["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["cxr-node", "expl"], {"explain"}),
        (["cxr-node", "suppo"], {"support-bundle"}),
        (["cxr-node", "status", "--js"], {"--json"}),
        (["cxr-node", "peers", "te"], {"test"}),
        (["cxr", "re"], {"report"}),
        (["cxr-train", "evaluate", "gu"], {"guard"}),
        (["cxr-export", "tensorrt", "--fl"], {"--flavour"}),
    ],
    ids=" ".join,
)
def test_bash_completes_a_word(
    words: list[str], offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "completion.bash"
    path.write_text(_script(words[0], "bash", capsys))
    done = subprocess.run(
        ["bash", "-c", _COMPLETE, "bash", str(path), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {word.strip() for word in done.stdout.split("\n") if word} == offered


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_has_a_script_for_every_shell(
    program: str, shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = _script(program, shell, capsys)
    assert program in text
    assert "completion" in text
    if shutil.which(shell):
        path = tmp_path / "script"
        path.write_text(text)
        checked = subprocess.run([shell, "-n", str(path)], capture_output=True, check=False)
        assert checked.stderr == b""
