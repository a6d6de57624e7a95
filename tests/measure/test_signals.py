"""What an attacker sees of one case, against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.measure.case_scores import case_scores
from mu_monai.measure.signals import class_signals, mask_signals

SIZES = {"2D": (12, 14), "3D": (8, 9, 10)}


def half(*sizes: int) -> torch.Tensor:
    """A label whose last axis is 1 below its middle and 0 above."""
    label = torch.zeros(1, 1, *sizes)
    label[..., : sizes[-1] // 2] = 1
    return label


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_only_pixels_near_the_boundary_enter_its_loss(sizes, channels):
    label, middle = half(*sizes), sizes[-1] // 2
    right = torch.where(label > 0, 6.0, -6.0)
    wrong_far, wrong_near = right.clone(), right.clone()
    wrong_far[..., middle + 2 :] *= -1  # two pixels beyond the boundary belong to the band, the third does not
    wrong_near[..., middle + 1] *= -1

    def loss(logits):
        several = torch.cat([torch.zeros_like(logits), logits, torch.full_like(logits, -60)], dim=1)
        return mask_signals(logits if channels == 1 else several, label)["boundary_loss"]

    sure, wrong = math.log1p(math.exp(-6)), math.log1p(math.exp(6))
    assert loss(wrong_far) == pytest.approx(sure, rel=1e-4)
    assert loss(wrong_near) == pytest.approx((3 * sure + wrong) / 4, rel=1e-4)


@pytest.mark.parametrize("value", [0, 1])
def test_without_a_boundary_the_whole_image_counts(value):
    logits = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    scores = case_scores(logits, torch.full((1, 1, 6, 6), float(value)))
    assert scores["boundary_loss"] == pytest.approx(scores["bce"], rel=1e-5)


def test_quantiles_are_of_the_true_class_in_the_foreground_and_of_all_where_it_is_empty():
    label = half(2, 10)
    logits = torch.full((1, 1, 2, 10), -3.0)
    logits[..., :5] = torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0])
    found = mask_signals(logits, label)
    assert found["foreground_confidence_q50"] == pytest.approx(1 / (1 + math.exp(-1)))
    assert found["foreground_confidence_q10"] < 0.5 < found["foreground_confidence_q90"] < 0.96
    assert mask_signals(logits, torch.zeros_like(label))["foreground_confidence_q90"] == pytest.approx(
        1 / (1 + math.exp(-3))
    )


def test_log_odds_of_two_channels_are_those_of_one():
    logits, label = torch.randn(1, 1, 5, 6, 7, generator=torch.Generator().manual_seed(1)), half(5, 6, 7)
    two = mask_signals(torch.cat([torch.zeros_like(logits), logits], dim=1), label)
    assert two == pytest.approx(mask_signals(logits, label), rel=1e-4)


def test_log_odds_are_clipped_and_stay_exact_where_the_probability_rounds_to_one():
    label = half(4, 4)
    assert mask_signals(torch.where(label > 0, 1e4, -1e4), label)["logit_confidence"] == 20
    assert mask_signals(torch.where(label > 0, 18.0, -18.0), label)["logit_confidence"] == pytest.approx(18)
    assert class_signals(torch.tensor([[0.0, 18.0]]), torch.tensor([0]))["logit_confidence"] == pytest.approx(-18)


def test_classifier_signals_are_those_worked_out_by_hand():
    p = (0.2, 0.7, 0.1)
    found = class_signals(torch.tensor([[math.log(x) for x in p]]), torch.tensor([0]))
    assert found["entropy"] == pytest.approx(-sum(x * math.log(x) for x in p), rel=1e-5)
    by_hand = -(0.8 * math.log(0.2) + 0.7 * math.log(0.3) + 0.1 * math.log(0.9))
    assert found["modified_entropy"] == pytest.approx(by_hand, rel=1e-5)
    assert found["logit_confidence"] == pytest.approx(math.log(0.2 / 0.8), rel=1e-5)


@given(st.integers(0, 2**31 - 1), st.sampled_from([1e-3, 1.0, 1e4]))
def test_signals_are_finite_however_sure_the_model_is(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 2, (1, 1, 5, 6), generator=generator).float()
    for channels in (1, 2, 4):
        found = mask_signals(scale * torch.randn(1, channels, 5, 6, generator=generator), mask)
        assert all(map(math.isfinite, found.values()))
        assert abs(found["logit_confidence"]) <= 20
    found = class_signals(scale * torch.randn(1, 3, generator=generator), torch.tensor([2]))
    assert all(map(math.isfinite, found.values()))
