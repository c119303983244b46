"""The site of deploy/compose.yaml without its containers: its Orthanc, its node, a PostgreSQL."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests import films
from tests.acceptance.peers import ROOT, NodeProcess, free_port, listens, tool, wait_for
from tests.postgres import Postgres

DEPLOY = ROOT / "deploy/compose"
USER = ("operator", "a long password")

pytestmark = films.needs_films


@pytest.fixture
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("node", "dicom", "http", "metrics")}


@pytest.fixture
def orthanc(tmp_path: Path, ports: dict[str, int]) -> Iterator[dict[str, int]]:
    """Start an Orthanc on the files that the compose file hands it, moved to loopback."""
    program = shutil.which("Orthanc", path="/usr/bin:/usr/sbin") or "Orthanc"
    settings = json.loads((DEPLOY / "orthanc.json").read_text())
    settings |= {"DicomPort": ports["dicom"], "HttpPort": ports["http"]}
    settings |= {"StorageDirectory": str(tmp_path), "IndexDirectory": str(tmp_path)}
    settings |= {"LuaScripts": [str(DEPLOY / "autoroute.lua")], "StableAge": 1}
    settings["DicomModalities"]["cxrnode"] |= {"Host": "127.0.0.1", "Port": ports["node"]}
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "orthanc.json").write_text(json.dumps(settings))
    (folder / "users.json").write_text(json.dumps({"RegisteredUsers": dict([USER])}))
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder)], stdout=log, stderr=log)
    wait_for(lambda: listens(ports["dicom"]) and listens(ports["http"]), 30, "Orthanc to listen")
    yield ports
    process.terminate()
    process.wait(30)


def _node(folder: Path, ports: dict[str, int], postgres: Postgres) -> dict[str, Any]:
    """Return the node of the compose file, moved to loopback."""
    settings: dict[str, Any] = yaml.safe_load((DEPLOY / "config.yaml").read_text())
    settings["node"] |= {
        "port": ports["node"],
        "bind": "127.0.0.1",
        "storage": {"root": str(folder / "root"), "free_min_gb": 0, "free_min_percent": 0},
        "study": {"quiet_s": 1},
        "metrics": {"enabled": True, "port": ports["metrics"]},
        "ledger": {"url": postgres.database()},
    }
    settings["peers"]["hospital-pacs"] |= {"host": "127.0.0.1", "port": ports["dicom"]}
    return settings


def test_a_film_at_the_pacs_comes_back_with_its_draft_and_the_ledger_is_shared(
    tmp_path: Path,
    orthanc: dict[str, int],
    postgres: Postgres,
    start_node: Callable[..., NodeProcess],
    good_films: list[films.Film],
) -> None:
    settings = _node(tmp_path, orthanc, postgres)
    node = start_node(settings)
    wait_for(lambda: node.call("health").returncode == 0, 60, "the health check")
    path = tmp_path / "film.dcm"
    film = films.dicom(good_films[0])
    film.save_as(path, enforce_file_format=True)
    place = ("127.0.0.1", str(orthanc["dicom"]))
    sent = tool("storescu", "-aet", "CRROOM1", "-aec", "HOSPACS", *place, str(path))
    assert sent.returncode == 0, sent.stderr

    def series() -> set[str]:
        body = {"Level": "Series", "Query": {}, "Expand": True}
        url = f"http://127.0.0.1:{orthanc['http']}/tools/find"
        found = requests.post(url, json=body, timeout=10, auth=USER).json()
        return {one["MainDicomTags"]["Modality"] for one in found}

    wait_for(lambda: "SR" in series(), 90, "the draft")
    wait_for(lambda: list(_states(node)) == ["DONE"], 60, "the commitment")
    assert not (tmp_path / "root/ledger.sqlite").exists()


def _states(node: NodeProcess) -> Iterator[str]:
    return (row["state"] for row in node.status()["studies"])
