"""The course of the learning rate over a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Events

from mu_monai.engine.schedule import SCHEDULES, share_of_peak
from mu_monai.methods import RetainFineTuning


@given(st.sampled_from(SCHEDULES), st.floats(0, 1))
def test_it_is_a_share_of_the_highest_rate(schedule, progress):
    assert 0 <= share_of_peak(schedule, progress) <= 1


@pytest.mark.parametrize(("progress", "share"), [(0, 0.04), (0.1, 0.52), (0.2, 1), (0.6, 0.5), (1, 0), (1.5, 0)])
def test_one_cycle_rises_for_a_fifth_and_falls_to_zero(progress, share):
    assert share_of_peak("one-cycle", progress) == pytest.approx(share, abs=1e-12)


def test_a_constant_rate_stays():
    assert {share_of_peak("constant", step / 10) for step in range(11)} == {1.0}


def _rates(job):
    seen = []
    job.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.optimizer.param_groups[0]["lr"])
    )
    job.run()
    return seen


def test_one_cycle_spans_all_epochs_of_a_run(small):
    rates = _rates(small(RetainFineTuning, rate=2.0, options={"epochs": 5, "epoch_length": 2}))
    assert rates == pytest.approx([2.0 * share_of_peak("one-cycle", step / 10) for step in range(10)])
    assert max(rates) == 2.0


def test_a_run_keeps_the_rate_of_its_config_otherwise(small):
    assert _rates(small(RetainFineTuning, rate=0.5, lr_schedule="constant", options={"epochs": 3})) == [0.5] * 3


def test_a_budget_ends_the_cycle_where_it_ends_the_run(small):
    options = {"epochs": 10, "epoch_length": 10}
    rates = _rates(small(RetainFineTuning, rate=1.0, budget=240, options=options))  # ten steps on eight cases
    assert len(rates) == 10
    assert rates == pytest.approx([share_of_peak("one-cycle", step / 10) for step in range(10)])
