"""Shrink and restore: how much is damaged, what a cycle is, and when it has arrived."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from torch.utils.data import DataLoader

from mu_monai.adapters import Student
from mu_monai.adapters.rewriting import shrink_and_perturb
from mu_monai.engine import count_of
from mu_monai.engine.stop_at_reference import ReferenceWatch
from mu_monai.engine.warnings import warned
from mu_monai.errors import InputError
from mu_monai.methods import ShrinkAndRestore


def unseen(small, number=8):
    cases = small(ShrinkAndRestore, stop_at=None, damage=0.0).retain[:number]
    ids = [f"unseen-{index}" for index in range(number)]
    return DataLoader(
        [case | {"case_id": name, "patient_id": name} for case, name in zip(cases, ids, strict=True)], batch_size=4
    )


def test_a_cycle_begins_with_the_damage_that_is_asked_for(small):
    job = small(ShrinkAndRestore, rate=0.0, damage=0.3, stop_at=None, probe_steps=0)
    after = job.run()
    expected = Student(job.teacher, trainable="all", scope="all")
    shrink_and_perturb(expected, 0.3, seed=1)  # that of the first epoch
    assert all(torch.equal(after[name], value) for name, value in expected.merged().state_dict().items())


def test_damage_grows_with_what_is_remembered(small):
    def damage(strength):
        job = small(ShrinkAndRestore, strength=strength, unseen_loader=unseen(small), probe_steps=0)
        job.run()
        measured = job.method.measurements(job.trainer)["damage"]
        return measured["start_auc"], measured["cycles"][0]["damage"]

    auc, full = damage(1.0)
    assert full == pytest.approx(max(0.0, 2 * auc - 1) ** 2)
    assert damage(0.5) == (auc, pytest.approx(full / 2))


def test_a_probe_is_judged_and_taken_back(small):
    plain, probed = (
        small(
            ShrinkAndRestore,
            damage=0.2,
            probe_steps=steps,
            probe_learning_rate=0.1,
            unseen_loader=unseen(small),
            tolerance=0.001,
            options={"epochs": 2},
        )
        for steps in (0, 3)
    )
    before, after = plain.run(), probed.run()
    assert plain.method.measurements(plain.trainer)["steering"]["epochs"][0].keys() == {
        *("epoch", "forget_auc", "forget_loss", "unseen_loss")
    }
    seen = probed.method.measurements(probed.trainer)["steering"]["epochs"]
    assert all(0 <= epoch["settled_auc"] <= 1 for epoch in seen)
    if len(seen) == len(plain.method.measurements(plain.trainer)["steering"]["epochs"]):
        assert all(torch.equal(before[name], value) for name, value in after.items())


def test_forgetting_that_comes_back_has_not_arrived():
    watch = ReferenceWatch(tolerance=0.05)
    watch.see(1, [0.3, 0.4], [0.3, 0.4], settled_auc=0.9)
    assert (watch.reached, watch.auc) == (False, 0.9)
    watch.see(2, [0.3, 0.4], [0.3, 0.4], settled_auc=0.53)
    assert (watch.reached, watch.nearest) == (True, 2)
    assert watch.warnings() == []


def limited(small, budget, *, epochs, epoch_length, **settings):
    """A run of a few cycles with a budget."""
    options = {"epochs": epochs, "epoch_length": epoch_length}
    return small(ShrinkAndRestore, budget=budget, unseen_loader=unseen(small), options=options, **settings)


def test_a_budget_holds_for_cycles_and_probes_together(small):
    job = limited(small, 400, epochs=3, epoch_length=10, probe_steps=2, tolerance=0.001)
    job.run()
    assert 200 < count_of(job.trainer).passes <= 400


@pytest.mark.parametrize("budget", [300, 400, 500, 900])
def test_what_was_damaged_was_restored(small, budget):
    """A budget that ends after a cycle's measurement ends the run, and not the next cycle after its damage."""
    job = limited(small, budget, epochs=3, epoch_length=4, probe_steps=2, tolerance=0.001)
    steps = []
    job.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: steps.append(engine.state.epoch))
    job.run()
    cycles = [cycle["epoch"] for cycle in job.method.measurements(job.trainer)["damage"]["cycles"]]
    assert cycles == sorted(set(steps)) != []


def test_every_cycle_has_a_whole_course_of_the_rate(small):
    job = limited(small, 700, epochs=2, epoch_length=10, rate=1.0, damage=0.1, probe_steps=0, tolerance=0.0001)
    rates = {1: [], 2: []}
    job.trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: rates[engine.state.epoch].append(engine.optimizer.param_groups[0]["lr"]),
    )
    job.run()
    for course in filter(None, rates.values()):
        assert course[0] == pytest.approx(1 / 25)
        assert max(course) > 0.9
        assert course[-1] < 0.2
        assert min(course) > 0


def test_damage_has_to_be_given_where_nothing_is_measured(small):
    with pytest.raises(InputError, match=r"method#stop_at=null .* method#damage"):
        small(ShrinkAndRestore, stop_at=None)


def test_a_hinge_helps_in_the_last_of_several_cycles(small):
    def columns(epochs):
        job = small(
            ShrinkAndRestore,
            damage=0.1,
            hinge_weight=0.3,
            probe_steps=0,
            tolerance=0.0001,
            unseen_loader=unseen(small),
            options={"epochs": epochs},
        )
        job.run()
        return count_of(job.trainer).passes, job.trainer.state.epoch

    alone, _ = columns(1)
    both, epochs = columns(2)
    if epochs == 2:  # forget cases took part once
        assert both - 2 * alone == 3 * 4 - (4 + 8)  # the first look is taken once


def test_adapters_that_express_little_of_the_damage_say_so(small):
    options = {"network": {"trainable": "adapters", "r": 1}}
    job = small(ShrinkAndRestore, damage=0.5, stop_at=None, options=options)
    job.run()
    (cycle,) = job.method.measurements(job.trainer)["damage"]["cycles"]
    assert 0 < cycle["reach"] < 1
    assert warned(job.trainer) == []
    job.method._cycles[0]["reach"] = 0.3
    resumed = small(ShrinkAndRestore, damage=0.0, stop_at=None, options=options)
    state = job.method.state_dict()  # saved before an interruption
    resumed.trainer.add_event_handler(Events.STARTED, lambda: resumed.method.load_state_dict(state, resumed.trainer))
    resumed.run()
    (said,) = warned(resumed.trainer)
    assert "adapters express only 30% of the damage" in said


def test_it_needs_unseen_cases_to_find_the_damage(small):
    with pytest.raises(InputError, match=r"validation cases \(--validation\)"):
        small(ShrinkAndRestore).run()


def test_every_cycle_has_its_part_of_the_budget_whatever_a_step_takes(small):
    job = limited(small, 1000, epochs=2, epoch_length=500, damage=0.1, probe_steps=0, stop_at="rewind")
    steps = {1: 0, 2: 0}

    def count(engine):
        steps[engine.state.epoch] += 1

    job.trainer.add_event_handler(Events.ITERATION_COMPLETED, count)
    job.run()
    assert steps[1] == pytest.approx(steps[2], abs=2)
    assert steps[2] > 5


def test_a_hinge_without_the_loss_that_it_leads_to_is_refused(small):
    with pytest.raises(InputError, match=r"hinge_weight=1 leads to the loss of unseen cases.*stop_at=null"):
        small(ShrinkAndRestore, damage=0.3, stop_at=None, hinge_weight=1.0)
