"""The bill of materials names all that the image brings, each under a licence that was read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_locks import IMAGE_EXTRAS, ROOT, pins_of, wanted_by

ALLOWED = {
    *("MIT", "MIT-0", "MIT-CMU", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "Zlib"),
    *("CC0-1.0", "PSF-2.0", "Python-2.0", "MPL-2.0", "LGPL-3.0-only"),
}
"""What may be built on: permissive licences, and those that ask for their own files alone."""

SAME = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}

EXCEPTIONS = {
    # a codec that pydicom finds by itself; docs/how-to/deployment.md says what is lost without it
    "pylibjpeg-libjpeg": {"GPL-3.0-only", "License :: Other/Proprietary License"},
}


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the bill of an environment that holds the records of what the lock pins."""
    folder = tmp_path_factory.mktemp("sbom") / "environment"
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/*/site-packages")
    for name in pins_of("requirements.lock", f"3.{sys.version_info.minor}"):
        record = Path(str(distribution(name)._path))  # type: ignore[attr-defined]
        (site / record.name).symlink_to(record)
    output = folder.with_name("sbom.cdx.json")
    command = [sys.executable, str(ROOT / "deploy/sbom.py"), str(folder), str(output)]
    subprocess.run(command, check=True, capture_output=True)
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def _licences(component: dict[str, Any]) -> set[str]:
    """Return the licences of a component; of a choice and of several all that are named."""
    names: set[str] = set()
    for one in component["licenses"]:
        said = one.get("expression") or one["license"].get("id") or one["license"]["name"]
        words = [SAME[said]] if said in SAME else re.split(r"[()]| (?:AND|OR|WITH) ", said)
        names |= set(filter(None, words))
    return names


def test_every_dependency_is_named_with_version_and_licence(bill: dict[str, Any]) -> None:
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "cxr-node"
    packages = {one["name"].lower().replace("_", "-"): one for one in bill["components"]}
    for wanted in wanted_by(*IMAGE_EXTRAS):
        found = packages[wanted.name.lower().replace("_", "-")]
        assert found["version"]
        assert found["licenses"], wanted.name


def test_no_licence_is_outside_those_that_were_looked_at(bill: dict[str, Any]) -> None:
    outside = {
        one["name"]: names
        for one in bill["components"]
        if one["type"] != "machine-learning-model" and not (names := _licences(one)) <= ALLOWED
    }
    assert outside == EXCEPTIONS


def test_the_weights_have_a_licence_of_their_own(bill: dict[str, Any]) -> None:
    (weights,) = (one for one in bill["components"] if one["type"] == "machine-learning-model")
    (licence,) = weights["licenses"]
    assert licence["license"]["name"] == "LICENSE-weights.txt"
    assert "non-commercial" in licence["license"]["text"]["content"]
