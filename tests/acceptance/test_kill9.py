"""kill -9 at every stage of the journey: nothing acknowledged is lost, nothing comes twice.

CXR_KILLS says how often (200 for a long run), CXR_TEST_SEED repeats one.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests import films
from tests.acceptance.killing import (
    ForgetfulPacs,
    Killer,
    Sender,
    num_whole_files,
    wait_for_the_end,
)
from tests.acceptance.peers import NodeProcess, free_port, node_settings, peer

NUM_KILLS = int(os.environ.get("CXR_KILLS", "20"))
NUM_KILLS_WITH_MODEL = 5
_IMAGES_PER_STUDY = 3
_QUIET_S = 1.0
STAND_IN = [sys.executable, "-m", "tests.acceptance.stand_in_node"]


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("CXR_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed: {seed} (set CXR_TEST_SEED to repeat)")
    return random.Random(seed)


@pytest.fixture
def pacs(chance: random.Random) -> Iterator[ForgetfulPacs]:
    server = ForgetfulPacs(chance, forgets=0.1)
    yield server
    server.stop()


def _settings(folder: Path, pacs: ForgetfulPacs) -> dict[str, object]:
    allow = ["echo", "store", "commitment"]
    asked = peer("PACS", pacs.port, ["report"]) | {"commitment": True, "allow": allow}
    commitment = {"wait_s": 1.0, "report_timeout_s": 2.0, "max_resends": 100}
    settings = node_settings(folder, free_port(), {"pacs": asked}, commitment=commitment)
    settings["node"]["work"]["max_attempts"] = 100
    settings["node"]["study"]["quiet_s"] = _QUIET_S
    return dict(settings)


@pytest.mark.slow
@pytest.mark.timeout(60 + 40 * NUM_KILLS)
def test_nothing_is_lost_or_doubled_at_any_stage(
    tmp_path: Path,
    pacs: ForgetfulPacs,
    chance: random.Random,
    start_node: Callable[..., NodeProcess],
) -> None:
    num_studies = max(6, NUM_KILLS)
    objects = [
        films.phantom(f"kill {number}", SOPInstanceUID=films.uid("kill", f"{number} {view}"))
        for number in range(num_studies)
        for view in range(_IMAGES_PER_STUDY)
    ]
    node = start_node(_settings(tmp_path, pacs), command=STAND_IN)
    _kill_and_check(node, pacs, objects, chance, NUM_KILLS)


@films.needs_films
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_or_doubled_with_the_model(
    tmp_path: Path,
    pacs: ForgetfulPacs,
    chance: random.Random,
    start_node: Callable[..., NodeProcess],
    good_films: list[films.Film],
) -> None:
    objects = [
        films.dicom(film, size=512)
        for film in good_films[:NUM_KILLS_WITH_MODEL]
        for _ in range(_IMAGES_PER_STUDY)
    ]
    for number, ds in enumerate(objects):
        ds.SOPInstanceUID = films.uid("kill", number)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    node = start_node(_settings(tmp_path, pacs))
    _kill_and_check(node, pacs, objects, chance, NUM_KILLS_WITH_MODEL)


def _kill_and_check(
    node: NodeProcess,
    pacs: ForgetfulPacs,
    objects: list[Dataset],
    chance: random.Random,
    num_kills: int,
) -> None:
    """Send objects through a node that is killed again and again, then count."""
    by_study: dict[str, set[str]] = defaultdict(set)
    for ds in objects:
        by_study[ds.StudyInstanceUID].add(ds.SOPInstanceUID)
    sender, killer = Sender(node.port, objects, chance), Killer(node, chance)
    pacs.reached = sender.reached = killer.reached
    sender.start()
    for _ in range(num_kills):
        killer.kill_once()
    killer.close()
    sender.join(300)
    assert not sender.is_alive(), "the sender is not through"
    wait_for_the_end(node, len(by_study), 300)
    time.sleep(1.5 * _QUIET_S)  # nothing more may follow
    assert set(node.states()) == set(by_study)
    assert num_whole_files(node) == len(sender.acknowledged) == len(objects)
    expected = _reports_of(node, by_study)
    assert set(pacs.contents) == expected, "an object too many or too few"
    assert pacs.kept == expected, "something is not at the PACS any more"
    assert all(len(contents) == 1 for contents in pacs.contents.values()), "other bytes on retry"
    print(
        f"kills: {dict(killer.kills)}; {sender.num_attempts} attempts for {len(objects)} images; "
        f"{len(expected)} reports for {len(by_study)} studies, {pacs.num_forgotten} times forgotten"
    )


def _reports_of(node: NodeProcess, by_study: dict[str, set[str]]) -> set[str]:
    """Return the reports that the ledger calls committed: one for each generation."""
    reports = set()
    for study_uid, sent in by_study.items():
        generations = node.journal.study(study_uid)
        assert generations[-1]["num_images"] == len(sent)
        for generation in generations:
            (output,) = generation["outputs"]
            assert output["status"] == "committed"
            reports.add(output["sop_instance_uid"])
    return reports
