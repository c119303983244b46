import pytest
import torch

from training.losses import (
    adaptive_weight,
    adversarial,
    feature_distance,
    hinge_discriminator,
    masked_bce,
)


def test_the_hinge_is_zero_once_both_sides_are_beyond_the_margin():
    assert hinge_discriminator(torch.tensor([2.0]), torch.tensor([-2.0])) == 0
    assert hinge_discriminator(torch.tensor([0.0]), torch.tensor([0.0])) == 1
    assert adversarial(torch.tensor([3.0])) == -3


def test_the_adaptive_weight_is_the_ratio_of_gradient_norms():
    layer = torch.tensor([1.0, 1.0], requires_grad=True)
    weight = adaptive_weight(3 * layer.sum(), layer.sum(), layer)
    assert weight.item() == pytest.approx(3.0, rel=1e-3)
    assert not weight.requires_grad


def test_the_feature_distance_ignores_scale_and_sees_direction():
    maps = [torch.randn(1, 4, 3, 3)]
    assert feature_distance(maps, [5 * maps[0]]) == pytest.approx(0.0, abs=1e-6)
    assert feature_distance(maps, [-maps[0]]) == pytest.approx(4.0, rel=1e-3)


def test_unstated_labels_carry_no_loss():
    logits = torch.tensor([[2.0, -3.0, 4.0]])
    only_first = masked_bce(logits, torch.tensor([[1.0, float("nan"), -1.0]]))
    assert only_first.item() == pytest.approx(
        torch.nn.functional.softplus(torch.tensor(-2.0)).item()
    )
