"""The conformance statement is that of the configuration, and the shipped one is current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.cli import main
from node.config import PeerSettings, Settings
from node.config_file import load_settings
from node.config_outputs import FindingsSettings, OutputSettings
from node.conformance import conformance_statement
from node.sop_classes import IMAGE_CLASSES, TRANSFER_SYNTAXES
from tests.node.outputs_made import draft_sr

ROOT = Path(__file__).parents[2]
PEER = PeerSettings(
    ae_title="SECRETPACS",
    host="10.9.8.7",
    port=104,
    allow=("echo", "store", "commitment", "mpps"),
    send=("report",),
    commitment=True,
)


def test_the_shipped_statement_is_current():
    current = conformance_statement(load_settings(ROOT / "config.yaml", {}))
    written = (ROOT / "docs/reference/conformance.md").read_text()
    assert written == current, "run: make docs"


@pytest.mark.parametrize("uid", [*IMAGE_CLASSES, *TRANSFER_SYNTAXES])
def test_it_names_every_class_and_syntax_that_is_accepted(uid):
    assert uid in conformance_statement(Settings())


def test_a_peer_changes_the_services_and_is_not_named():
    alone, known = (conformance_statement(Settings(peers=p)) for p in ({}, {"pacs": PEER}))
    assert "| Storage of images | no | no |" in alone
    assert "| Storage of images | no | yes |" in known
    assert "| Storage commitment push model | yes | yes |" in known
    assert not any(secret in known for secret in ("SECRETPACS", "10.9.8.7", "pacs:"))


def test_further_titles_and_what_rules_send_are_told():
    peer = {"ae_title": "P", "host": "h", "port": 104}
    rules = [{"name": "all", "send": {"p": ["report"]}}]
    values = {"node": {"ae_titles": ["CXR2"]}, "peers": {"p": peer}, "outputs": {"rules": rules}}
    statement = conformance_statement(Settings.model_validate(values))
    assert "`CXR2`" in statement
    assert "| Storage of reports and secondary captures | yes | no |" in statement


def test_a_profile_changes_the_class():
    air = OutputSettings(findings=FindingsSettings(profile="air"))
    assert "1.2.840.10008.5.1.4.1.1.88.34" in conformance_statement(Settings(outputs=air))


def test_the_command_prints_it_and_writes_it(tmp_path, capsys):
    path = tmp_path / "statement.md"
    verb = ["conformance", "-c", str(ROOT / "config.yaml")]
    assert main(verb) == main([*verb, "--output", str(path)]) == 0
    assert path.read_text() == capsys.readouterr().out


def test_the_lint_passes_a_report_and_names_what_is_wrong_with_another(tmp_path, capsys):
    good, bad = tmp_path / "good.dcm", tmp_path / "bad.dcm"
    ds = draft_sr()
    ds.save_as(good, enforce_file_format=True)
    ds.SeriesDescription = "REPORT"
    ds.save_as(bad, enforce_file_format=True)
    assert main(["lint", str(good)]) == 0
    assert main(["lint", str(good), str(bad)]) == 1
    assert f"{bad}: the series does not say UNVERIFIED" in capsys.readouterr().out
    assert main(["lint", str(good), str(bad), "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown[str(good)], bool(shown[str(bad)])) == ([], True)


def test_the_lint_of_something_else_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "x").write_text("x")
    assert main(["lint", str(tmp_path / "x")]) == 1
    assert "cannot read" in capsys.readouterr().err
