"""The teacher-contradiction term: the opposite of the teacher, where it is confident."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mu_monai.losses import TeacherContradiction


@pytest.mark.parametrize("shape", [(2, 1, 6, 6), (2, 2, 6, 6), (1, 1, 4, 4, 4)])
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_for_sigmoid_it_is_cross_entropy_to_the_complement_with_both_sides_balanced(shape, threshold):
    torch.manual_seed(0)
    s, t = torch.randn(shape, dtype=torch.double), torch.randn(shape, dtype=torch.double) * 4
    p = t.sigmoid()
    sides = [binary_cross_entropy_with_logits(s[side], 1 - p[side]) for side in (p > threshold, p < 1 - threshold)]
    torch.testing.assert_close(TeacherContradiction(threshold)(s, t), sum(sides) / 2)
    confident = (p > threshold) | (p < 1 - threshold)
    torch.testing.assert_close(
        TeacherContradiction(threshold, balanced=False)(s, t),
        binary_cross_entropy_with_logits(s[confident], 1 - p[confident]),
    )


def test_for_classes_it_is_balanced_over_the_teachers_answers_that_are_there():
    s = torch.randn(4, 3, dtype=torch.double)
    t = torch.tensor([[5.0, 0, 0], [4.0, 0, 0], [0, 0, 6.0], [0.1, 0, 0]], dtype=torch.double)  # the last is unsure
    cost = cross_entropy(s, (1 - t.softmax(1)) / 2, reduction="none")
    expected = ((cost[0] + cost[1]) / 2 + cost[2]) / 2
    torch.testing.assert_close(TeacherContradiction(softmax=True)(s, t), expected)
    torch.testing.assert_close(TeacherContradiction(balanced=False, softmax=True)(s, t), cost[:3].mean())


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize(("shape", "softmax"), [((2, 1, 3, 3), False), ((2, 3, 3, 3), True), ((2, 3), True)])
def test_an_unsure_teacher_gives_zero_with_a_gradient_of_zero(shape, softmax, balanced):
    student = torch.randn(shape, requires_grad=True)
    value = TeacherContradiction(balanced=balanced, softmax=softmax)(student, torch.zeros(shape))
    value.backward()
    assert value.item() == 0
    assert not student.grad.any()


def test_one_sided_confidence_counts_in_full():
    teacher = torch.full((1, 1, 2, 2), 1e4)
    assert TeacherContradiction()(torch.zeros(1, 1, 2, 2), teacher).item() == pytest.approx(math.log(2))


def test_a_small_lesion_weighs_as_much_as_its_background():
    teacher = torch.full((1, 1, 10, 10), -1e4)
    teacher[..., 0, 0] = 1e4
    student = teacher.clone()
    student[..., 0, 0] = -1e4  # contradicts in the lesion alone
    assert TeacherContradiction()(student, teacher).item() == pytest.approx(5e3)
    assert TeacherContradiction(balanced=False)(student, teacher).item() == pytest.approx(9.9e3)


def test_its_extremes():
    teacher = torch.tensor([[[[1e4, -1e4]]]])
    assert TeacherContradiction()(-teacher, teacher).item() == 0
    assert TeacherContradiction()(teacher, teacher).item() == pytest.approx(1e4)


def test_its_least_value_is_where_the_student_is_the_complement():
    teacher = torch.tensor([[[[3.0, -2.0]]]])
    term, best = TeacherContradiction(), TeacherContradiction()(-teacher, teacher)
    for seed in range(20):
        assert term(torch.randn(1, 1, 1, 2, generator=torch.Generator().manual_seed(seed)) * 4, teacher) >= best
    student = (-teacher).requires_grad_()
    term(student, teacher).backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(teacher), atol=1e-7, rtol=0)


def test_descending_moves_the_answer_away_from_a_confident_teacher_alone():
    teacher = torch.tensor([[[[4.0, -4.0, 0.5]]]])
    student = teacher.clone().requires_grad_()
    TeacherContradiction()(student, teacher).backward()
    down, up, still = (-student.grad).flatten().tolist()
    assert down < 0 < up
    assert still == 0


@pytest.mark.parametrize("threshold", [-0.1, 0.49, 1.0, 1.5, float("nan")])
def test_a_threshold_that_is_no_confidence_is_refused(threshold):
    with pytest.raises(ValueError, match=f"threshold={threshold} is not allowed; use a probability in"):
        TeacherContradiction(threshold)
