"""The course of the learning rate over a run of a method."""

from __future__ import annotations

import pytest
from ignite.engine import Events

from mu_monai.engine.schedule import share_of_peak, spans
from mu_monai.methods import RetainFineTuning, Rewind, ShrinkAndRestore


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


def test_only_a_run_with_a_course_keeps_its_number_of_epochs(small):
    for schedule, course in {"one-cycle": "the learning rate rises and falls", "constant": None}.items():
        run = small(RetainFineTuning, lr_schedule=schedule)
        run.run()
        assert spans(run.trainer) == course


def test_a_mean_a_divided_budget_and_a_hinge_at_the_end_have_a_course_too():
    assert Rewind(forget_loader=[], average_from=0.5).spans_run == "the mean of the weights is taken"
    assert Rewind(forget_loader=[], average_from=1).spans_run is None
    assert ShrinkAndRestore(forget_loader=[]).spans_run is None  # every cycle has a course of its own
    assert ShrinkAndRestore(forget_loader=[], budget=100).spans_run == "the budget is divided"
    assert ShrinkAndRestore(forget_loader=[], hinge_weight=1.0).spans_run == "the hinge is left to the last"
