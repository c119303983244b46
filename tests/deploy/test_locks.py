"""The locks that images install from: whole, hashed, and in step with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IMAGE_EXTRAS = ("cluster", "s3", "oidc", "otel", "cjk")
PYTHONS = ("3.11", "3.12", "3.13")
_ENVIRONMENT = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "extra": "",
}
_FOR_GPUS = "onnxruntime"
"""The stand-in beside its backend takes its place."""


def _entries(name: str) -> list[str]:
    """Return the pins of a lock, each with its hashes in one line."""
    text = (ROOT / "deploy" / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def pins_of(name: str, python: str) -> dict[str, Version]:
    """Return the versions that a lock installs under one Python."""
    environment = {
        **_ENVIRONMENT,
        "python_version": python,
        "python_full_version": f"{python}.9",
    }
    pins = {}
    for entry in _entries(name):
        pin = Requirement(entry.partition("--hash")[0].strip())
        if pin.marker is None or pin.marker.evaluate(environment):
            (exact,) = pin.specifier
            assert exact.operator == "=="
            assert canonicalize_name(pin.name) not in pins, pin.name
            pins[canonicalize_name(pin.name)] = Version(exact.version)
    return pins


def wanted_by(*extras: str) -> Iterator[Requirement]:
    project = PROJECT["project"]
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    yield from map(Requirement, lines)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-gpu.lock", "build.lock"])
def test_every_pin_has_hashes_and_no_registry_is_named(name: str) -> None:
    assert "://" not in (ROOT / "deploy" / name).read_text()
    for entry in _entries(name):
        assert re.fullmatch(r"[^-]\S*==\S+(?: ; [^-]+?)?(?:\s+--hash=sha256:[0-9a-f]{64})+", entry)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_pins_what_the_project_and_the_extras_of_the_image_want(python: str) -> None:
    pins = pins_of("requirements.lock", python)
    for wanted in wanted_by(*IMAGE_EXTRAS):
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), wanted


def test_the_gpu_lock_pins_what_its_image_wants() -> None:
    pins = pins_of("requirements-gpu.lock", "3.11")
    for wanted in wanted_by(*IMAGE_EXTRAS, "gpu"):
        if wanted.name != _FOR_GPUS:
            assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), wanted
    base = next(one for one in wanted_by() if one.name == _FOR_GPUS)
    assert base.specifier.contains(pins[f"{_FOR_GPUS}-gpu"])
    assert _FOR_GPUS not in pins


def test_the_build_lock_pins_the_build_system() -> None:
    pins = pins_of("build.lock", "3.11")
    for wanted in map(Requirement, PROJECT["build-system"]["requires"]):
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), wanted


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-gpu.lock"])
def test_a_lock_is_whole(name: str) -> None:
    """Every dependency of a pinned package, as far as the package is installed here, is pinned."""
    pins = pins_of(name, "3.11")
    stands_in = {_FOR_GPUS} if name.endswith("gpu.lock") else set()
    for package in pins:
        try:
            lines = requires(package) or []
        except PackageNotFoundError:
            continue
        for one in map(Requirement, lines):
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                needed = canonicalize_name(one.name)
                assert needed in pins.keys() | stands_in, f"{package} needs {needed}"


def test_make_lock_asks_for_the_extras_that_the_images_have() -> None:
    text = (ROOT / "Makefile").read_text()
    (line,) = re.findall(r"^EXTRAS = (.*)$", text, re.MULTILINE)
    assert tuple(re.findall(r"--extra (\w+)", line)) == IMAGE_EXTRAS
