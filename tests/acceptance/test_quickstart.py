"""The quickstart, followed to the letter; and the script that the page on Orthanc gives."""

from __future__ import annotations

import os
import shutil
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import films
from tests.acceptance.peers import ROOT, Orthanc, listens, tool, wait_for
from tests.documents import Block, blocks_of, is_shown
from tests.followed import start_peer
from tests.node.web_client import Client

PAGE = ROOT / "docs/quickstart.md"
ORTHANC = ROOT / "docs/how-to/orthanc.md"
PORTS = (8043, 8052, 4243, 11112)
_TIMEOUT_S = 200
_STABLE_S = 4.0
"""More than Orthanc waits here until a series is stable."""
_SOURCES = ("engine", "node", "training", "export")
_FILES = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "config.yaml")
_OURS = ("cxr_node", "__editable__", "pip", "_distutils_hack", "distutils-precedence")
_END = "=== typed"


class Terminal:
    """One bash that somebody types into."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._blocks = folder
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder / "cxr-node",
            env=environment,
            start_new_session=True,
        )
        self._watch = threading.Timer(_TIMEOUT_S, self.close)
        self._watch.start()

    def type(self, block: Block) -> str:
        """Type a block and return what is seen until its last command has ended."""
        script = self._blocks / f"line-{block.line}.sh"
        script.write_text(f"set -e\n{block.text}", encoding="utf-8")
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f". {script} < /dev/null; echo '{_END}'\n")
        self._bash.stdin.flush()
        seen: list[str] = []
        for line in self._bash.stdout:
            if line.strip() == _END:
                return "".join(seen)
            seen.append(line)
        raise AssertionError(f"{block} ended the terminal:\n{''.join(seen)}{self._logs()}")

    def _logs(self) -> str:
        logs = sorted(self._blocks.glob("cxr-node/trial/*.log"))
        return "".join(f"\n--- {path.name}\n{path.read_text()}" for path in logs)

    def close(self) -> None:
        """End whatever still runs in it."""
        self._watch.cancel()
        if self._bash.poll() is None:
            os.killpg(self._bash.pid, signal.SIGKILL)

    def leave(self) -> None:
        """Close the terminal as its user does."""
        self._watch.cancel()
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.close()
        self._bash.wait(30)
        self._bash.stdout.close()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Return a terminal in a fresh copy of this folder, without a network to install from."""
    fresh = tmp_path / "cxr-node"
    fresh.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for name in _SOURCES:
        shutil.copytree(ROOT / name, fresh / name, ignore=ignored, symlinks=True)
    for name in _FILES:
        shutil.copy(ROOT / name, fresh / name)
    terminal = Terminal(tmp_path, _environment(tmp_path))
    yield terminal
    terminal.close()


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment in which `pip install .` finds what it would have fetched."""
    programs, packages = folder / "bin", folder / "packages"
    programs.mkdir()
    packages.mkdir()
    (programs / "python3").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    for installed in map(Path, site.getsitepackages()):
        for path in installed.glob("*"):
            if not path.name.startswith(_OURS) and not (packages / path.name).exists():
                (packages / path.name).symlink_to(path)
    here = {str(Path(sys.executable).parent), str(ROOT)}
    path = [one for one in os.environ["PATH"].split(":") if one not in here]
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "PATH": ":".join([str(programs), *path]),
        "PYTHONPATH": str(packages),
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "2",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
    }


def _make_the_first_administrator(notice: str) -> None:
    """Do what the page says to do in a browser."""
    browser = Client(8043)
    form = browser.get("/setup")
    answers = {"name": "anna", "password": "a long pass phrase", "again": "a long pass phrase"}
    token = notice.split()[-1]
    made = browser.post("/setup", csrf=form.field("csrf"), token=token, **answers)
    assert made.status == 303, made.text
    page = browser.get("/").text
    assert "PHANTOM" in page or "DONE" in page
    assert all(f">{name}<" in page for name in ("Studies", "Dashboard", "Peers"))


@pytest.mark.slow
def test_the_quickstart_shows_what_it_says(terminal: Terminal) -> None:
    busy = [port for port in PORTS if listens(port)]
    assert not busy, f"something listens on {busy}, where the quickstart wants to"
    installed, *typed = (block for block in blocks_of(PAGE) if block.kind in ("sh", "text"))
    assert installed.text.startswith("sudo apt install "), "only this block is not typed"
    output = ""
    for block in typed:
        if block.kind == "sh":
            output = terminal.type(block)
            print(f"--- {block}\n{output}")
            if "no administrator yet" in output:
                _make_the_first_administrator(output)
            continue
        for line in block.text.splitlines():
            assert is_shown(line, output), f"{block} shows {line!r}, seen was:\n{output}"
    terminal.leave()
    assert not [port for port in PORTS if listens(port)], "something still runs"


def test_the_script_of_the_orthanc_page_routes_films_and_nothing_else(
    tmp_path: Path, start_orthanc: Callable[..., Orthanc]
) -> None:
    (text,) = (block.text for block in blocks_of(ORTHANC) if block.kind == "lua")
    script = tmp_path / "route.lua"
    script.write_text(text)
    node, port = start_peer(tmp_path)
    try:
        orthanc = start_orthanc(port, script=script)
        ours = films.phantom("ours", Manufacturer="cxr-node project")
        for ds in (ours, films.phantom("theirs")):
            ds.save_as(tmp_path / "film.dcm", enforce_file_format=True)
            titles = ("-aet", "CRROOM1", "-aec", orthanc.aet)
            place = ("127.0.0.1", str(orthanc.port))
            assert tool("storescu", *titles, *place, tmp_path / "film.dcm").returncode == 0
        came = wait_for(lambda: list((tmp_path / "pacs").iterdir()), 30, "a routed film")
        time.sleep(_STABLE_S)
        assert [path.name.endswith(ours.SOPInstanceUID) for path in came] == [False]
        assert len(list((tmp_path / "pacs").iterdir())) == 1
    finally:
        node.terminate()
        node.wait(20)


def test_the_quickstart_names_every_package_that_it_uses() -> None:
    first = next(block for block in blocks_of(PAGE) if block.kind == "sh")
    packages = set(first.text.split()[3:])
    programs = {"curl": "curl", "dcmtk": "storescu", "orthanc": "Orthanc", "gcc": "gcc"}
    assert set(programs) | {"python3-venv", "libc6-dev"} == packages
    assert all(shutil.which(one, path="/usr/bin:/usr/sbin") for one in programs.values())
