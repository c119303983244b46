"""The documents speak of what is there: commands, options, recipes, modules, links, versions."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documents import DOCUMENTS, ROOT, all_blocks
from tests.reference import PAGES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("engine", "node", "training", "export")
PROGRAMS = ("cxr", "cxr-node", "cxr-train", "cxr-export")
PLACES = re.compile(r"(?<![\w.])/(?:root|work|home|opt|tmp|mnt|srv)/")
LINK = re.compile(r"\]\(([^):]*\.md#[^)]+)\)")
HOSTS = re.compile(r"pypi\.org|pythonhosted|download\.pytorch|huggingface\.co|index-url|find-links")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def documented_commands() -> list[list[str]]:
    """Return every command line in the documents, split into words."""
    here_document = re.compile(r"<<'(\w+)'\n.*?\n\1$", re.DOTALL | re.MULTILINE)
    texts = [here_document.sub("", block.text).replace("\\\n", " ") for block in all_blocks("sh")]
    return [words for text in texts for line in text.splitlines() for words in commands_in(line)]


def commands_in(line: str) -> list[list[str]]:
    """Return the commands of one line, split into words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;()<>"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [words for words in commands if words]


def commands_of(*programs: str) -> list[list[str]]:
    """Return the documented calls of some programs, by their bare names."""
    bare = [[Path(words[0]).name, *words[1:]] for words in documented_commands()]
    return [words for words in bare if words[0] in programs]


def targets() -> dict[str, list[str]]:
    """Return the Makefile's targets with their commands."""
    rules = re.findall(r"^([a-z]+):\n((?:\t.*\n?)+)", text_of("Makefile"), re.MULTILINE)
    return {name: [line.strip() for line in body.splitlines()] for name, body in rules}


def program(name: str) -> Any:
    """Return the entry point of a console script."""
    module, _, function = PROJECT["scripts"][name].partition(":")
    return getattr(__import__(module, fromlist=[function]), function)


def help_of(name: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what ``name words --help`` prints; a verb that does not exist fails."""
    with pytest.raises(SystemExit) as ended:
        program(name)([*words, "--help"])
    assert ended.value.code == 0, [name, *words]
    return capsys.readouterr().out


def verbs_in(words: list[str], page: str) -> list[str]:
    """Return the first word if the help page offers it as a verb."""
    offered = re.findall(r"^ {4}([a-z][\w-]*)(?: |$)", page, re.MULTILINE)
    offered += [verb for verbs in re.findall(r"\{([\w,-]+)\}", page) for verb in verbs.split(",")]
    return words[:1] if words and words[0] in offered else []


@pytest.mark.parametrize("words", commands_of(*PROGRAMS), ids=" ".join)
def test_a_documented_command_exists_with_its_options(words, capsys):
    name, verb, rest = words[0], words[1:2], words[2:]
    page = help_of(name, verb, capsys)
    if deeper := verbs_in(rest, page):
        page = help_of(name, [*verb, *deeper], capsys)
    for option in (word for word in rest if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", page), f"{option} in {words}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_is_documented(name):
    assert commands_of(name)


def test_every_documented_make_verb_is_a_target():
    named = [word for words in commands_of("make") for word in words[1:]]
    named += re.findall(r"`make ([a-z]+)`", "".join(map(Path.read_text, DOCUMENTS)))
    assert named
    assert set(named) <= set(targets())


def test_the_contributors_table_lists_every_make_verb():
    listed = re.findall(r"^\| `make ([a-z]+)`", text_of("CONTRIBUTING.md"), re.MULTILINE)
    assert set(listed) == set(targets())


def test_the_hooks_run_the_commands_of_make_check():
    config = yaml.safe_load(text_of(".pre-commit-config.yaml"))
    hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    assert hooks == targets()["check"]


def test_ci_runs_the_verbs_that_the_readme_names():
    assert ["make", "setup", "test"] in documented_commands()
    script = text_of(".ci/run")
    assert all(f"make {verb} VENV=" in script for verb in ("setup", "check", "test"))


def test_torch_is_installed_first_and_alone():
    first, second = targets()["setup"][1:3]
    assert first.endswith("pip install --quiet torch==2.13.0")
    assert '".[train,preprocess,cluster,s3,oidc,otel,cjk,tensorrt-rtx,dev]"' in second


def test_no_install_of_ours_brings_both_runtimes():
    base = [line for line in PROJECT["dependencies"] if line.startswith("onnxruntime")]
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    assert not [line for line in extras if line.startswith("onnxruntime")]
    path = "engine/backends/onnxruntime-gpu/pyproject.toml"
    stand_in = tomllib.loads(text_of(path))["project"]
    version = stand_in["version"].removesuffix("+gpu")
    assert base == [f"onnxruntime=={version}"]
    assert stand_in["dependencies"] == [f"onnxruntime-gpu=={version}"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_module_that_a_document_names_exists(path):
    names = rf"(?<![\w/.-])(?:{'|'.join(PACKAGES)})(?:\.(?!md\b)\w+)+"
    for name in re.findall(names, path.read_text()):
        assert exists(name) or is_setting(name) or is_event(name), name


def exists(dotted: str) -> bool:
    """Tell whether a dotted name is a module, or a name in one."""
    place = ROOT.joinpath(*dotted.split("."))
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    module = place.parent.with_suffix(".py")
    return module.is_file() and re.search(rf"\b{place.name}\b", module.read_text()) is not None


def is_event(dotted: str) -> bool:
    """Tell whether a dotted name is an event of the log."""
    return f"| `{dotted}` |" in text_of("docs/reference/errors.md").partition("## Log events")[2]


def is_setting(dotted: str) -> bool:
    """Tell whether a dotted name is a key of the shipped configuration."""
    section = yaml.safe_load(text_of("config.yaml"))
    for key in dotted.split("."):
        section = section.get(key, ...) if isinstance(section, dict) else ...
    return section is not ...


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_exists(path):
    text = path.read_text()
    folders = "|".join((*PACKAGES, "tests", "docs", "benchmarks"))
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", text)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in links if not (path.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_made_from_the_code_is_current(name):
    assert text_of(f"docs/reference/{name}") == PAGES[name](), "run `make docs`"


def test_every_test_that_a_document_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", "".join(map(Path.read_text, DOCUMENTS)))
    assert named
    assert [test for path, test in named if f"def {test}(" not in text_of(path)] == []


def test_every_heading_that_a_link_names_is_there():
    links = [(path, link) for path in DOCUMENTS for link in LINK.findall(path.read_text())]
    assert [link for path, link in links if not leads_somewhere(path, link)] == []


def leads_somewhere(path: Path, link: str) -> bool:
    """Tell whether a link's page has a heading of that name."""
    name, _, fragment = link.partition("#")
    headings = re.findall(r"^#+ (.*)", (path.parent / name).read_text(), re.MULTILINE)
    return fragment in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_every_page_can_be_reached_from_the_index():
    index = text_of("docs/README.md")
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    missing = [page for page in map(str, pages) if f"]({page})" not in index]
    assert missing == ["README.md"]


def test_every_recipe_is_documented_and_no_other():
    named = set(re.findall(r"recipes/(\w+)\.yaml", "".join(map(Path.read_text, DOCUMENTS))))
    assert named == {path.stem for path in (ROOT / "training/recipes").glob("*.yaml")}


def test_the_table_of_stages_agrees_with_the_recipe():
    recipe = yaml.safe_load(text_of("training/recipes/demo.yaml"))
    lines = text_of("docs/how-to/training.md").splitlines()
    for stage in ("classifier", "tokenizer", "sft"):
        (row,) = (line for line in lines if line.startswith(f"| `{stage}`"))
        assert f"{recipe[stage]['steps']} steps of {recipe[stage]['batch_size']}" in row


@pytest.mark.parametrize(
    "name",
    [str(p.relative_to(ROOT)) for p in DOCUMENTS]
    + ["Makefile", ".ci/run", "config.yaml", "pyproject.toml", "training/recipes/demo.yaml"],
)
def test_no_document_names_a_machine_or_a_registry(name):
    text = text_of(name)
    assert not PLACES.findall(text)
    assert not HOSTS.findall(text)


def test_the_changelog_begins_with_the_version_of_the_project():
    versions = re.findall(r"^## \[([^]]+)\]", text_of("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == PROJECT["version"]


def test_the_readme_says_that_it_is_no_medical_device():
    first_screen = text_of("README.md").partition("\n## ")[0]
    assert "not a medical device" in first_screen
    assert "synthetic" in first_screen.lower()
