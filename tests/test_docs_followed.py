"""Every fenced block of the documents is typed, loaded, parsed or looked at, by its kind."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from node.config_file import load_settings
from tests.acceptance.peers import NodeProcess, free_port
from tests.documents import (
    DOCUMENTS,
    ROOT,
    Block,
    all_blocks,
    blocks_of,
    is_shown,
    same_shape,
)
from tests.followed import (
    NOT_TYPED,
    TYPED_ELSEWHERE,
    Sandbox,
    draft_one,
    programs_in,
    settings_of,
    start_peer,
)
from training import config as recipes

KINDS = {"sh", "yaml", "json", "python", "text", "ini", "lua"}
_LITERAL = ROOT / "docs/quickstart.md"
"""The page that tests/acceptance/test_quickstart.py follows."""
_SECTIONS = {"node", "engine", "peers", "outputs"}
_WIDEST = 120


def _pages() -> list[Path]:
    followed = {"sh", "json", "python"}
    return [
        path
        for path in DOCUMENTS
        if path != _LITERAL and followed & {block.kind for block in blocks_of(path)}
    ]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Return a node at work, for all pages."""
    if shutil.which("storescp", path="/usr/bin") is None:
        pytest.skip("not installed: dcmtk")
    folder, web_port = tmp_path_factory.mktemp("sandbox"), free_port()
    peer, peer_port = start_peer(folder)
    node = NodeProcess(folder / "node", settings_of(folder, peer_port, web_port))
    try:
        node.start()
        yield Sandbox(folder, programs_in(folder), node, web_port, draft_one(folder, node))
    finally:
        node.stop()
        peer.terminate()
        peer.wait(20)


@pytest.mark.parametrize("path", _pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_can_be_followed(path: Path, sandbox: Sandbox) -> None:
    desk, seen = sandbox.desk(str(path.relative_to(ROOT)).replace("/", "-")), ""
    for block in blocks_of(path):
        match block.kind:
            case "sh":
                seen = sandbox.type(block, desk)
            case "python":
                seen = _run_python(sandbox.filled_in(block.text), desk)
            case "json" if block.is_next:
                assert same_shape(json.loads(block.text), json.loads(seen)), f"{block}:\n{seen}"
            case "text" if block.is_next:
                unseen = [line for line in block.text.splitlines() if not is_shown(line, seen)]
                assert not unseen, f"{block} shows {unseen}, seen was:\n{seen}"


def _run_python(text: str, desk: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=desk, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert [str(block) for block in all_blocks() if block.kind not in KINDS] == []


@pytest.mark.parametrize("block", all_blocks("sh"), ids=str)
def test_a_script_is_one(block: Block) -> None:
    read = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, check=False)
    assert read.returncode == 0, read.stderr


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_a_yaml_block_is_valid_for_who_reads_it(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.text)
    readers = {
        "scrape_configs": _prometheus,
        "services": _compose,
        "config": _helm,
        "sft": _recipe,
    }
    if content.keys() <= _SECTIONS:
        _ours(content, tmp_path)
        return
    (reader,) = (readers[key] for key in content if key in readers)
    reader(content, tmp_path)


def _ours(content: dict[str, object], folder: Path) -> None:
    """Load it as the node would, with the readme's peers where it names none."""
    readme = yaml.safe_load(next(b.text for b in blocks_of(ROOT / "README.md") if b.kind == "yaml"))
    (folder / "config.yaml").write_text(yaml.safe_dump({"peers": readme["peers"]} | content))
    load_settings(folder / "config.yaml", {})


def _recipe(content: dict[str, object], folder: Path) -> None:
    """Read it as a part of a recipe."""
    recipes.validated({"name": "documented", **content}, "documented")


def _prometheus(content: dict[str, object], folder: Path) -> None:
    (folder / "prometheus.yml").write_text(yaml.safe_dump(content))
    checked = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", "prometheus.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def _compose(content: dict[str, object], _folder: Path) -> None:
    services = content["services"]
    assert isinstance(services, dict)
    assert all({"image", "build"} & service.keys() for service in services.values())


def _helm(content: dict[str, object], folder: Path) -> None:
    """Load what it says of the node; its other values are those of the chart."""
    chart = yaml.safe_load((ROOT / "deploy/helm/cxr-node/values.yaml").read_text())
    assert content.keys() <= chart.keys()
    assert isinstance(content["config"], dict)
    _ours(content["config"], folder)


@pytest.mark.parametrize("block", all_blocks("json"), ids=str)
def test_a_json_block_shows_what_the_command_before_it_prints(block: Block) -> None:
    json.loads(block.text)
    assert block.is_next, f"{block}: put the command that prints it directly before it"


@pytest.mark.parametrize("block", all_blocks("ini"), ids=str)
def test_an_ini_block_can_be_read(block: Block) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(block.text)
    assert parser.sections()


@pytest.mark.parametrize("block", all_blocks("text", "lua"), ids=str)
def test_a_block_of_text_can_be_read_on_a_screen(block: Block) -> None:
    assert block.text.strip()
    assert "\t" not in block.text
    assert all(len(line) <= _WIDEST for line in block.text.splitlines())


def test_what_is_not_typed_is_used_and_has_a_reason() -> None:
    scripts = "\n".join(block.text for block in all_blocks("sh"))
    unused = [name for name in NOT_TYPED if not re.search(rf"(?<![\w.-]){name}(?![\w-])", scripts)]
    assert unused == []
    assert all(NOT_TYPED.values())
    for verb, path in TYPED_ELSEWHERE.items():
        assert re.search(rf"\b{verb}\b", (ROOT / path).read_text()), path


def test_extras_that_are_installed_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"(?:\.|cxr-node)\[([\w,-]+)\]", "\n".join(b.text for b in all_blocks("sh")))
    assert {one for names in named for one in names.split(",")} <= set(
        extras["optional-dependencies"]
    )


def test_figures_of_a_document_stand_for_any_figures_and_words_for_themselves() -> None:
    assert is_shown("study 2.25.7 key 4c94e1 … DONE", "study  2.25.99 key 0aa1 x y DONE at")
    assert not is_shown("FAILED 3 times", "DONE 4 times")
    assert not is_shown("ok  peer", "FAIL  peer")


@given(st.recursive(st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_any_value_has_its_own_shape(value: object) -> None:
    assert same_shape(value, value)
    assert not same_shape({"key": value, "more": 1}, {"key": value})
