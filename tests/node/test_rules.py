"""Our own output never comes in again, and the likeliest frontal film is tried first."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.codes import PROCESSING_EQUIPMENT, SYNTHESIZING_EQUIPMENT
from node.rules import InstanceFacts, choose_image, own_output
from node.uids import MANUFACTURER
from tests.films import phantom
from tests.node.outputs_made import draft_sr, findings_sr, heatmap, pdf, synthetic_sc


def facts(uid: str = "1.2", **changes: object) -> InstanceFacts:
    known = {
        "sop_instance_uid": uid,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "series_instance_uid": "1.1",
        "modality": "DX",
        "view_position": "PA",
        "body_part": "CHEST",
        "image_type": ("ORIGINAL", "PRIMARY"),
        "rows": 2000,
        "columns": 2000,
        "path": Path("film.dcm"),
    }
    return InstanceFacts(**{**known, **changes})


def equipment(manufacturer: str, purpose) -> Dataset:
    item = Dataset()
    item.Manufacturer, item.PurposeOfReferenceCodeSequence = manufacturer, [purpose.item()]
    return item


def test_a_film_of_a_modality_is_taken_in():
    assert own_output(phantom()) is None


@pytest.mark.parametrize("accept_synthetic", [True, False])
@pytest.mark.parametrize("made", [draft_sr, findings_sr, heatmap, pdf, synthetic_sc])
def test_what_the_node_made_is_refused_whatever_the_demo_allows(made, accept_synthetic):
    assert own_output(made(), accept_synthetic=accept_synthetic)


OWN = {
    "SyntheticData": {"SyntheticData": "YES"},
    "Manufacturer": {"Manufacturer": MANUFACTURER},
    "ImageType": {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]},
    "Modality": {"Modality": "OT"},
    "SR class": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"},
    "our equipment": {
        "ContributingEquipmentSequence": [equipment(MANUFACTURER, PROCESSING_EQUIPMENT)]
    },
    "a synthesizer": {
        "ContributingEquipmentSequence": [equipment("Another", SYNTHESIZING_EQUIPMENT)]
    },
}


@pytest.mark.parametrize("mark", OWN)
def test_any_one_mark_is_enough_to_refuse(mark):
    assert own_output(phantom(**OWN[mark]))


def test_a_synthetic_film_comes_in_only_where_the_demo_lets_it():
    film = phantom(SyntheticData="YES")
    assert own_output(film)
    assert own_output(film, accept_synthetic=True) is None


def test_pa_comes_before_ap_before_no_view_before_lateral():
    views = ["LL", "", "AP", "PA"]
    choice = choose_image([facts(f"1.{n}", view_position=view) for n, view in enumerate(views)])
    assert [one.view_position for one in choice.candidates] == ["PA", "AP", "", "LL"]


def test_a_study_labelled_lateral_only_is_still_tried():
    assert choose_image([facts(view_position="LL")]).candidates


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"modality": "CT"}, "modality CT is not CR or DX"),
        ({"body_part": "HAND"}, "body part HAND is not the chest"),
        ({"rows": 0}, "it holds no image"),
        ({"modality": "Doe^Jane 1960"}, "modality (not a coded value) is not CR or DX"),
    ],
)
def test_what_is_no_chest_film_is_rejected_with_its_reason(change, reason):
    choice = choose_image([facts(**change)])
    assert choice.candidates == ()
    assert choice.reason == reason


def test_a_chest_film_without_body_part_is_tried():
    assert choose_image([facts(body_part="")]).candidates


@given(order=st.permutations(range(6)))
def test_the_choice_does_not_depend_on_the_order_of_arrival(order):
    films = [facts(f"1.{n}", rows=1000 + n % 3) for n in range(6)]
    assert choose_image([films[n] for n in order]).candidates == choose_image(films).candidates
