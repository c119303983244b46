"""The film classifier: its two backbones, its padding and its heads."""

import pytest
import torch

from engine.findings import FINDINGS
from engine.nets.classifier import FilmClassifier
from engine.nets.efficientnet import SamePadConv

WIDTHS = {"densenet121": 1024, "efficientnet_lite0": 1280}
SIDES = {"densenet121": [112, 56, 28, 14, 7], "efficientnet_lite0": [128, 64, 32, 16, 16, 8, 8, 8]}


@pytest.fixture(scope="module", params=WIDTHS)
def classifier(request):
    torch.manual_seed(0)
    return FilmClassifier(request.param).eval()


def name_of(classifier):
    return next(name for name, width in WIDTHS.items() if width == classifier.backbone.width)


def test_maps_fall_in_resolution_and_end_in_the_pooled_width(classifier):
    name = name_of(classifier)
    with torch.no_grad():
        maps = classifier.maps(torch.zeros(1, 1, 256, 256))
    assert [found.shape[-1] for found in maps] == SIDES[name]
    assert maps[-1].shape[1] == WIDTHS[name]


def test_every_question_has_its_answer(classifier):
    with torch.no_grad():
        found = classifier(torch.rand(2, 1, 256, 256))
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    width = classifier.backbone.width
    assert shapes == {
        "view": (2, 3), "turn": (2, 4), "inverted": (2,), "findings": (2, len(FINDINGS)),
        "features": (2, width),
    }  # fmt: skip


def test_the_features_of_a_256_film_pull_on_every_pixel(classifier):
    film = torch.rand(1, 1, 256, 256, requires_grad=True)
    classifier.features(film).square().sum().backward()
    assert (film.grad != 0).float().mean() > 0.99


def test_calibration_scales_and_shifts_the_findings_and_nothing_else(classifier):
    films = torch.rand(1, 1, 256, 256)
    with torch.no_grad():
        before = classifier(films)
        classifier.scale.fill_(0.5)
        classifier.shift.fill_(2.0)
        after = classifier(films)
        classifier.scale.fill_(1.0)
        classifier.shift.fill_(0.0)
    torch.testing.assert_close(after["findings"], before["findings"] * 0.5 + 2)
    assert torch.equal(after["view"], before["view"])


def summing(kernel, stride):
    conv = SamePadConv(1, 1, kernel, stride=stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    return conv


def test_an_odd_pixel_of_padding_goes_right_and_below():
    # windows at rows and columns 0-2 and 2-4, of which index 4 is padding
    found = summing(3, 2)(torch.arange(16.0).reshape(1, 1, 4, 4))
    assert found[0, 0].tolist() == [[45.0, 39.0], [66.0, 50.0]]


def test_an_even_padding_is_shared_between_both_sides():
    found = summing(3, 2)(torch.ones(1, 1, 5, 5))
    assert found[0, 0].tolist() == [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]


@pytest.mark.parametrize("side", [7, 8, 9])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_output_is_the_input_s_side_over_the_stride_rounded_up(side, kernel, stride):
    assert summing(kernel, stride)(torch.ones(1, 1, side, side)).shape[-1] == -(-side // stride)
