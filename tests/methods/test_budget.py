"""A limit in sample passes: it is kept, said if it cannot be, and spent on what was asked for."""

from __future__ import annotations

import pytest
from ignite.engine import Events

from mu_monai.engine import count_of
from mu_monai.engine.checkpoint import restore_checkpoint, save_checkpoint
from mu_monai.engine.warnings import warned
from mu_monai.errors import InputError
from mu_monai.methods import (
    RURK,
    UNDO,
    CFk,
    EraseToRetain,
    EUk,
    GradientDifference,
    Negation,
    PerturbedSignGradient,
    RandomLabels,
    RetainFineTuning,
    Scrub,
    SelectiveSynapticDampening,
    WeightDistortion,
)


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
    assert job.trainer.state.iteration == 2 * 3  # so that a resumed run counts alike


def _resumed(small, tmp_path, epoch, settings):
    """A run from the start with its rates, and what a run does that goes on after one of its epochs."""
    jobs, rates = [small(RetainFineTuning, **settings) for _ in range(2)], ([], [])
    for job, seen in zip(jobs, rates, strict=True):
        job.trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine, seen=seen: seen.append(engine.optimizer.param_groups[0]["lr"])
        )

    def keep(engine):
        if engine.state.epoch == epoch:
            save_checkpoint(engine, tmp_path, jobs[0].method)
            (tmp_path / "passes").write_text(str(count_of(engine).passes))

    def go_on(engine):
        count_of(engine).passes = int((tmp_path / "passes").read_text())
        restore_checkpoint(engine, tmp_path, jobs[1].method)

    jobs[0].trainer.add_event_handler(Events.EPOCH_COMPLETED, keep)
    jobs[1].trainer.add_event_handler(Events.STARTED, go_on)
    return [job.run() for job in jobs], rates, jobs


def test_a_run_that_had_spent_its_budget_takes_no_more_when_it_is_resumed(small, tmp_path):
    after, (whole, more), jobs = _resumed(
        small, tmp_path, 2, {"budget": 24 * 4, "options": {"epochs": 3, "epoch_length": 3}}
    )
    assert (len(whole), more) == (4, [])
    assert jobs[1].trainer.state.epoch == 2
    assert all((after[0][name] == value).all() for name, value in after[1].items())


def test_a_resumed_run_goes_on_with_the_same_course_of_the_rate(small, tmp_path):
    settings = {"budget": 24 * 8, "lr_schedule": "one-cycle", "options": {"epochs": 5, "epoch_length": 3}}
    after, (whole, more), _ = _resumed(small, tmp_path, 1, settings)
    assert len(whole) == 8
    assert more == whole[3:]
    assert all((after[0][name] == value).all() for name, value in after[1].items())


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (WeightDistortion, {}),
        (Negation, {}),
        (UNDO, {"alpha": 0.5, "unlearn_steps": 0}),
        (EUk, {"k": 3}),
        (CFk, {"k": 1}),
        (PerturbedSignGradient, {}),
        (PerturbedSignGradient, {"relabel": "every_step"}),
    ],
)
@pytest.mark.parametrize("budget", [0, 11])
def test_nothing_is_damaged_that_could_not_be_restored(small, kind, settings, budget):
    job = small(kind, budget=budget, **settings)
    after = job.run()
    assert all((after[name] == value).all() for name, value in job.teacher.state_dict().items())
    assert budget == 0 or "does not allow a single step" in " ".join(warned(job.trainer))
    job.method.measurements(job.trainer)


def test_new_layers_get_their_statistics_or_the_budget_is_refused(small):
    job = small(EUk, k=3, budget=45, options={"epochs": 3})
    with pytest.raises(InputError, match=r"a budget of 45 sample passes is too small"):
        job.run()
    job = small(EUk, k=3, budget=80, options={"epochs": 3})
    job.run()
    assert 0 < count_of(job.trainer).passes <= 80


def test_a_pass_over_the_forget_set_is_within_the_budget(small):
    job = small(
        EraseToRetain,
        schedule="alternate_epoch",
        forget_terms={"uniform": 1.0},
        budget=300,
        options={"epochs": 9, "cases": (8, 12), "retain_batch": 4, "network": {"trainable": "adapters"}},
    )
    forget = []
    step = job.method._forget_step
    job.method._forget_step = lambda engine: forget.append(engine.state.epoch) or step(engine)
    job.run()
    assert count_of(job.trainer).passes <= 300
    assert warned(job.trainer) == []
    assert [forget.count(epoch) for epoch in sorted(set(forget))] == [3] * len(set(forget))  # whole passes


@pytest.mark.parametrize("kind", [Scrub, RandomLabels])
def test_steps_before_the_first_batch_have_its_rate(small, kind):
    job = small(kind, rate=1.0, lr_schedule="one-cycle", stop_at=None, options={"epochs": 3, "retain_batch": 4})
    rates, step = [], job.method.step
    job.method.step = lambda engine, *rest: rates.append(engine.optimizer.param_groups[0]["lr"]) or step(engine, *rest)
    job.run()
    assert rates[0] == pytest.approx(1 / 25)


def test_a_step_that_takes_many_copies_is_foreseen(small):
    job = small(RURK, budget=100, samples=5, options={"epochs": 4})
    job.run()
    assert count_of(job.trainer).passes == 3 * (8 + 4 + 5 * 4)


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
