"""The distillation term: softened KL divergence from teacher to student."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div

from mu_monai.losses import Distillation

DIRECTIONS = ["forward", "reverse", "js"]
KINDS = [((2, 1, 3, 4), False), ((2, 2, 3, 4, 2), False), ((2, 3, 3, 4), True), ((4, 5), True)]


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


def distribution(value: torch.Tensor, softmax: bool) -> Bernoulli | Categorical:
    return Categorical(logits=value.movedim(1, -1)) if softmax else Bernoulli(logits=value)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize(("shape", "softmax"), KINDS)
def test_each_direction_is_the_divergence_that_it_names(shape, softmax, temperature):
    student, teacher = logits(0, shape), logits(1, shape)
    p, q = (distribution(value / temperature, softmax) for value in (teacher, student))
    m = type(p)(probs=(p.probs + q.probs) / 2)
    expected = {
        "forward": kl_divergence(p, q).mean(),
        "reverse": kl_divergence(q, p).mean(),
        "js": (kl_divergence(p, m).mean() + kl_divergence(q, m).mean()) / 2,
    }
    for direction, value in expected.items():
        term = Distillation(temperature, direction, softmax)
        torch.testing.assert_close(term(student, teacher), temperature**2 * value)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("shape", "softmax"), KINDS)
def test_every_direction_is_zero_with_no_gradient_at_agreement_and_above_elsewhere(shape, softmax, direction):
    teacher = logits(1, shape)
    student = teacher.clone().requires_grad_()
    value = Distillation(direction=direction, softmax=softmax)(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(student.grad, torch.zeros_like(teacher), atol=1e-12, rtol=0)
    assert Distillation(direction=direction, softmax=softmax)(logits(0, shape), teacher).item() > 0.1


def test_for_classes_it_is_the_mean_over_the_batch_as_in_the_released_code():
    student, teacher = logits(0, (4, 9)), logits(1, (4, 9))
    expected = 4 * kl_div((student / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="batchmean")
    torch.testing.assert_close(Distillation(softmax=True)(student, teacher), expected)


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 3.0, 100.0]), softmax=st.booleans())
@settings(deadline=None)
def test_js_is_symmetric_and_bounded_and_reverse_is_forward_with_roles_changed(seed, scale, softmax):
    student, teacher = logits(seed, (2, 3, 4)) * scale, logits(seed + 1, (2, 3, 4)) * scale
    js = Distillation(direction="js", softmax=softmax)
    torch.testing.assert_close(js(student, teacher), js(teacher, student))
    assert -1e-12 <= js(student, teacher).item() <= 4 * math.log(2) + 1e-12
    forward, reverse = (Distillation(direction=name, softmax=softmax) for name in ("forward", "reverse"))
    torch.testing.assert_close(forward(student, teacher), reverse(teacher, student))
    assert forward(student, teacher).item() >= -1e-12


def test_js_of_opposed_sure_answers_is_its_greatest_value():
    sure = torch.full((1, 1, 2, 2), 1e4)
    assert Distillation(1.0, "js")(sure, -sure).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("softmax", [False, True])
def test_descending_brings_the_student_to_the_teacher(direction, softmax):
    student, teacher = logits(0, (2, 3)).requires_grad_(), logits(1, (2, 3))
    term = Distillation(direction=direction, softmax=softmax)
    before = term(student, teacher)
    before.backward()
    assert term(student - 0.1 * student.grad, teacher) < before


def test_a_direction_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="direction='backward' is not known; use one of forward, reverse, js"):
        Distillation(direction="backward")
