"""A model trained on the parts of studies, served by a node: two films and an indication in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from engine.guard import FOREIGN, LATERAL
from engine.pipeline import Engine
from engine.results import Image, Inspection
from node.app import Node
from tests.films import phantom, uid
from tests.node.conftest import (
    Pacs,
    _peers_close_their_sockets,
    pacs,
    send,
    settings_for,
    study_state,
    wait_for,
)

__all__ = ["_peers_close_their_sockets", "pacs"]


class Seeing(Engine):
    """The trained engine, told which films are lateral: its classifier took two steps."""

    def inspect(self, image: Image) -> Inspection:
        if image[0, :, :128].mean() < image[0, :, 128:].mean():
            return Inspection(True, "frontal", (), {"frontal": 1.0})
        return Inspection(False, "lateral", (FOREIGN, LATERAL), {"frontal": 0.0})


@pytest.fixture
def node(study_bundle: Path, pacs: Pacs, tmp_path: Path) -> Iterator[Node]:
    made = Node(
        settings_for(tmp_path / "root", pacs.port), Seeing.load(study_bundle, num_threads=1)
    )
    made.warm_up()
    made.start()
    yield made
    made.stop()


def study() -> tuple[Dataset, Dataset]:
    """Return the two films of a study."""
    reason = {"ReasonForTheRequestedProcedure": "Cough and fever."}
    front = phantom("served", ViewPosition="PA", **reason)
    side = phantom("served", ViewPosition="LL", SOPInstanceUID=uid("lateral", "served"), **reason)
    side.PixelData = np.ascontiguousarray(side.pixel_array[:, ::-1]).tobytes()
    return front, side


def test_a_study_of_two_films_with_an_indication_is_drafted_from_all_of_it(
    node: Node, pacs: Pacs
) -> None:
    front, side = study()
    send(node, front, side)
    wait_for(lambda: study_state(node, front) == ["DONE"], timeout_s=120)
    (row,) = node.journal.study(front.StudyInstanceUID)
    assert row["result"]["report"]["inputs"] == ["indication", "frontal", "lateral"]
    assert row["result"]["parts"]["lateral"]["sop_instance_uid"] == side.SOPInstanceUID
    (report,) = pacs.received
    (equipment,) = report.ContributingEquipmentSequence
    assert "prompt alpaca-study-1" in equipment.ContributionDescription
    assert "given indication and frontal and lateral" in equipment.ContributionDescription
