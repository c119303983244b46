"""The images and the compose file: what can be checked of them where no container runtime is."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import ComposeSpecification, PyCompose

from node.config_file import load_settings
from node.config_over import overrides

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
_USER = 64198
"""The container's user; no machine has it."""


def _instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, continuation lines joined."""
    lines = [one for one in DOCKERFILE.read_text().splitlines() if not one.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.partition(" ") for line in text.splitlines() if line)
    return [(name, rest.strip()) for name, _, rest in pairs]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return each stage by its name, with what it does and what it is from."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in _instructions():
        if name == "FROM":
            found[rest.rpartition(" AS ")[2]] = []
        if found:
            list(found.values())[-1].append((name, rest))
    return found


def _with_its_base(stage: str) -> list[tuple[str, str]]:
    base = stages()[stage][0][1].split()[0]
    return [*(stages().get(base, [])), *stages()[stage]]


def test_hadolint_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("hadolint")), "--failure-threshold=style"]
    done = subprocess.run([*command, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_whatever_is_copied_into_an_image_exists_and_is_not_ignored() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().split() if line[0] != "#"]
    for name, rest in _instructions():
        if name != "COPY" or rest.startswith("--from="):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source not in ignored, source
    known = set(stages())
    copied = [re.match(r"--from=(\S+)", rest) for name, rest in _instructions() if name == "COPY"]
    assert {found[1] for found in copied if found} <= known


def test_the_build_takes_all_of_the_project_and_nothing_that_ignores_or_secrets_name() -> None:
    copied = {word for name, rest in stages()["wheel"] if name == "COPY" for word in rest.split()}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    roots = {name.removesuffix("*") for name in packages["packages"]["find"]["include"]}
    assert roots | {"pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"} <= copied
    assert "." not in copied - {"./"}
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runs", "var", "deploy/compose/secrets"} <= set(ignored)


@pytest.mark.parametrize("stage", ["cpu", "gpu"])
def test_an_image_runs_without_root_and_ends_on_the_nodes_signal(stage: str) -> None:
    found = _with_its_base(stage)
    assert found[-1] == ("USER", f"{_USER}:{_USER}")
    assert ("STOPSIGNAL", "SIGTERM") in found
    assert ("VOLUME", "/var/lib/cxr-node") in found
    (check,) = (rest for name, rest in found if name == "HEALTHCHECK")
    assert '"cxr-node", "health"' in check
    (label,) = (rest for name, rest in found if name == "LABEL")
    assert "Research software, not a medical device" in label
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'version="{version}"' in label


def test_the_image_without_a_target_is_the_one_for_the_cpu() -> None:
    assert list(stages())[-1] == "cpu"


def test_no_layer_brings_secrets_downloads_or_privileges() -> None:
    text = DOCKERFILE.read_text()
    assert re.findall(r"^ADD|\bcurl\b|\bwget\b|\bsudo\b|\bsetcap\b", text, re.MULTILINE) == []
    assert re.findall(r"(?i)(?:password|secret|token|key)\s*=", text) == []
    for name, rest in _instructions():
        if name == "RUN" and "pip install" in rest:
            assert "--require-hashes" in rest or "--no-index" in rest, rest


def test_the_environment_of_the_images_names_settings(tmp_path: Path) -> None:
    for stage in ("cpu", "gpu"):
        given = " ".join(rest for name, rest in _with_its_base(stage) if name == "ENV")
        named = dict(re.findall(r"(CXR_\w+)=(\S+)", given))
        assert named
        assert len(list(overrides(named))) == len(named)
        path = tmp_path / "config.yaml"
        path.write_text("node: {}\n")
        assert load_settings(path, named).node.metrics.enabled


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def test_the_compose_file_follows_the_specification(compose: dict[str, Any]) -> None:
    assert PyCompose.from_yaml(COMPOSE.read_text()).service_names()
    ComposeSpecification.model_validate(compose)
    broken = COMPOSE.read_text().replace("depends_on:", "depend_on:")
    with pytest.raises(ValueError, match="depend_on"):
        PyCompose.from_yaml(broken)


def test_every_service_is_checked_and_waits_for_healthy_ones(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"node", "orthanc", "ledger"}
    assert all("healthcheck" in services[name] for name in ("orthanc", "ledger"))
    for name, how in services["node"]["depends_on"].items():
        assert how == {"condition": "service_healthy"}, name
    tags = [one["image"].partition(":")[2] for one in services.values()]
    assert all(tag and tag != "latest" for tag in tags)


def test_the_node_of_the_compose_file_is_confined(compose: dict[str, Any]) -> None:
    node = compose["services"]["node"]
    assert node["read_only"]
    assert node["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in node["security_opt"]
    assert "privileged" not in node
    assert node["build"]["target"] == "${CXR_TARGET:-cpu}"


def test_every_file_and_volume_that_the_compose_file_names_is_there(
    compose: dict[str, Any],
) -> None:
    for service in compose["services"].values():
        for place in service.get("volumes", []):
            source = place.split(":")[0]
            is_secret = source.startswith("./compose/secrets/")
            exists = (DEPLOY / source).exists() if source.startswith(".") else True
            assert exists or is_secret, source
            assert source.startswith(".") or source in compose["volumes"], source
    assert "deploy/compose/secrets/" in (ROOT / ".gitignore").read_text()
    assert (DEPLOY / compose["services"]["node"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / compose["services"]["node"]["build"]["dockerfile"]) == DOCKERFILE


def test_the_compose_file_configures_the_node_by_real_settings(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    node = compose["services"]["node"]
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for one in node["secrets"]:
        assert one["source"] in compose["secrets"]
        (secrets / one["target"]).write_text("a password")
    given = {**node["environment"], "CXR_SECRETS_DIR": str(secrets)}
    named = [name for name in given if name.startswith("CXR_") and name != "CXR_SECRETS_DIR"]
    assert len(list(overrides(given))) == len(named) + len(node["secrets"])
    settings = load_settings(DEPLOY / "compose/config.yaml", given)
    (password,) = secrets.iterdir()
    assert settings.node.ledger.password_file == password
    assert str(settings.node.ledger.url).startswith("postgresql://cxr@ledger:5432/")
    assert settings.node.metrics.bind == "0.0.0.0"


def test_the_compose_files_peers_know_each_other(compose: dict[str, Any]) -> None:
    node = load_settings(DEPLOY / "compose/config.yaml", {})
    orthanc = yaml.safe_load((DEPLOY / "compose/orthanc.json").read_text())
    (peer,) = node.peers.values()
    assert (peer.ae_title, peer.host, peer.port) == (
        orthanc["DicomAet"],
        "orthanc",
        orthanc["DicomPort"],
    )
    (modality,) = orthanc["DicomModalities"].values()
    assert (modality["AET"], modality["Host"]) == (node.node.ae_title, "node")
    assert modality["Port"] == node.node.port
    assert {"node", "orthanc"} <= set(compose["services"])
