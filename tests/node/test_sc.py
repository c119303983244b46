"""A synthetic film carries every mark, and the sender notices any that is gone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.banner import burn, is_burned
from node.config_outputs import SyntheticSettings
from node.sc import MARKS, missing_marks
from tests.films import phantom
from tests.node.outputs_made import drawing, encoded, identity, read_back, synthetic_sc

SAME_STUDY = SyntheticSettings(enabled=True, identity="same_study")


def test_a_synthetic_film_lacks_no_mark_also_after_the_wire():
    assert missing_marks(synthetic_sc()) == ()
    assert missing_marks(read_back(synthetic_sc())) == ()


@pytest.mark.parametrize("mark", MARKS)
def test_removing_any_one_mark_is_noticed(mark):
    ds = synthetic_sc()
    del ds[mark]
    assert missing_marks(ds) == (mark,)


@pytest.mark.filterwarnings("ignore:Invalid value")
@settings(max_examples=60, deadline=None)
@given(
    mark=st.sampled_from(sorted(set(MARKS) - {"PixelData"})), value=st.text("ABCXYZ ", max_size=9)
)
def test_changing_any_one_mark_is_noticed(mark, value):
    ds = synthetic_sc()
    if mark == "ContributingEquipmentSequence":
        ds[mark].value[0].PurposeOfReferenceCodeSequence[0].CodeValue = value
    else:
        ds[mark].value = value
    assert missing_marks(ds) == (mark,)


@pytest.mark.parametrize("part", [slice(0, 40), slice(200, 340)])
def test_painting_over_either_banner_is_noticed(part):
    ds = synthetic_sc()
    film = np.frombuffer(ds.PixelData, np.uint8).reshape(512, 512).copy()
    film[part] = 90
    ds.PixelData = film.tobytes()
    assert missing_marks(ds) == ("PixelData",)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([256, 512, 777]))
def test_the_banner_is_found_on_any_film_it_was_burned_into(seed, size):
    film = np.random.default_rng(seed).integers(0, 256, (256, 256), dtype=np.uint8)
    assert is_burned(burn(film, size))
    assert not is_burned(film)


def test_a_research_patient_points_back_to_nobody():
    source = phantom(PatientID="SECRET-ID", PatientName="Secret^Name", AccessionNumber="SECRET-A")
    ds = synthetic_sc(source, identity=identity(study_instance_uid=str(source.StudyInstanceUID)))
    assert str(ds.PatientName) == "RESEARCH^SYNTHETIC"
    assert ds.PatientID.startswith("RESEARCH-")
    assert ds.StudyInstanceUID != source.StudyInstanceUID
    written = encoded(ds)
    assert b"SECRET" not in written.upper()
    assert str(source.StudyInstanceUID).encode() not in written


def test_generations_of_one_study_share_one_research_study():
    first, second = synthetic_sc(), synthetic_sc(identity=identity(generation=2))
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.PatientID == second.PatientID
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_same_study_files_the_film_with_the_patient_and_keeps_every_mark():
    source = phantom(PatientID="P1")
    own = identity(study_instance_uid=str(source.StudyInstanceUID))
    ds = synthetic_sc(source, identity=own, settings=SAME_STUDY)
    assert (ds.PatientID, ds.StudyInstanceUID) == ("P1", source.StudyInstanceUID)
    assert missing_marks(ds) == ()


def test_a_series_description_of_the_sites_own_still_says_synthetic():
    ds = synthetic_sc(settings=SyntheticSettings(series_description="Teaching film"))
    assert ds.SeriesDescription == "SYNTHETIC - Teaching film"


def test_the_seed_is_recorded():
    assert "seed 7" in synthetic_sc().DerivationDescription


def test_the_same_drawing_is_the_same_file():
    assert encoded(synthetic_sc()) == encoded(synthetic_sc())
    assert encoded(synthetic_sc()) != encoded(synthetic_sc(drawing=drawing(seed=8)))
