"""The guard term: mean squared distance of the logits."""

from __future__ import annotations

import pytest
import torch

from mu_monai.losses import Guard


@pytest.mark.parametrize("shape", [(2, 1, 3, 4), (2, 1, 3, 4, 2)])
def test_it_is_the_mean_of_the_squared_differences(shape):
    generator = torch.Generator().manual_seed(0)
    s, t = (torch.randn(shape, dtype=torch.double, generator=generator) for _ in range(2))
    expected = sum((a - b) ** 2 for a, b in zip(s.flatten().tolist(), t.flatten().tolist(), strict=True)) / s.numel()
    assert Guard()(s, t).item() == pytest.approx(expected)


def test_it_is_zero_where_both_agree_and_above_zero_elsewhere():
    teacher = torch.randn(2, 1, 3, 3)
    assert Guard()(teacher, teacher).item() == 0.0
    assert Guard()(teacher + 1e-3, teacher).item() > 0


def test_it_is_symmetric_and_quadratic():
    s, t = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    torch.testing.assert_close(Guard()(s, t), Guard()(t, s))
    torch.testing.assert_close(Guard()(3 * s, 3 * t), 9 * Guard()(s, t))


def test_it_does_not_grow_with_the_image():
    assert Guard()(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)) == Guard()(
        torch.ones(2, 1, 64, 64), torch.zeros(2, 1, 64, 64)
    )


def test_its_gradient_is_right():
    teacher = torch.randn(2, 1, 3, 3, dtype=torch.double)
    student = torch.randn(2, 1, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: Guard()(value, teacher), student)


@pytest.mark.parametrize(("s", "t"), [(1e4, -1e4), (-1e4, 1e4)])
def test_extreme_logits_give_finite_values_and_gradients(s, t):
    student = torch.full((1, 1, 2, 2), s, requires_grad=True)
    value = Guard()(student, torch.full((1, 1, 2, 2), t))
    value.backward()
    assert value.item() == pytest.approx(4e8)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("shape", [(2, 5), (3, 2, 4, 4), (2, 1, 2, 3, 4)])
def test_the_sum_is_over_a_case_and_the_mean_over_cases(shape):
    s, t = torch.randn(shape, dtype=torch.double), torch.randn(shape, dtype=torch.double)
    per_case = (s - t).flatten(1).norm(dim=1).square()
    torch.testing.assert_close(Guard("sum")(s, t), per_case.mean())
    torch.testing.assert_close(Guard("sum")(s, t), Guard()(s, t) * s[0].numel())


def test_the_mean_is_65536_times_smaller_at_the_papers_size():
    s, t = torch.ones(1, 1, 256, 256), torch.zeros(1, 1, 256, 256)
    assert (Guard("sum")(s, t) / Guard()(s, t)).item() == 65536


def test_another_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction='none' is not known; use one of mean, sum"):
        Guard("none")
