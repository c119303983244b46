"""The losses of direct alignment against values worked out by hand, and against other libraries."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.align.losses import Answers, Compared, log_odds
from training.align.methods import METHODS
from training.config import AlignSection

NATS = st.floats(-60, -0.5)
LENGTHS = st.integers(1, 90)


def answers(policy, reference=None, lengths=None):
    policy = torch.tensor(policy, dtype=torch.float64)
    reference = torch.zeros_like(policy) if reference is None else torch.tensor(reference)
    lengths = torch.ones_like(policy) if lengths is None else torch.tensor(lengths)
    return Answers(policy, reference.double(), lengths.double())


def loss(method, chosen, rejected, others=None, **settings):
    found = Compared(chosen, rejected, others or answers([0.0]))
    batch = {"batch_size": 4}
    return METHODS[method].loss(found, AlignSection(method=method, **batch, **settings)).tolist()


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


CHOSEN = answers([-8.0, -20.0], [-10.0, -19.0], [10, 20])
REJECTED = answers([-13.0, -30.0], [-12.0, -33.0], [14, 15])
MARGINS = (2.0 - -1.0, -1.0 - 3.0)
"""r_c - r_j of the two pairs above."""


def test_dpo():
    wanted = [-math.log(sigmoid(0.1 * m)) for m in MARGINS]
    assert loss("dpo", CHOSEN, REJECTED, beta=0.1) == pytest.approx(wanted)


def test_lc_dpo_asks_less_of_a_pair_whose_chosen_answer_is_longer():
    wanted = [
        -math.log(sigmoid(0.1 * m + 0.05 * longer))
        for m, longer in zip(MARGINS, (10 - 14, 20 - 15), strict=True)
    ]
    found = loss("lc-dpo", CHOSEN, REJECTED, beta=0.1, length_penalty=0.05)
    assert found == pytest.approx(wanted)
    plain = loss("dpo", CHOSEN, REJECTED, beta=0.1)
    assert found[0] > plain[0]
    assert found[1] < plain[1]


def test_ipo():
    wanted = [(m - 1 / (2 * 0.25)) ** 2 for m in MARGINS]
    assert loss("ipo", CHOSEN, REJECTED, beta=0.25) == pytest.approx(wanted)


def test_kto_measures_every_answer_from_how_far_the_policy_has_moved():
    others = answers([-5.0, -6.0], [-6.0, -9.0])
    moved = (1.0 + 3.0) / 2
    wanted = [1.5 * (1 - sigmoid(0.1 * (r - moved))) for r in (2.0, -1.0)]
    wanted += [0.5 * (1 - sigmoid(0.1 * (moved - r))) for r in (-1.0, 3.0)]
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.5}
    assert loss("kto", CHOSEN, REJECTED, others, beta=0.1, **weights) == pytest.approx(wanted)


def test_kto_never_takes_a_step_back_for_its_reference_point():
    retreated = answers([-9.0], [-6.0])
    still = answers([-6.0], [-6.0])
    assert loss("kto", CHOSEN, REJECTED, retreated) == loss("kto", CHOSEN, REJECTED, still)


def test_kto_takes_wanted_and_unwanted_answers_of_any_number():
    nothing = answers([])
    assert len(loss("kto", CHOSEN, nothing)) == len(loss("kto", nothing, REJECTED)) == 2


def test_orpo():
    p_chosen, p_rejected = math.exp(-8 / 10), math.exp(-13 / 14)
    odds = math.log(p_chosen / (1 - p_chosen)) - math.log(p_rejected / (1 - p_rejected))
    wanted = 8 / 10 - 0.2 * math.log(sigmoid(odds))
    assert loss("orpo", CHOSEN, REJECTED, beta=0.2)[0] == pytest.approx(wanted)


def test_simpo():
    wanted = -math.log(sigmoid(2.0 * (-8 / 10 + 13 / 14) - 0.5))
    assert loss("simpo", CHOSEN, REJECTED, beta=2.0, target_margin=0.5)[0] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("method", "value"),
    [("dpo", math.log(2)), ("ipo", 25.0), ("kto", 0.5)],
)
def test_a_policy_that_has_not_moved_has_the_loss_of_indifference(method, value):
    same = answers([-8.0, -9.0], [-8.0, -9.0], [8, 8])
    assert loss(method, same, same, same, beta=0.1) == pytest.approx([value] * len(
        loss(method, same, same, same, beta=0.1)
    ))  # fmt: skip


@given(NATS, NATS, LENGTHS, LENGTHS, st.sampled_from(sorted(METHODS)))
def test_every_loss_falls_as_the_chosen_answer_gets_likelier(chosen, rejected, c, j, method):
    """Except where IPO has its margin already, and there it rises."""
    policy = torch.tensor([chosen], dtype=torch.float64, requires_grad=True)
    found = Compared(
        Answers(policy, torch.tensor([-20.0]).double(), torch.tensor([float(c)])),
        answers([rejected], [-20.0], [float(j)]),
        answers([-10.0], [-10.0]),
    )
    settings = AlignSection(method=method, beta=0.1, batch_size=4)
    METHODS[method].loss(found, settings).sum().backward()
    reached = method == "ipo" and chosen - rejected > 1 / (2 * settings.beta)
    assert (policy.grad.item() <= 0) != reached or policy.grad.item() == 0


@given(st.floats(-20, -1e-3))
def test_log_odds(log_probability):
    p = math.exp(log_probability)
    wanted = math.log(p / (1 - p))
    found = log_odds(torch.tensor(log_probability, dtype=torch.float64)).item()
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6)
