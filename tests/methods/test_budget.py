"""A limit in sample passes: it is kept, said if it cannot be, and spent on what was asked for."""

from __future__ import annotations

import pytest

from mu_monai.engine import count_of
from mu_monai.engine.warnings import warned
from mu_monai.errors import InputError
from mu_monai.methods import GradientDifference, RetainFineTuning, Scrub, SelectiveSynapticDampening


@pytest.mark.parametrize("budget", [60, 100, 1000])
@pytest.mark.parametrize("kind", [RetainFineTuning, GradientDifference, Scrub])
def test_a_run_ends_before_it_takes_more(small, kind, budget):
    job = small(kind, budget=budget, stop_at=None, options={"epochs": 4, "epoch_length": 3})
    job.run()
    taken = count_of(job.trainer).passes
    assert 0 < taken <= budget
    assert warned(job.trainer) == []


def test_an_epoch_that_is_cut_is_an_epoch(small):
    job = small(RetainFineTuning, budget=24 * 4, options={"epochs": 3, "epoch_length": 3})
    job.run()
    assert job.trainer.state.epoch == 2
    assert job.trainer.state.iteration == 4


def test_a_budget_without_a_step_is_said_and_nothing_moves(small):
    job = small(RetainFineTuning, budget=10)
    after = job.run()
    assert all((after[name] == value).all() for name, value in job.teacher.state_dict().items())
    assert "does not allow a single step" in warned(job.trainer)[0]


def test_a_budget_of_nothing_is_a_wish_and_no_reason_to_warn(small):
    job = small(RetainFineTuning, budget=0)
    job.run()
    assert (job.trainer.state.epoch, warned(job.trainer)) == (0, [])


def test_what_acts_once_is_refused_before_it_acts(small):
    with pytest.raises(InputError, match=r"about 36 sample passes, more than its budget of 35"):
        small(SelectiveSynapticDampening, budget=35, alpha=1).run()


def test_an_amount_that_is_not_one_is_refused(small):
    with pytest.raises(InputError, match=r"method#budget=-1"):
        small(RetainFineTuning, budget=-1)
