"""UNSIR: the noise of each class, and what the two phases train on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from mu_monai.errors import InputError
from mu_monai.methods import UNSIR


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"noise_cases": 0}, "method#noise_cases=0 is not allowed; use a whole number of 1 or more"),
        ({"noise_steps": 1.5}, "method#noise_steps=1.5"),
        ({"impair_epochs": 0}, "method#impair_epochs=0"),
        ({"noise_learning_rate": 0}, "method#noise_learning_rate=0 is not allowed; use a number above 0"),
        ({"repair_ratio": -1}, "method#repair_ratio=-1"),
        ({"noise_decay": -1}, "method#noise_decay=-1 is not allowed; use a number of 0 or more"),
        ({"task": "segmentation"}, "method#task='segmentation' is not known; use one of classification"),
        ({"stop_at": "reference"}, "method#stop_at='reference' .* leave stop_at out"),
    ],
)
def test_values_that_are_not_allowed_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        UNSIR(forget_loader=[], **setting)


def test_a_run_without_an_epoch_of_repair_is_refused(small):
    with pytest.raises(InputError, match=r"max_epochs=2 leaves no epoch to repair.* method#impair_epochs=2"):
        small(UNSIR, options={"epochs": 2}, impair_epochs=2).run()


def relabel(cases, *labels):
    for index, case in enumerate(cases):
        case["label"] = torch.tensor(labels[index % len(labels)])


def test_it_impairs_with_noise_and_repairs_without_at_its_own_rate(small, loss_of):
    run = small(UNSIR, options={"epochs": 2}, noise_cases=1, repair_ratio=0.25)
    relabel(run.retain, 0, 1)
    relabel(run.forget, 2)
    after = run.run()
    (noise, label), network = run.method._noise.values(), copy.deepcopy(run.teacher)
    assert label.tolist() == [2]

    def impair(network):
        return (loss_of(network, run.retain) + cross_entropy(network(noise), label)) / 2

    for objective, rate in ((impair, 0.1), (lambda network: loss_of(network, run.retain), 0.025)):
        gradients = torch.autograd.grad(objective(network), list(network.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(network.parameters(), gradients, strict=True):
                weight -= rate * gradient
    torch.testing.assert_close(after, network.state_dict())


def test_each_class_has_noise_of_its_own_that_the_teacher_does_not_take_for_it(small):
    run = small(UNSIR, options={"epochs": 2}, noise_cases=16, noise_decay=0.0)
    relabel(run.retain, 1)
    relabel(run.forget, 2, 0)
    run.run()
    noise, label = run.method._noise.values()
    assert label.tolist() == [0] * 16 + [2] * 16
    drawn = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    for one in (0, 2):
        learned = cross_entropy(run.teacher(noise[label == one]), label[label == one])
        plain = cross_entropy(run.teacher(drawn), torch.full((4000,), one))
        assert learned > 1.5 * plain


def test_a_large_decay_keeps_the_noise_small(small):
    sizes = []
    for decay in (0.0, 10.0):
        run = small(UNSIR, options={"epochs": 2}, noise_decay=decay)
        run.run()
        sizes.append(run.method._noise["image"].square().mean().item())
    assert sizes[1] < 0.1 * sizes[0]


def test_classes_that_retained_cases_have_as_well_are_warned_of(small):
    run = small(UNSIR, options={"epochs": 2})
    relabel(run.retain, 0, 1)
    relabel(run.forget, 1, 2)
    run.run()
    (warning,) = run.trainer.state.warnings
    assert "retained cases have 1 of the 2 to be forgotten (outputs 1)" in warning
    relabel(run.forget, 2)
    whole = small(UNSIR, options={"epochs": 2})
    relabel(whole.retain, 0, 1)
    relabel(whole.forget, 2)
    whole.run()
    assert not hasattr(whole.trainer.state, "warnings")


def test_a_whole_class_is_forgotten_and_the_others_are_kept(small, loss_of):
    def learned():
        """A network that knows three classes, one per axis."""
        network = torch.nn.Sequential(torch.nn.Linear(4, 3))
        with torch.no_grad():
            network[0].weight.copy_(4 * torch.eye(4)[:3])
            network[0].bias.zero_()
        return network

    options = {"epochs": 60, "plain": learned, "optimizer": torch.optim.Adam}
    run = small(UNSIR, rate=0.3, options=options, impair_epochs=5)
    relabel(run.retain, 0, 1)
    relabel(run.forget, 2)
    for case in run.retain + run.forget:
        case["image"] = torch.eye(4)[case["label"]]
    run.run()
    network = run.trainer.network.merged()
    assert loss_of(network, run.retain) < 0.1
    assert loss_of(network, run.forget) > 10 * loss_of(run.teacher, run.forget)


def test_noise_is_learned_class_by_class(small):
    batches = []

    def loss(logits, label):
        batches.append(label.tolist())
        return cross_entropy(logits, label)

    run = small(UNSIR, options={"epochs": 2, "loss": loss}, noise_cases=3, noise_steps=2)
    relabel(run.forget, 2, 0)
    run.run()
    assert [batch for batch in batches if len(batch) == 3] == [[0] * 3] * 2 + [[2] * 3] * 2
