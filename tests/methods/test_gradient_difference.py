"""Gradient difference lies between retain fine-tuning and gradient ascent."""

from __future__ import annotations

import pytest
import torch

from mu_monai.errors import InputError
from mu_monai.methods import GradientAscent, GradientDifference, RetainFineTuning


def test_a_step_weighs_both_gradients(small, loss_of):
    run = small(GradientDifference)
    expected = run.stepped(lambda net: 0.95 * loss_of(net, run.retain) - 0.05 * loss_of(net, run.forget), 0.1)
    torch.testing.assert_close(run.run(), expected)


@pytest.mark.parametrize(("alpha", "other"), [(1, RetainFineTuning), (0, GradientAscent)])
def test_its_limits_are_the_two_methods(small, alpha, other):
    torch.testing.assert_close(small(GradientDifference, alpha=alpha).run(), small(other, lr_schedule="constant").run())


def test_the_forget_cases_start_over_where_there_are_fewer(small, loss_of):
    run = small(GradientDifference, alpha=0.0, rate=1e-4, options={"retain_batch": 1})
    expected = run.stepped(lambda network: -8 * loss_of(network, run.forget), 1e-4)  # as many steps as retained cases
    torch.testing.assert_close(run.run(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, None, True])
def test_a_share_that_is_none_is_refused(alpha):
    with pytest.raises(InputError, match=rf"method#alpha={alpha} is not allowed; use a number in \[0, 1\]"):
        GradientDifference(forget_loader=[], alpha=alpha)
