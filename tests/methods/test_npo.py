"""Negative preference optimization: its value at the teacher, its slope, and its limit."""

from __future__ import annotations

import math

import pytest
import torch

from mu_monai.errors import InputError
from mu_monai.methods import NPO, GradientAscent
from mu_monai.methods.npo import negative_preference


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(
    ("shape", "softmax"), [((4, 3), True), ((2, 3, 4, 4), True), ((2, 1, 4, 4), False), ((2, 2, 4, 4, 4), False)]
)
def test_at_the_teacher_it_is_known_whatever_the_label(beta, shape, softmax):
    logits = torch.randn(shape)
    label = torch.randint(shape[1], shape[:1] + shape[2:]) if softmax else torch.randint(2, shape).float()
    value = negative_preference(logits, logits, label, beta, softmax).item()
    assert value == pytest.approx(2 / beta * math.log(2), rel=1e-5)


def test_a_value_computed_by_hand():
    """The student gives the true class 1/2 and the teacher 4/5: the ratio is 5/8."""
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.8, 0.2]]).log()
    value = negative_preference(student, teacher, torch.tensor([0]), 2.0, softmax=True).item()
    assert value == pytest.approx(math.log(1 + (5 / 8) ** 2), rel=1e-6)


def test_a_mask_counts_by_the_mean_over_its_pixels():
    student, teacher = torch.zeros(1, 1, 2), torch.tensor([[[math.log(3), -math.log(3)]]])  # 1/2 and 3/4 of the truth
    value = negative_preference(student, teacher, torch.tensor([[[1.0, 0.0]]]), 1.0, softmax=False).item()
    assert value == pytest.approx(2 * math.log(1 + 2 / 3), rel=1e-6)


def test_the_first_step_is_that_of_gradient_ascent(small):
    """At the teacher the slope is that of the ascent for every beta; as beta goes to 0 it is everywhere."""
    for beta in (0.1, 3.0):
        torch.testing.assert_close(small(NPO, beta=beta, retain_weight=0.0).run(), small(GradientAscent).run())


def test_with_a_small_beta_it_goes_on_as_gradient_ascent_does(small):
    options = {"epochs": 8}
    ascent = small(GradientAscent, options=options).run()
    torch.testing.assert_close(
        small(NPO, beta=1e-3, retain_weight=0.0, options=options).run(), ascent, rtol=0.02, atol=0.01
    )


def test_with_a_large_one_it_stops_where_a_case_is_forgotten(small, loss_of):
    ends = {}
    for name, run in {
        "ascent": small(GradientAscent, rate=0.3, options={"epochs": 6}),
        "npo": small(NPO, rate=0.3, beta=4.0, retain_weight=0.0, options={"epochs": 6}),
    }.items():
        run.run()
        ends[name] = loss_of(run.trainer.network.merged(), run.forget).item()
    assert ends["npo"] < ends["ascent"] / 5


def test_the_retained_cases_are_weighted(small, loss_of):
    run = small(NPO, retain_weight=3.0)
    expected = run.stepped(lambda net: 3 * loss_of(net, run.retain) - loss_of(net, run.forget), 0.1)
    torch.testing.assert_close(run.run(), expected)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beta": 0}, "method#beta=0 is not allowed; use a number above 0"),
        ({"beta": math.inf}, "method#beta=inf is not allowed"),
        ({"retain_weight": -1}, "method#retain_weight=-1 is not allowed; use a number of 0 or more"),
    ],
)
def test_values_that_are_not_allowed_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        NPO(forget_loader=[], **setting)


def test_class_indices_of_sigmoid_outputs_push_the_true_class_down():
    index = torch.ones(1, 1, 2, 2)
    student = torch.zeros(1, 2, 2, 2, requires_grad=True)
    negative_preference(student, torch.zeros(1, 2, 2, 2), index, 1.0, softmax=False).backward()
    assert (student.grad[:, 1] > 0).all(), "a step lowers the presence of the true class"
    assert (student.grad[:, 0] < 0).all(), "and raises that of the other"
