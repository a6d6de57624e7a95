"""Retain fine-tuning is plain training on the retained cases."""

from __future__ import annotations

import torch

from mu_monai.methods import RetainFineTuning


def test_a_step_is_a_plain_step_on_the_retained_cases(small, loss_of):
    run = small(RetainFineTuning, lr_schedule="constant")
    expected = run.stepped(lambda network: loss_of(network, run.retain), 0.1)
    torch.testing.assert_close(run.run(), expected)


def test_forget_cases_are_never_looked_at(small):
    run = small(RetainFineTuning)
    run.forget[:] = [None] * len(run.forget)  # what is looked at cannot be collated
    run.run()
