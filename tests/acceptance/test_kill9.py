"""kill -9 at random points while images are sent: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event

from node.sop_classes import IMAGE_CLASSES
from tests import films
from tests.acceptance.peers import NodeProcess, free_port, node_settings, peer, wait_for

NUM_INSTANCES = 50
NUM_STUDIES = 10
NUM_KILLS = 20
_REPORT = "1.2.840.10008.5.1.4.1.1.88.22"


class CountingPacs:
    """A PACS that counts: for each SOP Instance UID, the different contents that it was sent."""

    def __init__(self) -> None:
        self.port = free_port()
        self.contents: dict[str, set[str]] = defaultdict(set)
        ae = AE("PACS")
        ae.add_supported_context(_REPORT)
        self._server: Any = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self.on_c_store)],
        )

    def on_c_store(self, event: Event) -> int:
        ds = event.dataset
        self.contents[ds.SOPInstanceUID].add(hashlib.sha256(event.encoded_dataset()).hexdigest())
        return 0x0000

    def stop(self) -> None:
        self._server.shutdown()


class Sender(threading.Thread):
    """A modality that sends every image until it is acknowledged, at a leisurely pace."""

    def __init__(self, port: int, objects: list[Dataset], chance: random.Random) -> None:
        super().__init__()
        self._port = port
        self._waiting = objects
        self._chance = chance
        self.num_attempts = 0

    def run(self) -> None:
        while self._waiting:
            time.sleep(self._chance.uniform(0.0, 0.5))
            self.num_attempts += 1
            if self._send(self._waiting[0]):
                self._waiting.pop(0)

    def _send(self, ds: Dataset) -> bool:
        ae = AE("PACS")
        for sop_class_uid in IMAGE_CLASSES:
            ae.add_requested_context(sop_class_uid)
        ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = 5
        assoc = ae.associate("127.0.0.1", self._port, ae_title="CXRDRAFT")
        if not assoc.is_established:
            return False
        try:
            answer = assoc.send_c_store(ds)
            return "Status" in answer and answer.Status == 0x0000
        except RuntimeError:
            return False
        finally:
            assoc.release()


@pytest.fixture
def pacs() -> Iterator[CountingPacs]:
    server = CountingPacs()
    yield server
    server.stop()


def _instances(chosen: list[films.Film]) -> list[Dataset]:
    """Return films of a few studies, each instance with a UID of its own."""
    per_study = NUM_INSTANCES // NUM_STUDIES
    made = [films.dicom(film, size=512) for film in chosen for _ in range(per_study)]
    for number, ds in enumerate(made):
        ds.SOPInstanceUID = films.uid("kill", number)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return made


@films.needs_films
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_acknowledged_image_is_lost_and_no_report_doubled(
    tmp_path: Path,
    pacs: CountingPacs,
    start_node: Callable[..., NodeProcess],
    good_films: list[films.Film],
) -> None:
    seed = int(os.environ.get("CXR_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed: {seed} (set CXR_TEST_SEED to repeat)")
    chance = random.Random(seed)
    settings = node_settings(tmp_path, free_port(), {"pacs": peer("PACS", pacs.port, ["report"])})
    settings["node"]["work"]["max_attempts"] = 100
    objects = _instances(good_films[:NUM_STUDIES])
    by_study: dict[str, set[str]] = defaultdict(set)
    for ds in objects:
        by_study[ds.StudyInstanceUID].add(ds.SOPInstanceUID)
    node = start_node(settings)
    sender = Sender(node.port, objects, chance)
    sender.start()
    for _ in range(NUM_KILLS):
        time.sleep(chance.uniform(0.0, 1.5))
        node.kill()
        node.start()
    sender.join(200)
    assert not sender.is_alive(), "the sender is not through"
    wait_for(lambda: set(node.states().values()) == {"DONE"}, 300, "every study to be done")
    time.sleep(1.5)  # a quiet time: nothing more may follow
    assert set(node.states()) == set(by_study)
    print(f"{NUM_KILLS} kills, {sender.num_attempts} attempts for {NUM_INSTANCES} instances")

    expected = set()
    for study_uid, sent in by_study.items():
        generations = node.journal.study(study_uid)
        last = generations[-1]
        assert last["num_images"] == len(sent)
        for generation in generations:
            (output,) = generation["outputs"]
            assert output["status"] == "sent"
            expected.add(output["sop_instance_uid"])
    assert set(pacs.contents) == expected, "an object too many or too few"
    assert all(len(contents) == 1 for contents in pacs.contents.values()), "other bytes on retry"
    print(f"{len(expected)} reports for {len(by_study)} studies, each one object at the PACS")
