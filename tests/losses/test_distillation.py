"""The distillation term: softened KL divergence from teacher to student."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from mu_monai.losses import Distillation


def logits(seed: int, shape: tuple[int, ...] = (2, 1, 3, 4)) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
@pytest.mark.parametrize("shape", [(2, 1, 3, 4), (2, 1, 3, 4, 2)])
def test_it_is_the_divergence_of_the_softened_bernoullis(temperature, shape):
    student, teacher = logits(0, shape), logits(1, shape)
    expected = kl_divergence(Bernoulli(logits=teacher / temperature), Bernoulli(logits=student / temperature)).mean()
    torch.testing.assert_close(Distillation(temperature)(student, teacher), temperature**2 * expected)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 2.0, 100.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_it_is_zero_where_both_agree(temperature, scale):
    teacher = logits(1) * scale
    assert Distillation(temperature)(teacher, teacher).item() == 0.0


@pytest.mark.parametrize("temperature", [0.1, 1.0, 2.0, 100.0])
@pytest.mark.parametrize("shift", [-1.0, -1e-3, 1e-3, 1.0])
def test_it_is_above_zero_where_they_differ(temperature, shift):
    assert Distillation(temperature)(logits(1) + shift, logits(1)).item() > 0


def test_the_teacher_is_the_target():
    sure, unsure = torch.full((1, 1, 2, 2), 8.0), torch.zeros(1, 1, 2, 2)
    term = Distillation(1.0)
    assert term(sure, unsure).item() == pytest.approx(3.307, abs=1e-3)  # log 2 is lost and half of the 8 missed
    assert term(unsure, sure).item() == pytest.approx(0.690, abs=1e-3)  # at most log 2


def test_its_gradient_is_that_of_cross_entropy_to_the_teachers_soft_labels():
    teacher = logits(1)
    one, other = logits(0).requires_grad_(), logits(0).requires_grad_()
    Distillation(2.0)(one, teacher).backward()
    (4 * binary_cross_entropy_with_logits(other / 2, (teacher / 2).sigmoid())).backward()
    torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_its_gradient_is_right(temperature):
    student, teacher = logits(0).requires_grad_(), logits(1)
    assert torch.autograd.gradcheck(lambda value: Distillation(temperature)(value, teacher), student)


def test_the_gradient_is_zero_at_agreement():
    teacher = logits(1)
    student = teacher.clone().requires_grad_()
    Distillation()(student, teacher).backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(teacher))


def test_a_high_temperature_compares_logits():
    """For T to infinity the term tends to mean (s - t)^2 / 8 (Hinton et al., section 2.1, for two classes)."""
    student, teacher = logits(0), logits(1)
    torch.testing.assert_close(
        Distillation(1e3)(student, teacher), (student - teacher).square().mean() / 8, rtol=1e-4, atol=0
    )


def test_a_low_temperature_compares_decisions():
    teacher = torch.tensor([[[[3.0, -3.0]]]], dtype=torch.double)
    term = Distillation(1e-2)
    assert term(teacher / 2, teacher).item() == pytest.approx(0, abs=1e-12)
    assert term(-teacher, teacher).item() == pytest.approx(1e-4 * 3 / 1e-2)  # T^2 |s| / T


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("student", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("teacher", [-1e4, 0.0, 1e4])
def test_extreme_logits_give_finite_values_and_gradients(dtype, student, teacher):
    s = torch.full((1, 1, 2, 2), student, dtype=dtype, requires_grad=True)
    value = Distillation()(s, torch.full((1, 1, 2, 2), teacher, dtype=dtype))
    value.backward()
    assert torch.isfinite(value)
    assert value.item() >= 0
    assert torch.isfinite(s.grad).all()


@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_no_positive_number_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature} is not allowed; use a number above 0"):
        Distillation(temperature)
