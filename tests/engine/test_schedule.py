"""The course of the learning rate over a run."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events

from mu_monai.engine import OneCycle
from mu_monai.engine.schedule import SCHEDULES, share_of_peak


@given(st.sampled_from(SCHEDULES), st.floats(0, 1))
def test_it_is_a_share_of_the_highest_rate(schedule, progress):
    assert 0 <= share_of_peak(schedule, progress) <= 1


@pytest.mark.parametrize(("progress", "share"), [(0, 0.04), (0.1, 0.52), (0.2, 1), (0.6, 0.5), (1, 0), (1.5, 0)])
def test_one_cycle_rises_for_a_fifth_and_falls_to_zero(progress, share):
    assert share_of_peak("one-cycle", progress) == pytest.approx(share, abs=1e-12)


def test_a_constant_rate_stays():
    assert {share_of_peak("constant", step / 10) for step in range(11)} == {1.0}


def test_a_training_in_one_cycle_has_the_rates_of_its_steps_whatever_the_rate_was_when_it_was_resumed():
    rates, engine = [], Engine(lambda engine, batch: rates.append(engine.optimizer.param_groups[0]["lr"]))
    engine.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    OneCycle().attach(engine)
    engine.add_event_handler(Events.STARTED, lambda: engine.optimizer.param_groups[0].update(lr=0.1))  # a checkpoint's
    engine.run(range(2), max_epochs=5)
    assert rates == pytest.approx([2.0 * share_of_peak("one-cycle", step / 10) for step in range(10)])
