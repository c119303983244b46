"""Two receivers behind a load balancer, two workers, one delivery, one PostgreSQL; then trouble.

Every process is killed or stopped in turn, and the database with them. Nothing acknowledged
is lost, nothing comes twice, and what a dead worker held is drafted within half a minute.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import films
from tests.acceptance.balancer import Balancer
from tests.acceptance.cluster import LEASE_S, Cluster, Member
from tests.acceptance.killing import ForgetfulPacs, Sender
from tests.acceptance.peers import wait_for
from tests.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NUM_STUDIES = int(os.environ.get("CXR_CLUSTER_STUDIES", "12"))


@pytest.fixture
def pacs() -> Iterator[ForgetfulPacs]:
    server = ForgetfulPacs(random.Random(0), forgets=0)
    yield server
    server.stop()


@pytest.fixture
def cluster(tmp_path: Path, postgres: Postgres, pacs: ForgetfulPacs) -> Iterator[Cluster]:
    made = Cluster(tmp_path, postgres.database(), pacs.port)
    with ExitStack() as stack:
        for member in made.members:
            stack.callback(lambda one: print(one.folder.name, one.log()), member)
            stack.callback(member.stop)
            member.start()
        yield made
    made.engine.dispose()


def _objects(num_studies: int) -> list[Any]:
    return [
        films.phantom(f"cluster {number}", SOPInstanceUID=films.uid("cluster", f"{number} {view}"))
        for number in range(num_studies)
        for view in range(2)
    ]


def _check(cluster: Cluster, pacs: ForgetfulPacs, sender: Sender, num_studies: int) -> None:
    """Check that every acknowledged image is in a draft, and every draft at the PACS once."""
    wait_for(lambda: cluster.is_done(num_studies), 180, f"studies: {cluster.states()}")
    reports = {
        row["sop_instance_uid"]
        for study_uid in cluster.states()
        for generation in cluster.journal.study(study_uid)
        for row in generation["outputs"]
    }
    assert set(pacs.contents) == reports
    assert all(len(contents) == 1 for contents in pacs.contents.values()), "other bytes on retry"
    images = sum(cluster.journal.study(uid)[-1]["num_images"] for uid in cluster.states())
    assert images == len(sender.acknowledged) == 2 * num_studies


def test_nothing_is_lost_or_doubled_whoever_dies(
    cluster: Cluster, pacs: ForgetfulPacs, postgres: Postgres
) -> None:
    chance = random.Random(int(os.environ.get("CXR_TEST_SEED", "1")))
    balancer = Balancer([receiver.port for receiver in cluster.receivers])
    sender = Sender(balancer.port, _objects(NUM_STUDIES), chance)
    sender.start()

    def revive(member: Member) -> None:
        member.kill()
        time.sleep(chance.uniform(0, 0.5))
        member.start()

    def restart_database() -> None:
        postgres.stop("immediate")
        time.sleep(chance.uniform(0, 1))
        postgres.start()

    trouble: list[Callable[[], None]] = [
        *(lambda one=member: revive(one) for member in cluster.members),  # type: ignore[misc]
        restart_database,
        lambda: cluster.workers[0].pause(2 * LEASE_S),
    ]
    chance.shuffle(trouble)
    for strike in trouble:
        time.sleep(chance.uniform(0.2, 1.0))
        strike()
    sender.join(180)
    assert not sender.is_alive(), "the sender is not through"
    _check(cluster, pacs, sender, NUM_STUDIES)
    balancer.stop()


def test_a_dead_workers_study_is_taken_up_within_half_a_minute(
    cluster: Cluster, pacs: ForgetfulPacs
) -> None:
    survivor, victim = cluster.workers
    survivor.kill()
    sender = Sender(cluster.receivers[0].port, _objects(1), random.Random(0))
    sender.start()
    wait_for(lambda: "RUNNING" in cluster.states().values(), 30, "a worker to begin")
    victim.kill()
    died = time.monotonic()
    survivor.start()
    wait_for(lambda: cluster.is_done(1), 30, "the study to be taken up")
    print(f"taken up, drafted and delivered {time.monotonic() - died:.1f} s after the death")
    _check(cluster, pacs, sender, 1)
