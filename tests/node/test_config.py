"""config.yaml: defaults in one place, every error at once, the environment over the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from node.config import PeerSettings, Settings
from node.config_file import load_settings
from node.errors import ConfigInvalid

SHIPPED = Path(__file__).parents[2] / "config.yaml"


def _problems(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load_settings(path, environment or {})
    return [str(problem) for problem in caught.value.problems]


def _leaves(model: type[BaseModel], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= _leaves(kind, (*above, name))
        else:
            found.add((*above, name))
    return found


def _paths(values: dict[str, object], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for name, value in values.items():
        below = _paths(value, (*above, name)) if isinstance(value, dict) and value else None
        found |= below if below is not None else {(*above, name)}
    return found


def test_the_shipped_file_holds_every_key() -> None:
    shipped = yaml.safe_load(SHIPPED.read_text())
    assert _paths(shipped) == _leaves(Settings)


def test_the_shipped_file_holds_the_defaults() -> None:
    assert Settings.model_validate(yaml.safe_load(SHIPPED.read_text())) == Settings()


def test_every_key_of_the_shipped_file_has_a_comment_above_it() -> None:
    lines = SHIPPED.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#? *[a-z_]+: \S", line):
            assert re.match(r"[# ]*# \S", lines[number - 1]), line


def test_the_example_peer_of_the_shipped_file_shows_every_key_with_its_default() -> None:
    text = SHIPPED.read_text().split("peers: {}\n")[1].split("\noutputs:")[0]
    example = yaml.safe_load(re.sub(r"(?m)^#", "", text))["hospital-pacs"]
    assert set(example) == set(PeerSettings.model_fields)
    peer = PeerSettings.model_validate(example)
    for name, field in PeerSettings.model_fields.items():
        if not field.is_required():
            assert getattr(peer, name) == field.default


def test_all_errors_are_listed_at_once_with_path_line_and_hint(tmp_path: Path) -> None:
    problems = _problems(
        tmp_path,
        "node:\n"
        "  ae_title: THIS TITLE IS TOO LONG\n"
        "  prot: 104\n"
        "peers:\n"
        "  pacs: {ae_title: 'A\\B', host: h, port: 70000, cidr: [10.0.0.0/99]}\n",
    )
    assert [problem.split(": ")[:2] for problem in problems] == [
        ["config.yaml:2", "node.ae_title"],
        ["config.yaml:3", "node.prot"],
        ["config.yaml:5", "peers.pacs.ae_title"],
        ["config.yaml:5", "peers.pacs.cidr[0]"],
        ["config.yaml:5", "peers.pacs.port"],
    ]
    assert all("hint: " in problem for problem in problems)
    assert "did you mean `port`" in problems[1]


def test_a_key_written_twice_is_an_error(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "node:\n  port: 1\n  port: 2\n")
    assert "config.yaml:3" in problem
    assert "first on line 2" in problem


@pytest.mark.parametrize("text", ["node: [", "- a", "\x00"])
def test_a_file_that_is_no_configuration_is_one_clear_line(tmp_path: Path, text: str) -> None:
    assert len(_problems(tmp_path, text)) == 1


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("peers:\n  main-pacs: {ae_title: P, host: h, port: 104}\n")
    settings = load_settings(
        path,
        {
            "CXR_NODE__PORT": "104",
            "CXR_PEERS__MAIN_PACS__SEND": "[report]",
            "CXR_SHARED": "/no/setting",
        },
    )
    assert settings.node.port == 104
    assert settings.peers["main-pacs"].send == ("report",)


def test_an_error_in_the_environment_names_its_variable(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "", {"CXR_NODE__STUDY__QUIET_S": "soon"})
    assert problem.startswith("environment CXR_NODE__STUDY__QUIET_S: node.study.quiet_s")


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node: {storage: {root: here}}\nengine: {bundle: there}\n")
    settings = load_settings(path, {})
    assert settings.node.storage.root == tmp_path / "here"
    assert settings.engine.bundle == tmp_path / "there"


@pytest.mark.parametrize("title", ["", "   ", "A" * 17, "A\\B", "A\tB", "Ä"])
def test_a_bad_ae_title_is_refused(tmp_path: Path, title: str) -> None:
    text = yaml.safe_dump({"node": {"ae_title": title}})
    assert "node.ae_title" in _problems(tmp_path, text)[0]
