"""The wheel: all of the project and nothing else, and a node that runs from it anywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.deploy.test_images import stages
from tests.node.conftest import free_port

ROOT = Path(__file__).parents[2]
PACKAGES = ("engine", "node", "training", "export")
_STANDS_IN = "engine/backends/onnxruntime-gpu/pyproject.toml"
"""A project of its own, for an environment with a GPU."""

_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""No way back to the source tree."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _tracked(*folders: str) -> set[str]:
    """Return the files that are in version control, and those that are about to be."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *folders]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what the Dockerfile copies for its build, as a fresh clone has it."""
    folder = tmp_path_factory.mktemp("source")
    copies = [rest.split()[:-1] for name, rest in stages()["wheel"] if name == "COPY"]
    for name in _tracked(*(source for sources in copies for source in sources)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def sdist(source: Path) -> Path:
    build = "import setuptools.build_meta as b; print(b.build_sdist('.made'))"
    (source / ".made").mkdir()
    words = [sys.executable, "-c", build]
    done = subprocess.run(words, cwd=source, check=True, capture_output=True, text=True)
    return source / ".made" / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, made from the sdist: what that lacks would be missing here, too."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(sdist)], check=True)
    (made,) = folder.glob("*.whl")
    return made


def test_the_sdist_holds_what_a_wheel_is_made_of(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {one.name.partition("/")[2] for one in archive if one.isfile()}
    wanted = {name for name in _tracked(*PACKAGES) if name != _STANDS_IN}
    assert wanted - names == set()
    assert {"pyproject.toml", "README.md", "LICENSE", "config.yaml"} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))]


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_foreign(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    wanted = {name for name in _tracked(*PACKAGES) if name != _STANDS_IN}
    assert wanted - names == set()
    foreign = {name for name in names - wanted if ".dist-info/" not in name}
    kernels = f"engine/native/_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
    assert foreign <= {kernels}
    records = {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name}
    assert "licenses/export/LICENSE-weights.txt" in records
    assert "entry_points.txt" in records


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the project from the wheel, and its dependencies from ours."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install"]
    subprocess.run(
        [*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], env=_ENVIRONMENT, check=True
    )
    # a plain line: the .pth files over there, an editable project's among them, do not count
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def _run(
    program: Path, *words: str, folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *words],
        cwd=folder,
        env={**_ENVIRONMENT, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_node_from_the_wheel_is_set_up_and_checked(installed: Path, tmp_path: Path) -> None:
    where = _run(installed / "python", "-c", "import node; print(node.__file__)", folder=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)
    made = _run(installed / "cxr-node", "init", "--yes", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert "hospital-pacs" in config["peers"]
    here = {"CXR_NODE__PORT": str(free_port()), "CXR_NODE__STORAGE__FREE_MIN_GB": "0"}
    here["CXR_PEERS__HOSPITAL_PACS__HOST"] = "127.0.0.1"
    here["CXR_PEERS__HOSPITAL_PACS__PORT"] = str(free_port())
    here["CXR_NODE__STORAGE__FREE_MIN_PERCENT"] = "0"
    checked = _run(installed / "cxr-node", "check", "--json", folder=tmp_path, environment=here)
    rows = {row["name"]: row for row in json.loads(checked.stdout)}
    bad = [name for name, row in rows.items() if not row["is_good"]]
    assert bad == ["peer hospital-pacs"], checked.stdout
    assert checked.returncode == 1
    assert rows["bundle"]["text"].startswith("cxr-node-demo")


def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    shown = _run(installed / "cxr-node", "demo", folder=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    (made,) = tmp_path.glob("cxr-node-demo*")
    assert list(made.glob("*.pdf"))
    assert list(made.rglob("*.dcm"))


@pytest.mark.parametrize("program", ["cxr", "cxr-train", "cxr-export"])
def test_every_program_of_the_wheel_starts(program: str, installed: Path, tmp_path: Path) -> None:
    shown = _run(installed / program, "--help", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "usage:" in shown.stdout
