"""A first configuration, its schema, the secrets folder, and the list of all keys."""

from __future__ import annotations

import io
import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from node import cli
from node.config import PeerSettings, Settings
from node.config_file import load, load_settings
from node.config_init import schema_text
from node.config_rules import RuleSettings
from node.config_schema import config_schema
from node.config_shipped import SHIPPED, comments, lines_of, shipped_text
from node.configuration_state import ConfigurationState, write_state
from node.errors import ConfigInvalid
from node.reloading import FIXED, needs_restart
from node.settings_view import HIDDEN, changed, effective

ROOT = Path(__file__).parents[2]
HERE = "peers.hospital-pacs"


def test_the_shipped_file_comes_with_the_package() -> None:
    assert files("node").joinpath("config.default.yaml").read_text() == shipped_text()
    assert SHIPPED.read_text() == (ROOT / "config.yaml").read_text()
    assert SHIPPED.is_symlink()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert SHIPPED.name in project["tool"]["setuptools"]["package-data"]["node"]
    assert "include config.yaml" in (ROOT / "MANIFEST.in").read_text()


def test_every_key_has_its_comment_by_its_path() -> None:
    def keys(model: type[BaseModel], above: str = "") -> set[str]:
        found = set()
        for name, field in model.model_fields.items():
            kind = field.annotation
            is_section = isinstance(kind, type) and issubclass(kind, BaseModel)
            found |= keys(kind, f"{above}{name}.") if is_section else {f"{above}{name}"}
        return found

    told = comments(shipped_text())
    expected = keys(Settings) | keys(PeerSettings, f"{HERE}.")
    expected |= keys(RuleSettings, "outputs.rules.[].")
    assert set(told) == expected
    assert told["node.port"] == "port to listen on (104 needs privileges)"
    listed = {line.key for line in lines_of(shipped_text()) if line.is_example}
    assert {key.split(".")[0] for key in listed} == {"peers", "outputs"}


def test_the_example_rule_shows_every_key_with_its_default() -> None:
    text = shipped_text().split("  rules: []\n")[1].split("\n  report:")[0]
    (rule,) = yaml.safe_load("\n".join(line[1:] for line in text.splitlines()))
    assert set(rule) == set(RuleSettings.model_fields)
    assert RuleSettings.model_validate(rule) == RuleSettings(name=rule["name"])


def test_the_shipped_schema_is_current() -> None:
    path = ROOT / "docs/reference/config.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(), "run `make docs`"
    assert shipped_text().startswith(
        "# yaml-language-server: $schema=docs/reference/config.schema.json\n"
    )


def test_the_schema_knows_good_files_from_bad_and_describes_every_key() -> None:
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    shipped = yaml.safe_load(shipped_text())
    assert list(validator.iter_errors(shipped)) == []
    peer = {"ae_title": "P", "host": "h", "port": 104}
    rules = [{"name": "x", "hours": ["20:00-06:00"], "send": {"pacs": ["report"]}}]
    good = {"peers": {"pacs": peer}, "outputs": {"rules": rules}}
    assert list(validator.iter_errors(good)) == []
    for bad in (
        {"node": {"prot": 1}},
        {"node": {"port": 0}},
        {"peers": {"pacs": peer | {"send": ["novel"]}}},
        {"outputs": {"rules": [{}]}},
    ):
        assert list(validator.iter_errors(bad)), bad
    assert "$ref" not in json.dumps(schema)
    for key, text in comments(shipped_text()).items():
        assert _described(schema, key)["description"] == text


def _described(schema: dict[str, Any], key: str) -> dict[str, Any]:
    """Return what the schema says of a key, by its dotted path."""
    for name in key.split("."):
        below = schema.get("properties", {})
        many = schema.get("items") if name == "[]" else schema.get("additionalProperties")
        schema = below[name] if name in below else dict(many or {})
    return schema


def _init(tmp_path: Path, *options: str) -> int:
    return cli.main(["init", "--output", str(tmp_path / "config.yaml"), *options])


def test_init_writes_every_key_with_its_comment_and_the_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--ae-title", "CXR2", "--port", "104", "--pacs-aet", "MAIN PACS"]
    assert _init(tmp_path, "--yes", *wanted, "--pacs-host", "pacs.example") == 0
    path = tmp_path / "config.yaml"
    told = capsys.readouterr().out
    assert f"cxr-node check -c {path}" in told
    assert f"cxr-node run -c {path}" in told
    settings = load_settings(path, {})
    peer = settings.peers["hospital-pacs"]
    assert (settings.node.ae_title, settings.node.port) == ("CXR2", 104)
    assert (peer.ae_title, peer.host, peer.port) == ("MAIN PACS", "pacs.example", 104)
    assert peer.send == ("report",)
    assert comments(path.read_text()) == comments(shipped_text())
    modeline = path.read_text().splitlines()[0]
    assert modeline == "# yaml-language-server: $schema=config.schema.json"
    assert (tmp_path / "config.schema.json").read_text() == schema_text()


def test_init_writes_over_nothing_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _init(tmp_path, "--yes") == 0
    before = (tmp_path / "config.yaml").read_text()
    assert _init(tmp_path, "--yes", "--port", "104") == 1
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "config.yaml").read_text() == before
    assert _init(tmp_path, "--yes", "--port", "104", "--force", "--no-send") == 0
    assert load_settings(tmp_path / "config.yaml", {}).peers["hospital-pacs"].send == ()


@pytest.mark.parametrize(
    ("option", "answer", "reason"),
    [
        ("--ae-title", "MUCH TOO LONG A TITLE", "1 to 16 characters"),
        ("--port", "70000", "less than or equal to 65535"),
        ("--pacs-port", "many", "valid integer"),
        ("--pacs-host", "", "at least 1 character"),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_written(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    answer: str,
    reason: str,
) -> None:
    assert _init(tmp_path, "--yes", f"{option}={answer}") == 1
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_answer_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["", "0", "11113", "A\\B", "PACS2", "pacs.example", "", "perhaps", "no"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(typed) + "\n"))
    assert _init(tmp_path) == 0
    asked = capsys.readouterr().err
    assert "greater than or equal to 1" in asked
    assert "no backslash" in asked
    settings = load_settings(tmp_path / "config.yaml", {})
    peer = settings.peers["hospital-pacs"]
    assert (settings.node.ae_title, settings.node.port) == ("CXRDRAFT", 11113)
    assert (peer.ae_title, peer.host, peer.port, peer.send) == ("PACS2", "pacs.example", 104, ())


def test_without_anybody_to_answer_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert _init(tmp_path) == 1
    assert "--yes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _secrets(folder: Path, **texts: str) -> dict[str, str]:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {"CXR_SECRETS_DIR": str(folder)}


def test_a_secret_sets_the_key_that_it_is_named_like(tmp_path: Path) -> None:
    environment = _secrets(
        tmp_path / "secrets",
        CXR_NODE__LEDGER__PASSWORD="hush",
        CXR_NODE__WEB__TOKEN_FILE="reader: token",
        CXR_NODE__TLS__CA="-----BEGIN",
        CXR_NODE__PORT="104\n",
        CXR_OUTPUTS__HL7__SENDING_FACILITY="NORTH",
        unrelated="CXR",
    )
    loaded = load(None, environment)
    node = loaded.settings.node
    assert node.ledger.password_file == tmp_path / "secrets/CXR_NODE__LEDGER__PASSWORD"
    assert node.web.token_file == tmp_path / "secrets/CXR_NODE__WEB__TOKEN_FILE"
    assert node.tls.ca == tmp_path / "secrets/CXR_NODE__TLS__CA"
    assert node.port == 104
    assert loaded.origins["node.port"] == "secrets CXR_NODE__PORT"
    rows = {row.key: row for row in effective(loaded.settings, loaded.origins)}
    assert rows["outputs.hl7.sending_facility"].value == HIDDEN
    assert "hush" not in str(rows)
    assert str(rows["node.ledger.password_file"].value).endswith("CXR_NODE__LEDGER__PASSWORD")


def test_the_environment_counts_before_a_secret_and_a_secret_before_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node: {port: 1, max_pdu: 5000, ae_title: FILE}\n")
    environment = _secrets(tmp_path / "s", CXR_NODE__PORT="2", CXR_NODE__MAX_PDU="6000")
    loaded = load(path, {**environment, "CXR_NODE__PORT": "3"})
    rows = {row.key: row for row in effective(loaded.settings, loaded.origins)}
    assert (rows["node.port"].value, rows["node.port"].origin) == (3, "environment CXR_NODE__PORT")
    assert rows["node.max_pdu"].origin == "secrets CXR_NODE__MAX_PDU"
    assert (rows["node.ae_title"].value, rows["node.ae_title"].origin) == ("FILE", "config.yaml:1")
    assert rows["node.bind"].origin == "default"


def test_a_section_from_the_environment_is_its_own_origin(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("peers:\n  pacs: {ae_title: P, host: h, port: 104, query: true}\n")
    variable = "CXR_PEERS__PACS"
    loaded = load(path, {variable: "{ae_title: Q, host: i, port: 105}"})
    origins = {row.key: row.origin for row in effective(loaded.settings, loaded.origins)}
    assert origins["peers.pacs.host"] == f"environment {variable}"
    assert origins["peers.pacs.query"] == "default"


@pytest.mark.parametrize("folder", ["missing", "broken"])
def test_a_secrets_folder_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, folder: str
) -> None:
    environment = {"CXR_SECRETS_DIR": str(tmp_path / folder)}
    if folder == "broken":
        environment = _secrets(tmp_path / folder, CXR_NODE__PORT="[")
    with pytest.raises(ConfigInvalid) as caught:
        load(None, environment)
    (problem,) = caught.value.problems
    assert problem.origin.endswith(("CXR_SECRETS_DIR", "CXR_NODE__PORT"))


def test_the_list_of_keys_is_printed_and_says_what_the_node_has_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node: {storage: {root: root}}\n")
    (tmp_path / "root").mkdir()
    state = ConfigurationState(1.0, str(path), ("needs a restart: node.bind",), 2.0)
    write_state(tmp_path / "root", state)
    assert cli.main(["config", "-c", str(path)]) == 0
    printed = capsys.readouterr()
    assert "needs a restart: node.bind" in printed.err
    assert "config.yaml:1" in printed.out
    assert cli.main(["config", "-c", str(path), "--json"]) == 0
    shown: Any = json.loads(capsys.readouterr().out)
    keys = {row["key"]: row for row in shown["keys"]}
    assert keys["node.storage.root"]["origin"] == "config.yaml:1"
    assert shown["in_force"]["problems"] == ["needs a restart: node.bind"]


def test_what_needs_a_restart_is_told_from_what_does_not() -> None:
    before = Settings()
    after = Settings.model_validate(
        {
            "node": {"ae_title": "OTHER", "storage": {"root": "elsewhere", "keep_days": 3}},
            "engine": {"num_threads": 2},
            "outputs": {"shadow": True},
        }
    )
    assert set(changed(before, after)) == {
        "engine.num_threads",
        "node.ae_title",
        "node.storage.keep_days",
        "node.storage.root",
        "outputs.shadow",
    }
    assert needs_restart(before, after) == ("engine.num_threads", "node.storage.root")
    keys = set(comments(shipped_text()))
    assert all(any(key == one or key.startswith(f"{one}.") for key in keys) for one in FIXED)
