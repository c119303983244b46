"""The support bundle: enough to help from afar, nothing of a patient or of the site's places."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from node.app import Node
from node.cli import main
from node.config_file import load
from node.redact import key, stranger
from node.support import Subject, write_support_bundle
from node.support_mask import Mask
from tests.films import phantom
from tests.node.conftest import Pacs, associate, free_port, send, wait_for_state
from tests.node.planted import MARKER, plant, traces
from tests.node.test_upgrades import FIRST

Start = Callable[..., Node]
HOST = "pacs.hospital.example"


def contents(stream: io.BytesIO | Path) -> dict[str, str]:
    """Return the texts of a bundle by their names."""
    with zipfile.ZipFile(stream) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def config_file(folder: Path, root: Path, **node: Any) -> Path:
    secret = folder / "vault" / "ledger-password"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("hunter2-hunter2")
    settings = {
        "node": {
            "port": free_port(),
            "bind": "127.0.0.1",
            "storage": {"root": str(root), "free_min_gb": 0, "free_min_percent": 0},
            "alerts": {"webhook": {"url": f"https://{HOST}/hook", "token_file": str(secret)}},
            **node,
        },
        "peers": {
            "archive": {"ae_title": "ARCHIVE", "host": HOST, "port": 104, "send": ["report"]},
            "room": {"ae_title": "ROOM1", "host": "10.99.1.7", "port": 104},
        },
        "outputs": {"outbox": {"retry_initial_s": 30}},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def bundle(tmp_path: Path, start_node: Start) -> dict[str, str]:
    """Return the bundle of a node that drafted, failed and refused planted patients."""
    node = start_node()
    good, hand = plant(phantom("good")), plant(phantom("hand", BodyPartExamined="HAND"))
    send(node, good, hand)
    associate(node, calling=MARKER)
    wait_for_state(node, good, "DONE")
    wait_for_state(node, hand, "SKIPPED")
    log = tmp_path / "node.log"
    log.write_text(
        f"Nov 23 01:02:03 box cxr-node[7]: 2026-11-23T01:02:03.000Z INFO node.started host={HOST}\n"
        f"2026-11-23T01:02:04.000Z WARNING study.failed study={key('1.2')} peer=archive\n"
        '{"at": "2026-11-23T01:02:05.000Z", "level": "INFO", "event": "study.done"}\n'
        f"somebody else wrote of {MARKER}\n"
    )
    path = config_file(tmp_path, node.settings.node.storage.root)
    made = tmp_path / "support.zip"
    assert main(["support-bundle", "-c", str(path), "-o", str(made), "--log", str(log)]) == 0
    assert made.stat().st_mode & 0o777 == 0o600
    return contents(made)


def test_a_bundle_tells_what_is_needed(bundle: dict[str, str]) -> None:
    assert set(bundle) == {
        *("README.txt", "configuration.json", "checks.json", "ledger.json", "failures.json"),
        *("refusals.json", "versions.json", "backends.json", "log.txt"),
    }
    keys = {row["key"]: row for row in json.loads(bundle["configuration.json"])["keys"]}
    assert keys["peers.archive.ae_title"]["value"] == "ARCHIVE"
    assert keys["peers.archive.ae_title"]["origin"].startswith("config.yaml:")
    assert keys["node.study.quiet_s"]["origin"] == "default"
    checks = {row["name"] for row in json.loads(bundle["checks.json"])}
    assert {"port", "disk", "ledger", "bundle", "peer archive"} <= checks
    ledger = json.loads(bundle["ledger.json"])
    assert ledger["revision"] == "revision 0003"
    assert (ledger["studies"]["DONE"], ledger["rows"]["study"]) == (1, 2)
    (skipped,) = json.loads(bundle["failures.json"])["studies"]
    assert (skipped["state"], bool(skipped["reason"])) == ("SKIPPED", True)
    versions = json.loads(bundle["versions.json"])
    assert versions["packages"]["pydicom"]
    assert versions["bundles"][0].startswith("cxr-node-demo")
    assert [row["name"] for row in json.loads(bundle["backends.json"])]


def test_no_planted_value_is_in_a_bundle(bundle: dict[str, str]) -> None:
    assert {name: found for name, text in bundle.items() if (found := traces(text.encode()))} == {}
    (refused,) = json.loads(bundle["refusals.json"])
    assert refused["calling_aet"] == stranger(MARKER)
    assert stranger(MARKER) in refused["hint"]


def test_the_log_is_the_nodes_own(bundle: dict[str, str]) -> None:
    lines = bundle["log.txt"].splitlines()
    assert [line.split()[0][:4] for line in lines] == ["2026", "2026", '{"at']
    assert "host=host-" in lines[0]


def test_no_place_and_no_secret_is_in_a_bundle(bundle: dict[str, str]) -> None:
    for text in bundle.values():
        for hidden in (HOST, "10.99.1.7", "hunter2", "ledger-password"):
            assert hidden not in text
    keys = {row["key"]: row["value"] for row in json.loads(bundle["configuration.json"])["keys"]}
    assert keys["node.alerts.webhook.token_file"] == "(hidden)"
    assert keys["node.alerts.webhook.url"] == f"https://{keys['peers.archive.host']}/hook"
    checks = {row["name"]: row["text"] for row in json.loads(bundle["checks.json"])}
    assert keys["peers.archive.host"] in checks["peer archive"]
    assert keys["peers.room.host"] in checks["peer room"]
    assert keys["node.bind"] == "127.0.0.1"


def test_addresses_are_named_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config_file(tmp_path, tmp_path / "root")
    made = tmp_path / "support.zip"
    words = ["support-bundle", "-c", str(path), "-o", str(made), "--with-addresses", "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    shown = contents(made)
    assert (said["file"], said["contents"]) == (str(made), list(shown))
    assert HOST in shown["configuration.json"]
    assert "hunter2" not in "".join(shown.values())
    assert "none yet" in json.loads(shown["ledger.json"])["revision"]
    assert main(words) == 1
    assert "File exists" in capsys.readouterr().err


def test_a_ledger_of_an_earlier_version_is_told_of_and_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    ledger = root / "ledger.sqlite"
    with closing(sqlite3.connect(ledger)) as connection:
        connection.executescript(FIRST.read_text())
    before = ledger.read_bytes()
    made = tmp_path / "support.zip"
    assert main(["support-bundle", "-c", str(config_file(tmp_path, root)), "-o", str(made)]) == 0
    assert "upgrades it to 0003" in json.loads(contents(made)["ledger.json"])["revision"]
    assert ledger.read_bytes() == before


def test_a_bundle_goes_into_any_stream(tmp_path: Path, pacs: Pacs) -> None:
    loaded = load(config_file(tmp_path, tmp_path / "root"), {})
    stream = io.BytesIO()
    names = write_support_bundle(stream, Subject(loaded.settings, None, loaded.origins))
    assert tuple(contents(stream)) == names
    assert "log.txt" not in names


MASK = Mask(["db.hospital.example", "pacs"], ["/etc/secret"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://cxr@db.hospital.example:5432/cxr", "postgresql://cxr@host-1:5432/cxr"),
        ("PACS@pacs:104 answered", "PACS@host-2:104 answered"),
        ("peer pacs is not there", "peer pacs is not there"),
        ("from 10.1.2.3 and [2001:db8::7]:104", "from address-3 and [address-4]:104"),
        ("10.1.2.0/24", "address-5/24"),
        ("listen on 127.0.0.1, 0.0.0.0 and ::1", "listen on 127.0.0.1, 0.0.0.0 and ::1"),
        ("at 12:30:45 for 1.5 s", "at 12:30:45 for 1.5 s"),
        ("2 in /etc/secret", "2 in (hidden)"),
        ("CN=other.hospital.example expires", "CN=host-6 expires"),
        ("class 1.2.840.10008.5.1.4.1.1.1", "class 1.2.840.10008.5.1.4.1.1.1"),
    ],
)
def test_the_same_host_has_the_same_stand_in(text: str, shown: str) -> None:
    mask = Mask(["db.hospital.example", "pacs"], ["/etc/secret"])
    for told in ("db.hospital.example", "@pacs:1", "10.1.2.3", "2001:db8::7", "10.1.2.0"):
        mask.text(told)
    assert mask.text(text) == shown


def test_a_uid_becomes_its_key() -> None:
    uid = "1.2.826.0.1.3680043.10.1.1"
    assert MASK.text(f"study {uid}.") == f"study uid:{key(uid)}."


@given(st.text(), st.ip_addresses(v=4).filter(lambda ip: not (ip.is_loopback or ip.is_unspecified)))
def test_no_address_survives_wherever_it_stands(text: str, address: Any) -> None:
    shown = Mask([]).text(f"{text} {address} {text}")
    assert f" {address} " not in shown


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=5))
def test_masking_keeps_the_shape_of_a_value(value: Any) -> None:
    def shape(one: Any) -> Any:
        return [shape(item) for item in one] if isinstance(one, list) else type(one)

    assert shape(MASK.anything(value)) == shape(value)
