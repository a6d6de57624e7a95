"""Distance regularization: its gradient by hand, its limits, and adapters."""

from __future__ import annotations

import copy

import pytest
import torch

from mu_monai.adapters import mean_square_drift
from mu_monai.errors import InputError
from mu_monai.methods import DistanceRegularization, RetainFineTuning

CONSTANT = {"lr_schedule": "constant"}


def _distance(network, original):
    pairs = zip(network.parameters(), original.parameters(), strict=True)
    changes = torch.cat([(weight - before.detach()).flatten() for weight, before in pairs])
    return (changes.square().mean() + 1e-8).sqrt()


def _two_steps(run, loss_of, alpha, limit=float("inf")):
    original = copy.deepcopy(run.teacher)
    for _ in range(2):
        state = run.stepped(
            lambda network: loss_of(network, run.retain) - alpha * _distance(network, original).clamp(max=limit), 0.1
        )
        run.teacher.load_state_dict(state)
    return run.teacher.state_dict()


@pytest.mark.parametrize("limit", [None, 1e-3])
def test_two_steps_by_hand(small, loss_of, limit):
    run = small(DistanceRegularization, alpha=5.0, limit=limit, options={"epochs": 2}, **CONSTANT)
    after = run.run()
    torch.testing.assert_close(after, _two_steps(run, loss_of, 5.0, limit or float("inf")))


def test_the_first_step_and_no_weight_are_retain_fine_tuning(small):
    fine_tuned = small(RetainFineTuning, options={"epochs": 2}).run()
    assert _close(small(DistanceRegularization, alpha=0.0, options={"epochs": 2}).run(), fine_tuned)
    assert not _close(small(DistanceRegularization, alpha=5.0, options={"epochs": 2}).run(), fine_tuned)
    assert _close(small(DistanceRegularization, alpha=5.0).run(), small(RetainFineTuning).run())


def _close(one, other):
    return all(torch.allclose(one[name], other[name]) for name in one)


def test_the_distance_is_that_of_merged_weights_with_adapters_too(small):
    run = small(DistanceRegularization, options={"network": {"trainable": "adapters"}, "epochs": 3}, rate=0.5)
    after = run.run()
    changes = [after[f"{name}.weight"] - getattr(run.teacher, name).weight for name in ("first", "middle", "last")]
    expected = torch.cat([change.flatten() for change in changes]).square().mean()
    torch.testing.assert_close(mean_square_drift(run.trainer.network).detach(), expected.detach())
    assert expected > 0


@pytest.mark.parametrize(("name", "value"), [("alpha", -1), ("limit", 0), ("limit", -1)])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=rf"method#{name}={value} is not allowed"):
        DistanceRegularization(forget_loader=[], **{name: value})
