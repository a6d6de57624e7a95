"""What a run costs: what counts, what does not, and what is left behind."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mu_monai.engine import PassCount, count_of, uncounted
from mu_monai.methods import GradientAscent, GradientDifference, RetainFineTuning


def test_a_forward_pass_counts_one_and_one_with_gradients_three():
    count, network = PassCount(), nn.Linear(2, 1)
    count.watch(network)
    network(torch.zeros(5, 2))
    assert count.passes == 15
    with torch.no_grad():
        network(torch.zeros(5, 2))
    assert count.passes == 20


def test_copies_of_a_network_count_for_the_same_run():
    count, network = PassCount(), nn.Linear(2, 1)
    count.watch(network)
    copy.deepcopy(network)(torch.zeros(1, 2))
    assert count.passes == 3


def test_a_closed_count_leaves_nothing_behind():
    count, network = PassCount(), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    count.watch(network)
    count.watch_steps(optimizer)
    network(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    count.close()
    assert not network._forward_hooks
    network(torch.zeros(1, 2))
    optimizer.step()
    assert (count.passes, count.steps) == (3, 1)


def test_measuring_is_not_counted_even_if_it_ends_with_an_error(small):
    trainer = small(RetainFineTuning).trainer
    count = count_of(trainer)
    try:
        with uncounted(trainer):
            trainer.network(torch.zeros(1, 4))
            raise RuntimeError("anything")
    except RuntimeError:
        pass
    assert (count.passes, count.paused) == (0, False)


def test_a_run_counts_its_batches_and_steps(small):
    job = small(RetainFineTuning, options={"epochs": 2})
    job.run()
    count = count_of(job.trainer)
    assert (count.passes, count.steps) == (2 * 3 * 8, 2)  # eight retained cases in a batch


def test_retained_and_forget_cases_count_alike(small):
    job = small(GradientDifference)
    job.run()
    assert count_of(job.trainer).passes == 3 * (8 + 4)


def test_who_trains_on_forget_cases_alone_takes_no_pass_over_retained_ones(small):
    job = small(GradientAscent)
    job.run()
    assert count_of(job.trainer).passes == 3 * 4
