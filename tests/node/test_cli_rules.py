"""`cxr-node rules test`: what it says is what the node would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.dataset import Dataset

from node import cli
from node.uids import MANUFACTURER
from tests.films import phantom

CONFIG: dict[str, Any] = {
    "node": {"ae_titles": ["CXRNIGHT"], "intake": {"max_object_mb": 1}},
    "peers": {
        "pacs": {
            "ae_title": "PACS",
            "host": "h",
            "port": 104,
            "send": ["report"],
            "quiet_hours": ["22:00-05:00"],
        },
        "room-1": {"ae_title": "ROOM1", "host": "h", "port": 104, "allow": ["echo"]},
    },
    "outputs": {
        "rules": [
            {"name": "emergency", "station": ["ER*"], "priority": "stat"},
            {"name": "trial", "called_aet": ["CXRNIGHT"], "shadow": True},
            {"name": "weekdays off", "modalities": ["DX"], "draft": False},
        ]
    },
}


class Bench:
    """A configuration, a film, and the verb."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config, self.film = folder / "config.yaml", folder / "film.dcm"
        self.config.write_text(yaml.safe_dump(CONFIG))
        self._capsys = capsys

    def run(self, ds: Dataset, *options: str) -> str:
        ds.save_as(self.film, enforce_file_format=True)
        words = ["rules", "test", str(self.film), "-c", str(self.config), *options]
        assert cli.main(words) == 0
        return self._capsys.readouterr().out

    def told(self, ds: Dataset, *options: str) -> Any:
        return json.loads(self.run(ds, "--json", *options))


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, capsys)


def test_a_plain_film_is_drafted_and_sent_by_the_defaults(bench: Bench) -> None:
    told = bench.told(phantom("plain"), "--at", "2026-11-23 12:00")
    assert told["outcome"] == "drafted and sent"
    assert told["sends"] == {"pacs": ["report"]}
    assert told["waits"] == {}
    assert told["bundle"] == "a"
    assert [rule["matched"] for rule in told["rules"]] == [False] * 3
    assert told["rules"][0]["why_not"] == "the station is not ER*"


def test_quiet_hours_hold_a_routine_film_and_no_emergency(bench: Bench) -> None:
    at = ["--at", "2026-11-23 23:00"]
    assert bench.told(phantom("plain"), *at)["waits"] == {"pacs": "05:00"}
    emergency = bench.told(phantom("stat", StationName="ER2"), *at)
    assert (emergency["route"]["rule"], emergency["waits"]) == ("emergency", {})
    assert "stat" in bench.run(phantom("stat", StationName="ER2"), *at)
    assert "quiet hours until 05:00" in bench.run(phantom("plain"), *at)


@pytest.mark.parametrize(
    ("changes", "options", "outcome"),
    [
        ({}, ["--called", "CXRNIGHT"], "drafted; shadow: nothing was sent"),
        ({"Modality": "DX"}, [], "SKIPPED: rule weekdays off wants no draft"),
        (
            {"Modality": "MG"},
            [],
            "SKIPPED, if it is the only film of its study: modality MG is not CR or DX",
        ),
        ({}, ["--calling", "NOBODY"], "refused: no peer has this calling AE title"),
        ({}, ["--calling", "ROOM1"], "refused: this peer may not store"),
        ({}, ["--called", "OTHER"], "refused: called AE title is not ours"),
        (
            {"Manufacturer": MANUFACTURER},
            [],
            "refused: not an image to report on: it is an output of this node (Manufacturer)",
        ),
    ],
)
def test_what_intake_and_rules_say(
    bench: Bench, changes: dict[str, str], options: list[str], outcome: str
) -> None:
    assert bench.told(phantom("told", **changes), *options)["outcome"] == outcome


def test_a_film_that_is_too_large_is_refused_with_both_sizes(bench: Bench) -> None:
    told = bench.told(phantom("large", size=1024))
    assert told["outcome"].startswith("refused: it has 2 MB, node.intake.max_object_mb is 1")


def test_what_is_no_film_is_one_clear_line(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.film.write_text("no film")
    assert cli.main(["rules", "test", str(bench.film), "-c", str(bench.config)]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_no_patient_is_printed(bench: Bench) -> None:
    ds = phantom("named", PatientName="DOE^JOHN", PatientID="4711-X")
    printed = bench.run(ds) + bench.run(ds, "--json")
    assert not [text for text in ("DOE", "4711-X", ds.StudyInstanceUID) if text in printed]
