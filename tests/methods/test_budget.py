"""A limit in sample passes: it is kept, said if it cannot be, and spent on what was asked for."""

from __future__ import annotations

import pytest
from ignite.engine import Events

from mu_monai.engine import Replicas, count_of
from mu_monai.engine.checkpoint import restore_checkpoint, save_checkpoint
from mu_monai.engine.warnings import warned
from mu_monai.errors import InputError
from mu_monai.methods import (
    NPO,
    RURK,
    UNDO,
    UNSIR,
    BadTeacher,
    BoundaryShrink,
    CFk,
    EraseToRetain,
    EUk,
    GradientAscent,
    GradientDifference,
    Negation,
    PerturbedSignGradient,
    RandomLabels,
    RetainFineTuning,
    Scrub,
    SelectiveSynapticDampening,
    UnlearningMethod,
    WeightDistortion,
)
from tests.methods.conftest import Small, still_network
from tests.methods.test_replicable import shared_loader
from tests.together import in_processes


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


_EVERY_STEP = {"relabel": "every_step"}
_ENOUGH = 10**6


@pytest.mark.parametrize(
    ("kind", "settings", "most"),
    [
        (RetainFineTuning, {}, 3 * 8),
        (GradientAscent, {}, 3 * 4),
        (GradientDifference, {}, 3 * (8 + 4)),
        (Scrub, {"msteps": 1, "stop_at": None}, 4 * 8),
        (BadTeacher, {}, 4 * (8 + 4)),
        (NPO, {}, 3 * 8 + 4 * 4),
        (EraseToRetain, {"forget_terms": {"uniform": 1.0}}, 4 * 8 + 3 * 4),
        (EraseToRetain, {"forget_terms": {"uniform": 1.0}, "schedule": "alternate_step"}, 4 * 8 + 3 * 4),
        (RURK, {"samples": 2}, 3 * (8 + 3 * 4)),
        (BoundaryShrink, {}, 8 * 4),
        (UNSIR, {"noise_cases": 2, "noise_steps": 1}, 6 * 8),
        (PerturbedSignGradient, {}, 3 * (8 + 4)),
        (PerturbedSignGradient, {"remain_target": "teacher"}, 4 * 8 + 3 * 4),
        (PerturbedSignGradient, {"remain_weight": 0.0}, 3 * 4),
        (PerturbedSignGradient, {"psg_variant": "released"}, 3 * (8 + 4) + 5 * 4),
        (PerturbedSignGradient, {"confidence": 0.0, **_EVERY_STEP}, 3 * (8 + 4) + (3 * 10 + 6 + 2) * 4),
        (PerturbedSignGradient, {"remain_weight": 0.0, "confidence": 0.0, **_EVERY_STEP}, (3 + 3 * 10 + 6 + 2) * 4),
    ],
)
def test_a_step_takes_no_more_than_the_method_says(small, kind, settings, most):
    options = {"epochs": 2, "epoch_length": 1, "network": {"trainable": "adapters"} if kind is EraseToRetain else {}}
    job, taken = small(kind, budget=_ENOUGH, **settings, options=options), []
    count = count_of(job.trainer)
    job.trainer.add_event_handler(Events.GET_BATCH_STARTED, lambda engine: taken.append(-count.passes))
    job.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: taken.append(count.passes))
    job.run()
    assert sum(taken[:2]) == most
    assert sum(taken[2:]) <= most
    said = job.method.step_passes(retain=8, forget=4)
    assert most <= said
    assert said == most or kind.step_passes is UnlearningMethod.step_passes


@pytest.mark.parametrize(
    ("kind", "settings", "budget", "taken"),
    [
        (BoundaryShrink, {}, 31, 0),
        (BoundaryShrink, {}, 70, 64),
        (PerturbedSignGradient, _EVERY_STEP, 187, 0),
        (PerturbedSignGradient, {"confidence": 0.0, **_EVERY_STEP}, 400, 376),
        (PerturbedSignGradient, {"psg_variant": "released"}, 55, 0),
        (PerturbedSignGradient, {"psg_variant": "released"}, 120, 112),
        (PerturbedSignGradient, {"confidence": 0.0}, 188 + 40, 152 + 72),
        (UNSIR, {"noise_cases": 2, "noise_steps": 1}, 47, 0),
    ],
)
def test_a_search_is_within_the_budget(small, kind, settings, budget, taken):
    job = small(kind, budget=budget, **settings, options={"epochs": 3})
    job.run()
    assert count_of(job.trainer).passes == taken
    if not taken:
        assert "does not allow a single step" in " ".join(warned(job.trainer))


@pytest.mark.parametrize("budget", [60, 187])
def test_all_forget_cases_get_new_labels_or_the_budget_is_refused(small, budget):
    job = small(PerturbedSignGradient, budget=budget)
    with pytest.raises(InputError, match=rf"needs about 188 sample passes, and of its budget of {budget}, {budget} ar"):
        job.run()
    assert count_of(job.trainer).passes == 0


def test_what_is_impaired_can_be_repaired_or_the_budget_is_refused(small):
    settings = {"noise_cases": 2, "noise_steps": 1, "options": {"epochs": 2, "epoch_length": 1}}
    job = small(UNSIR, budget=_ENOUGH, **settings)
    job.run()
    least = 3 * 2 * len(job.method._classes) + 2 * 6 * 8
    with pytest.raises(InputError, match=rf"UNSIR, to learn its noise .* needs about {least} sample passes"):
        small(UNSIR, budget=least - 1, **settings).run()
    job = small(UNSIR, budget=least, **settings)
    job.run()
    assert count_of(job.trainer).passes == least - 3 * 8  # a step that repairs takes half as much
    assert "before the model was repaired" not in " ".join(warned(job.trainer))


@pytest.mark.parametrize("number", [1, 2])
def test_what_is_kept_for_a_pass_is_that_of_all_processes(number, tmp_path):
    def kept():
        settings = {"schedule": "alternate_epoch", "forget_terms": {"uniform": 1.0}, "stop_at": None, "budget": 300}
        options = {"loader": shared_loader, "first": [Replicas()], "plain": still_network, "rate": 0.05, "epochs": 9}
        options |= {"cases": (8, 12), "retain_batch": 4, "forget_batch": 4, "network": {"trainable": "adapters"}}
        job, forget = Small(EraseToRetain, settings, options), []
        step = job.method._forget_step
        job.method._forget_step = lambda engine: forget.append(engine.state.epoch) or step(engine)
        job.run()
        return job.method._budget.reserve, count_of(job.trainer).passes, forget

    found = in_processes(number, kept, folder=tmp_path)
    assert {reserve for reserve, *_ in found} == {4 * 12}
    assert sum(passes for _, passes, _ in found) <= 300
    for _, _, forget in found:
        assert [forget.count(epoch) for epoch in sorted(set(forget))] == [3] * len(set(forget))  # whole passes


def test_new_layers_get_their_statistics_or_the_budget_is_refused(small):
    job = small(EUk, k=3, budget=45, options={"epochs": 3})
    with pytest.raises(InputError, match=r"EUk, .* about 40 sample passes, and of its budget of 45, 37 are"):
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
