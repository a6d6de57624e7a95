"""The random-label term: cross-entropy to labels drawn anew at every call."""

from __future__ import annotations

import math

import pytest
import torch

from mu_monai.losses import RandomLabel, Uniform


def drawn(term: RandomLabel, student: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The draw that a gradient step follows: where the logits would rise."""
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(term(student, label), student)
    return gradient < 0


def test_the_true_class_is_never_drawn_and_all_others_are_as_often():
    torch.manual_seed(0)
    label = torch.arange(4).repeat(3000)
    chosen = drawn(RandomLabel(softmax=True), torch.zeros(12000, 4), label).double()
    torch.testing.assert_close(chosen.sum(1), torch.ones(12000, dtype=torch.double))
    shares = torch.stack([chosen[label == k].mean(0) for k in range(4)])
    assert shares.diagonal().tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(shares, (1 - torch.eye(4).double()) / 3, atol=0.03, rtol=0)


def test_with_two_classes_the_other_one_is_drawn():
    label = torch.tensor([0, 1])
    assert RandomLabel(softmax=True)(torch.tensor([[-1e4, 1e4], [1e4, -1e4]]), label).item() == 0


@pytest.mark.parametrize("space", [(8, 8), (4, 4, 4)])
def test_a_mask_is_drawn_per_pixel(space):
    torch.manual_seed(0)
    chosen = drawn(RandomLabel(softmax=True), torch.zeros(1, 3, *space), torch.zeros(1, 1, *space))
    assert not chosen[:, 0].any()
    assert 0 < chosen[:, 1].double().mean() < 1


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_for_sigmoid_it_is_a_fair_coin_whatever_the_label(truth):
    torch.manual_seed(0)
    heads = drawn(RandomLabel(), torch.zeros(2, 2, 50, 50), torch.full((2, 2, 50, 50), truth))
    assert heads.double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_it_is_drawn_anew_at_every_call_from_the_global_generator():
    z, mask = torch.randn(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    torch.manual_seed(3)
    first, second = RandomLabel()(z, mask), RandomLabel()(z, mask)
    torch.manual_seed(3)
    assert RandomLabel()(z, mask) == first
    assert first != second


def test_over_many_draws_a_coin_is_the_uniform_term():
    torch.manual_seed(0)
    z = torch.randn(1, 1, 8, 8)
    mean = torch.stack([RandomLabel()(z, z) for _ in range(500)]).mean()
    torch.testing.assert_close(mean, Uniform()(z) + math.log(2), atol=0.01, rtol=0)


@pytest.mark.parametrize("softmax", [False, True])
def test_undecided_answers_cost_log_k_whatever_is_drawn(softmax):
    expected = math.log(3 if softmax else 2)
    label = torch.zeros(2, 1, 4, 4) if softmax else torch.zeros(2, 3, 4, 4)
    assert RandomLabel(softmax)(torch.zeros(2, 3, 4, 4), label).item() == pytest.approx(expected)
