"""MSG: which weights are drawn anew, how, and how fast the others move."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mu_monai.adapters import Student
from mu_monai.adapters.rewriting import renew
from mu_monai.errors import InputError
from mu_monai.methods import MSG

CONSTANT = {"lr_schedule": "constant"}


def pictures():
    """A classifier of the four numbers as a picture of 2 x 2, with two convolutions."""
    torch.manual_seed(3)
    first = [nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 5, 2, padding=1), nn.PReLU(), nn.Conv2d(5, 4, 3)]
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(4, 3)).eval()


def _chosen(run, loss_of, share):
    """The kernels' weights with the smallest difference of gradients, by name."""
    names = ["1.weight", "3.weight"]
    kernels = [run.teacher.get_parameter(name) for name in names]
    retain, forget = (
        torch.autograd.grad(loss_of(run.teacher, cases), kernels) for cases in (run.retain[:4], run.forget)
    )
    masks = {}
    for name, one, other in zip(names, retain, forget, strict=True):
        size = (one - other).abs()
        count = round(share * size.numel())
        masks[name] = size <= size.flatten().sort().values[count - 1] if count else torch.zeros_like(size).bool()
    return masks


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("batch", [4, 2])
def test_the_weights_with_the_smallest_difference_of_gradients_are_new(small, loss_of, share, batch):
    options = {"plain": pictures, "retain_batch": batch, "forget_batch": batch}
    run = small(MSG, rate=0.0, init_rate=share, options=options)
    masks = _chosen(run, loss_of, share)
    after = run.run()
    for name, value in run.teacher.state_dict().items():
        new = masks.get(name, torch.zeros_like(value, dtype=torch.bool))
        assert torch.equal(after[name] != value, new), name
    count = sum(int(mask.sum()) for mask in masks.values())
    assert run.method.measurements(run.trainer)["damage"] == {"layers": 2, "new_weights": count}


def test_a_step_moves_kept_kernel_weights_by_a_tenth(small, loss_of):
    options = {"plain": pictures, "retain_batch": 4, "epoch_length": 1}
    renewed = small(MSG, rate=0.0, options=options)
    masks = _chosen(renewed, loss_of, 0.3)
    start = renewed.run()
    run = small(MSG, options=options, **CONSTANT)
    run.teacher.load_state_dict(start)
    whole = run.stepped(lambda network: loss_of(network, run.retain[:4]), 0.1)
    after = run.run()
    for name, value in start.items():
        share = torch.where(masks[name], 1.0, 0.1) if name in masks else 1.0
        torch.testing.assert_close(after[name] - value, share * (whole[name] - value), rtol=1e-4, atol=1e-7)


def test_they_come_from_the_seed(small):
    options = {"plain": pictures}
    first, again, other = (small(MSG, rate=0.0, options=options | {"seed": seed}).run() for seed in (0, 0, 1))
    assert torch.equal(first["1.weight"], again["1.weight"])
    assert not torch.equal(first["1.weight"], other["1.weight"])


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 64, 3), nn.ConvTranspose2d(8, 64, 3), nn.Conv3d(4, 64, 3)])
def test_new_weights_are_drawn_by_the_number_of_outputs(layer):
    student = Student(nn.Sequential(layer), trainable="all")
    renew(student, {"0": torch.ones_like(layer.weight, dtype=torch.bool)}, seed=0)
    expected = math.sqrt(2 / (64 * layer.weight[0, 0].numel()))
    weight = student.merged()[0].weight
    assert weight.std().item() == pytest.approx(expected, rel=0.05)
    assert weight.mean().item() == pytest.approx(0, abs=0.05 * expected)


@pytest.mark.parametrize("budget", [0, 20])
def test_nothing_is_damaged_that_could_not_be_restored(small, budget):
    job = small(MSG, budget=budget, options={"plain": pictures})
    after = job.run()
    assert all((after[name] == value).all() for name, value in job.teacher.state_dict().items())


@pytest.mark.parametrize("budget", [32, 50])  # for a step alone, and for gradients alone
def test_a_budget_without_gradients_is_refused(small, budget):
    with pytest.raises(InputError, match=rf"budget of {budget} sample passes is too small"):
        small(MSG, budget=budget, options={"plain": pictures}).run()


def test_a_network_without_convolutions_is_refused(small):
    with pytest.raises(InputError, match="Sequential has no convolutions"):
        small(MSG).run()


def test_adapters_are_refused(small):
    with pytest.raises(InputError, match=r"not a low-rank change, .* use network#trainable=all"):
        small(MSG, options={"network": {"trainable": "adapters"}, "plain": pictures}).run()


@pytest.mark.parametrize("name", ["init_rate", "kept_rate"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_shares_that_are_none_are_refused(name, value):
    with pytest.raises(InputError, match=rf"method#{name}={value} is not allowed; use a number in \[0, 1\]"):
        MSG(forget_loader=[], **{name: value})
