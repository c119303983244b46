"""A real Orthanc is asked how many images it has of a study that comes in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from node.app import Node
from node.config import Settings
from tests.acceptance.peers import Orthanc, free_port, node_settings, peer, tool, wait_for
from tests.fakes import FakeEngine
from tests.films import phantom, uid
from tests.node.conftest import send, study_state


def test_orthanc_confirms_the_number_of_images(
    tmp_path: Path, start_orthanc: Callable[..., Orthanc]
) -> None:
    orthanc = start_orthanc(free_port(), routes=False)
    pacs = peer(orthanc.aet, orthanc.port, ["report"]) | {"query": True}
    settings = node_settings(tmp_path, free_port(), {"pacs": pacs})
    settings["node"]["study"] |= {"quiet_s": 30, "confirmed_quiet_s": 1}
    views = [phantom("views", SOPInstanceUID=uid("instance", view)) for view in ("pa", "lateral")]
    for number, ds in enumerate(views):
        ds.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    place = ("-aet", "CRROOM1", "-aec", orthanc.aet, "127.0.0.1", str(orthanc.port))
    assert tool("storescu", *place, tmp_path / "0.dcm", tmp_path / "1.dcm").returncode == 0
    node = Node(Settings.model_validate(settings), FakeEngine())
    node.start()
    try:
        send(node, views[0], calling=orthanc.aet)
        time.sleep(3)
        assert study_state(node, views[0]) == ["RECEIVING"], "Orthanc holds one more"
        send(node, views[1], calling=orthanc.aet)
        sent_at = time.monotonic()
        wait_for(lambda: study_state(node, views[0]) == ["DONE"], 10, "the draft")
        print(f"done {time.monotonic() - sent_at:.1f} s after the last image")
    finally:
        node.stop()
