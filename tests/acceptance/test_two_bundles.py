"""Two bundles in two processes: each drafts its part, and every draft names its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from engine.bundle import DEMO, open_bundle
from tests import films
from tests.acceptance.peers import NodeProcess, free_port, node_settings, peer, tool, wait_for
from tests.node.conftest import Pacs

Start = Callable[..., NodeProcess]


def _another_version(folder: Path) -> Path:
    """Return a copy of the demo bundle that says it is another version."""
    copied = folder / "rival"
    shutil.copytree(DEMO, copied)
    manifest = json.loads((copied / "bundle.json").read_text())
    (copied / "bundle.json").write_text(json.dumps(manifest | {"version": "9.9.9"}))
    return copied


@films.needs_films
def test_each_draft_names_the_bundle_that_made_it(
    tmp_path: Path, start_node: Start, good_films: list[films.Film]
) -> None:
    pacs = Pacs(free_port())
    pacs.start()
    rival = _another_version(tmp_path)
    rules = [{"name": name, "station": [name], "bundle": name} for name in ("a", "b")]
    settings = node_settings(
        tmp_path, free_port(), {"pacs": peer("PACS", pacs.port, ["report"])}, rules=rules
    )
    settings["engine"] = {"challenger": str(rival), "challenger_share": 0.5}
    node = start_node(settings)
    for name, film in zip(("a", "b"), good_films, strict=False):
        path = tmp_path / f"{name}.dcm"
        films.dicom(film, StationName=name.upper()).save_as(path, enforce_file_format=True)
        place = ("-aet", "PACS", "-aec", "CXRDRAFT", "127.0.0.1", str(node.port))
        assert tool("storescu", *place, path).returncode == 0
    wait_for(lambda: len(pacs.received) == 2, 90, "both drafts")
    bundles = {"a": open_bundle(DEMO), "b": open_bundle(rival)}
    for name, bundle in bundles.items():
        (ds,) = (one for one in pacs.received if str(one.StationName).lower() == name)
        (told,) = node.status(ds.StudyInstanceUID)
        assert told["bundle"] == f"{bundle.name} {bundle.version} ({bundle.digest[:12]})"
        assert bundle.digest in str(ds)
        assert ("rule", f"{name} matched") in [
            (step["name"], step["detail"]) for step in told["timeline"]
        ]
    pacs.stop()
    assert node.stop() == 0


def test_a_challenger_that_cannot_be_loaded_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    settings = node_settings(tmp_path, free_port(), {})
    settings["engine"] = {"challenger": str(tmp_path / "nowhere"), "challenger_share": 0.5}
    node = NodeProcess(tmp_path / "node", settings)
    ended = node.call("run")
    assert ended.returncode == 1
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("error:"))
    assert "nowhere" in line
    (row,) = (
        one
        for one in json.loads(node.call("check", "--json").stdout)
        if not one["is_good"] and one["name"] == "challenger"
    )
    assert "nowhere" in row["text"]
