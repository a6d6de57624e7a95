"""Rewind: which milestone it takes, what it says of it, and what it refuses."""

from __future__ import annotations

import re

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from torch.utils.data import DataLoader

from mu_monai.adapters.milestones import write_milestone
from mu_monai.engine import count_of
from mu_monai.engine.warnings import warned
from mu_monai.errors import InputError
from mu_monai.methods import Rewind
from tests.methods.conftest import small_cases

_TWO = {"retain_batch": 4}  # two steps in an epoch of eight cases


@pytest.fixture
def milestones(tmp_path, small):
    """Writes milestones: how well losses told training from unseen patients, by epoch."""

    def write(memorized):
        for epoch, auc in memorized.items():
            network = small(Rewind).teacher
            with torch.no_grad():
                for weight in network.parameters():
                    weight.fill_(epoch / 100)
            write_milestone(tmp_path, epoch, network.state_dict(), auc)
        return str(tmp_path)

    return write


def _taken(after):
    return round(100 * after["last.weight"][0, 0].item())


@pytest.mark.parametrize(
    ("memorized", "tolerance", "epoch"),
    [
        ({2: 0.5, 8: 0.51, 14: 0.6, 24: 0.7}, 0.05, 8),
        ({2: 0.5, 8: 0.51, 14: 0.6, 24: 0.7}, 0.1, 14),
        ({2: 0.5, 8: 0.54, 14: 0.56, 24: 0.7}, None, 8),  # by default, up to 0.55
        ({2: 0.5, 8: 0.51}, 0.05, 8),
        ({2: 0.5, 5: 0.62, 8: 0.5, 14: 0.54}, 0.05, 2),  # one low value after a high one is not believed
        ({2: 0.5, 5: 0.56, 8: 0.5, 14: 0.54, 24: 0.7}, 0.05, 14),  # nor one high value before lower ones
        ({0: 0.5, 8: 0.6}, 0.05, 0),
        ({2: 0.3, 8: 0.6}, 0.05, 2),  # harder cases than unseen ones are not memorized
    ],
)
def test_it_takes_the_latest_that_has_not_memorized_its_patients(small, milestones, memorized, tolerance, epoch):
    chosen = {} if tolerance is None else {"tolerance": tolerance}
    job = small(Rewind, milestones=milestones(memorized), budget=0, **chosen)
    assert _taken(job.run()) == epoch
    assert job.method.measurements(job.trainer)["rewind"]["epoch"] == epoch


def test_what_its_training_measured_takes_no_pass(small, milestones):
    job = small(Rewind, milestones=milestones({2: 0.5, 8: 0.6}), budget=0)
    job.run()
    assert count_of(job.trainer).passes == 0


def test_it_says_which_one_and_what_a_later_one_would_take(small, milestones, caplog):
    caplog.set_level("INFO", logger="mu_monai")
    small(Rewind, milestones=milestones({2: 0.5, 8: 0.62, 24: 0.7}), budget=0).run()
    (line,) = [record.message for record in caplog.records if record.message.startswith("took")]
    assert "epoch 2 " in line
    assert "0.500" in line
    assert "epoch 8 " in line
    assert "method#tolerance=0.120" in line


def test_of_milestones_alike_a_later_tolerance_takes_the_last(small, milestones, caplog):
    caplog.set_level("INFO", logger="mu_monai")
    folder = milestones({2: 0.5, 8: 0.62, 14: 0.58, 24: 0.7})
    small(Rewind, milestones=folder, budget=0).run()
    (line,) = [record.message for record in caplog.records if record.message.startswith("took")]
    assert "after epoch 14 have 0.580, smoothed 0.600" in line
    assert "method#tolerance=0.100" in line
    assert _taken(small(Rewind, milestones=folder, budget=0, tolerance=0.1).run()) == 14


def test_where_all_have_memorized_it_warns_and_takes_the_earliest(small, milestones):
    job = small(Rewind, milestones=milestones({2: 0.7, 5: 0.64, 9: 0.8}), budget=0)
    assert _taken(job.run()) == 2
    (warning,) = warned(job.trainer)
    assert "epoch 2," in warning
    assert "AUC 0.700, smoothed 0.670" in warning


@pytest.mark.parametrize(("cases", "unseen", "said"), [(8, 4, ["0.17"]), (200, 400, []), (8, 0, [])])
def test_a_choice_by_few_unseen_cases_may_be_one_by_chance(small, milestones, cases, unseen, said):
    held_out = DataLoader(small_cases("validation", unseen), batch_size=4) if unseen else None
    options = {"cases": (cases, 4)}
    job = small(Rewind, milestones=milestones({2: 0.5}), unseen_loader=held_out, budget=0, options=options)
    job.run()
    assert [re.search(r"error of about ([\d.]+), more", warning)[1] for warning in warned(job.trainer)] == said


def test_milestones_of_others_are_measured_on_training_and_unseen_cases(small, milestones, tmp_path):
    unseen = [case | {"case_id": f"u{i}", "patient_id": f"u{i}"} for i, case in enumerate(small(Rewind).retain)]
    folder = milestones({2: None, 8: None})
    job = small(Rewind, milestones=folder, budget=0, tolerance=0.49, unseen_loader=DataLoader(unseen, batch_size=4))
    job.run()
    assert count_of(job.trainer).passes == 2 * (8 + 4 + 8)  # of two milestones
    (warning,) = warned(job.trainer)
    assert warning.startswith("the run took 40 sample passes, more than its budget of 0")
    seen = job.method.measurements(job.trainer)["rewind"]["milestones"]
    assert [milestone["epoch"] for milestone in seen] == [2, 8]
    assert all(0 <= milestone["memorized"] <= 1 for milestone in seen)


def test_milestones_of_others_without_unseen_cases_are_refused(small, milestones):
    with pytest.raises(InputError, match=r"validation cases \(--validation\)"):
        small(Rewind, milestones=milestones({2: None})).run()


@pytest.mark.parametrize(("average_from", "steps"), [(0.5, (5, 6, 7, 8)), (0.0, range(1, 9)), (1.0, (8,))])
def test_the_result_is_the_mean_of_the_weights_of_the_last_steps(small, milestones, average_from, steps):
    job = small(
        Rewind, rate=0.1, milestones=milestones({2: 0.5}), average_from=average_from, options={"epochs": 4, **_TWO}
    )
    seen = []
    job.trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED, lambda engine: seen.append(engine.network.merged().state_dict()["last.weight"])
    )
    after = job.run()
    assert len(seen) == 8
    torch.testing.assert_close(after["last.weight"], torch.stack([seen[step - 1] for step in steps]).mean(0))


@pytest.mark.parametrize("cut", [None, 24 * 3])
def test_what_is_scored_after_the_last_epoch_is_the_result(small, milestones, cut):
    job = small(Rewind, milestones=milestones({2: 0.5}), budget=cut, options={"epochs": 2})
    scored = []
    job.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: scored.append(engine.network.merged().state_dict()["last.weight"])
    )
    after = job.run()
    torch.testing.assert_close(after["last.weight"], scored[-1], rtol=0, atol=0)


def test_an_epoch_and_a_mean_cannot_both_be_the_result(small):
    with pytest.raises(InputError, match=r"stop_at='rewind' keeps the weights of one epoch"):
        small(Rewind, stop_at="rewind")
    cases = DataLoader(small_cases("validation", 4), batch_size=4)
    small(Rewind, stop_at="rewind", average_from=1.0, unseen_loader=cases)


@pytest.mark.parametrize(("kd_weight", "passes"), [(0.0, 3 * 8 * 2), (4.0, (3 + 1) * 8 * 2)])
def test_the_original_stays_and_teaches_only_if_it_is_to(small, milestones, kd_weight, passes):
    job = small(Rewind, rate=0.01, milestones=milestones({2: 0.5}), kd_weight=kd_weight, options={"epochs": 2})
    job.run()
    assert count_of(job.trainer).passes == passes
    teacher = job.trainer.network.reverted().state_dict()
    assert all(torch.equal(value, teacher[name]) for name, value in job.teacher.state_dict().items())


def test_it_needs_milestones_and_all_weights(small, milestones):
    with pytest.raises(InputError, match=r"--milestones.*milestones=12"):
        small(Rewind).run()
    with pytest.raises(InputError, match=r"network#trainable=all"):
        small(Rewind, milestones=milestones({2: 0.5}), options={"network": {"trainable": "adapters"}}).run()
