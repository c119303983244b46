"""A heat map is for reference, and neither its header nor its pixels let anybody forget it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.banner import is_burned
from engine.pipeline import Engine
from node.heatmap import BANNER, missing_heatmap_marks, panels
from node.send_guard import missing_in
from tests.films import phantom
from tests.node.outputs_made import encoded, heatmap, read_back, synthetic_sc

EVIDENCE = np.zeros((8, 8), np.float32)


def test_a_heat_map_lacks_no_mark_also_after_the_wire():
    assert missing_heatmap_marks(heatmap()) == ()
    assert missing_heatmap_marks(read_back(heatmap())) == ()


@pytest.mark.parametrize(
    "keyword",
    [
        "ImageType",
        "ConversionType",
        "ContentQualification",
        "ImageComments",
        "BurnedInAnnotation",
        "DerivationDescription",
        "PixelData",
    ],
)
def test_removing_a_mark_is_noticed(keyword):
    ds = heatmap()
    del ds[keyword]
    assert missing_heatmap_marks(ds) == (keyword,)


def test_the_sender_holds_a_film_to_the_marks_of_its_own_kind():
    assert missing_in("heatmap", heatmap()) == ()
    assert missing_in("synthetic", heatmap())
    assert missing_in("heatmap", synthetic_sc())


@pytest.mark.parametrize(
    "mark",
    [{"SyntheticData": "YES"}, {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]}],
    ids=lambda mark: next(iter(mark)),
)
def test_the_map_of_a_synthetic_film_says_in_every_panel_that_it_is_one(mark):
    ds = heatmap(phantom(**mark))
    assert ds.SyntheticData == "YES"
    picture = np.frombuffer(ds.PixelData, np.uint8).reshape(ds.Rows, ds.Columns, 3)
    film = picture[36:-36, :512, 0]
    assert is_burned(film)
    assert (picture[36:60, 512:, 0] == film[:24]).mean() > 0.5


def test_painting_over_the_banner_of_one_panel_is_noticed():
    ds = heatmap()
    picture = np.frombuffer(ds.PixelData, np.uint8).reshape(ds.Rows, ds.Columns, 3).copy()
    picture[:30, 600:900] = 0
    ds.PixelData = picture.tobytes()
    assert missing_heatmap_marks(ds) == ("PixelData",)


def test_it_lies_in_the_patients_study_and_names_the_film():
    source = phantom()
    ds = heatmap(source)
    assert ds.StudyInstanceUID == source.StudyInstanceUID
    assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert "Cardiomegaly: probability 91 %" in ds.DerivationDescription
    assert BANNER in ds.ImageComments
    assert encoded(ds) == encoded(heatmap(source))


@pytest.mark.parametrize("corner", [(0, 0), (0, 7), (7, 0), (7, 7)])
def test_the_red_lies_where_the_evidence_lies(corner):
    evidence = EVIDENCE.copy()
    evidence[corner] = 1.0
    picture = panels(np.full((256, 256), 90, np.uint8), [("", evidence)])[36:-36, 512:]
    redness = picture[..., 0].astype(int) - picture[..., 2]
    row, column = np.unravel_index(redness.argmax(), redness.shape)
    assert (row // 256, column // 256) == (corner[0] // 4, corner[1] // 4)


@pytest.mark.slow
def test_the_demo_bundles_maps_are_its_logits():
    """The mean of a map and the logit differ by a constant: the same for every film."""
    engine = Engine.load()
    offsets = []
    for seed in range(3):
        image = np.random.default_rng(seed).uniform(-1, 1, (1, 256, 256)).astype(np.float32)
        chances, maps = engine.findings(image), engine.evidence(image)
        assert set(maps) == engine.proven
        logits = {name: np.log(chances[name] / (1 - chances[name])) for name in maps}
        offsets.append([logits[name] - maps[name].mean() for name in sorted(maps)])
    assert np.ptp(np.array(offsets), axis=0) == pytest.approx(0, abs=1e-3)
