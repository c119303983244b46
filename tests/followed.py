"""A sandbox in which the commands of a document are typed: a node at work, and a peer of it.

What cannot be typed here is replaced by programs that do nothing, each for the reason given.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.acceptance.peers import (
    ROOT,
    NodeProcess,
    dcmtk,
    free_port,
    listens,
    node_settings,
    peer,
    tool,
    wait_for,
)
from tests.documents import Block

TOKEN: Final = "a-token-for-documents-0123456789"
KEY: Final = "STUDY"
"""What documents write for a study: the sandbox has one."""

NOT_TYPED: Final = {
    "cxr-export": "takes a trained run; test_docs.py parses it, tests/export runs it",
    "cxr-train": "takes hours; test_docs.py parses it, tests/training runs it",
    "docker": "needs a container runtime",
    "helm": "needs a cluster",
    "make": "test_docs.py holds its verbs; CI runs them",
    "pip": "needs a network; test_docs.py holds the extras that are named",
    "scontrol": "needs a SLURM cluster",
    "sha256sum": "wants weights that are not here",
    "srun": "needs a SLURM cluster",
    "sudo": "changes the machine",
    "tensorboard": "serves until it is stopped",
    "torchrun": "needs GPUs",
}
"""Programs that do nothing here, and why."""

TYPED_ELSEWHERE: Final = {
    "run": "docs/quickstart.md",
    "check": "docs/quickstart.md",
    "demo": "tests/node/test_demo.py",
    "bench": "tests/engine/test_bench.py",
    "migrate": "tests/node/test_migration.py",
}
"""Verbs that would disturb the node of the sandbox or take long, and what types them."""

MAY_SAY_NO: Final = ("retry", "cancel", "resend", "redraft", "stat", "explain", "health", "lint")
"""Verbs whose answer depends on how things stand: exit status 1 is an answer."""

_NODE = f"""#!/bin/bash
case "$1" in {"|".join(TYPED_ELSEWHERE)}) exit 0;; esac
{sys.executable} -m node.cli "$@"; status=$?
case "$1" in {"|".join(MAY_SAY_NO)}) [ $status -eq 1 ] && exit 0;; esac
exit $status
"""
_CXR = f"""#!/bin/bash
case "$1" in bench) exit 0;; esac
exec {sys.executable} -m engine.cli "$@"
"""
_PYTHON = f"""#!/bin/bash
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && ln -sf "$(dirname "$0")"/* "$3/bin/"; exit;;
"-m zipfile") exit 0;;
"-m benchmarks."*|"-m tests."*)
  exec {sys.executable} -c "import importlib.util as u, sys; sys.exit(not u.find_spec('$2'))";;
esac
exec {sys.executable} "$@"
"""
_SCRIPTS: Final = {
    **dict.fromkeys(NOT_TYPED, "#!/bin/sh\nexit 0\n"),
    "activate": "",
    "sudo": "#!/bin/sh\ncat > /dev/null\n",
    "cxr": _CXR,
    "cxr-node": _NODE,
    "python": _PYTHON,
    "python3": _PYTHON,
}


@dataclass
class Sandbox:
    """A node at work with one study, a peer of it, and folders to type commands in."""

    folder: Path
    programs: Path
    node: NodeProcess
    web_port: int
    study: str

    def desk(self, name: str) -> Path:
        """Return a new folder with what documents assume to be there."""
        desk = self.folder / name
        desk.mkdir()
        for path in (self.folder / "film.dcm", self.folder / "draft-report.dcm"):
            shutil.copy(path, desk)
        shutil.copy(self.node.config, desk / "config.yaml")
        for name in ("bundles/mine", "deploy/compose"):
            (desk / name).mkdir(parents=True)
        return desk

    def type(self, block: Block, desk: Path) -> str:
        """Type a block and return what it prints to standard output."""
        if "cxr-node init" in block.text:
            (desk / "config.yaml").unlink()
        done = subprocess.run(
            ["bash", "-e", "-c", self.filled_in(block.text)],
            cwd=desk,
            env=self._environment(),
            input="\n" * 20,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        seen = f"{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, f"{block} ends with {done.returncode}:\n{seen}"
        assert "Traceback" not in seen, f"{block}:\n{seen}"
        assert "command not found" not in seen, f"{block}:\n{seen}"
        shutil.copy(self.node.config, desk / "config.yaml")
        return done.stdout

    def filled_in(self, text: str) -> str:
        """Return a text with the sandbox's study, token and port in it."""
        text = text.replace("127.0.0.1:8043", f"127.0.0.1:{self.web_port}")
        words = text.replace("TOKEN", TOKEN).replace(f"/{KEY}/", f"/{self.study}/")
        return words.replace(f" {KEY}", f" {self.study}")

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.programs}:/usr/sbin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
        }


def programs_in(folder: Path) -> Path:
    """Write the programs of the sandbox."""
    programs = folder / "programs"
    programs.mkdir()
    for name, text in _SCRIPTS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return programs


def settings_of(folder: Path, peer_port: int, web_port: int) -> dict[str, object]:
    """Return the configuration of the sandbox's node."""
    tokens = folder / "web-tokens"
    tokens.write_text(f"reader {TOKEN}\n")
    tokens.chmod(0o600)
    peers = {"hospital-pacs": peer("PACS", peer_port, ["report"])}
    settings: dict[str, dict[str, object]] = node_settings(folder, free_port(), peers)
    settings["node"] |= {
        "intake": {"accept_synthetic": True},
        "metrics": {"enabled": True, "port": free_port()},
        "web": {"enabled": True, "port": web_port, "token_file": str(tokens)},
    }
    return dict(settings)


def start_peer(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a Storage SCP that takes anything, and return it with its port."""
    port, kept = free_port(), folder / "pacs"
    kept.mkdir()
    command = [dcmtk("storescp"), "-aet", "PACS", "--output-directory", str(kept), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: listens(port), 20, "storescp to listen")
    return process, port


def draft_one(folder: Path, node: NodeProcess) -> str:
    """Have a drawn film drafted; leave film and report in the folder, return the study's key."""
    film = folder / "film.dcm"
    drawn = node.call("phantom", str(film))
    assert drawn.returncode == 0, drawn.stderr
    _await(lambda: listens(node.port) and "node.started" in node.log(), node)
    sent = tool("storescu", "-aet", "PACS", "-aec", "CXRDRAFT", "127.0.0.1", str(node.port), film)
    assert sent.returncode == 0, sent.stderr
    _await(lambda: list(node.states().values()) == ["DONE"], node)
    (report,) = (path for path in (folder / "pacs").iterdir() if path.name.startswith("SR"))
    shutil.copy(report, folder / "draft-report.dcm")
    (study,) = node.status()["studies"]
    return str(study["key"])


def _await(condition: Callable[[], bool], node: NodeProcess) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, node.log()
        time.sleep(0.1)
