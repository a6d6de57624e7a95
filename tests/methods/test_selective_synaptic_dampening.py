"""Selective synaptic dampening by hand: which weights are chosen, and what is left of them."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from mu_monai.errors import InputError
from mu_monai.methods import SelectiveSynapticDampening


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alpha": 0}, "method#alpha=0 is not allowed; use a number above 0"),
        ({"dampening": -1}, "method#dampening=-1"),
        ({"max_retain_cases": 0}, "method#max_retain_cases=0 is not allowed; use a whole number of 1 or more, or null"),
        ({"stop_at": "rewind"}, "method#stop_at='rewind' .* leave stop_at out"),
    ],
)
def test_values_that_are_not_allowed_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        SelectiveSynapticDampening(forget_loader=[], **setting)


def test_adapters_are_refused(small):
    run = small(SelectiveSynapticDampening, options={"network": {"trainable": "adapters"}})
    with pytest.raises(InputError, match=r"SelectiveSynapticDampening .* use network#trainable=all"):
        run.run()


def importance(network, cases):
    total = torch.zeros(())
    for case in cases:
        loss = cross_entropy(network(case["image"][None]), case["label"][None])
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        total = total + parameters_to_vector(gradients).square()
    return total / len(cases)


def weights(state, network):
    return torch.cat([state[name].flatten() for name, _ in network.named_parameters()])


def test_a_weight_is_dampened_by_how_much_more_it_matters_to_forget_cases(small):
    run = small(SelectiveSynapticDampening, alpha=1.2, dampening=0.5)
    before = parameters_to_vector(run.teacher.parameters())
    forget, everywhere = importance(run.teacher, run.forget), importance(run.teacher, run.retain + run.forget)
    chosen = forget > 1.2 * everywhere
    expected = [
        value * min(0.5 * own / of_forget, 1) if hit else value
        for value, own, of_forget, hit in zip(before, everywhere, forget, chosen, strict=True)
    ]
    after = weights(run.run(), run.teacher)
    torch.testing.assert_close(after, torch.stack(expected))
    assert 0 < chosen.float().mean() < 1
    assert run.trainer.state.epoch == 0
    assert run.trainer.state.terms["dampened"][0].item() == pytest.approx(chosen.float().mean().item())


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_do_not_matter(small, batch):
    one = small(SelectiveSynapticDampening, alpha=1.0).run()
    options = {"retain_batch": batch, "forget_batch": batch}
    other = small(SelectiveSynapticDampening, alpha=1.0, options=options).run()
    torch.testing.assert_close(one, other)


def test_nothing_can_be_as_important_as_an_alpha_of_all_cases_to_the_forgotten(small):
    """4 of 12 cases are forgotten: I_f <= 3 I_D, and the run says so."""
    run = small(SelectiveSynapticDampening, alpha=3.0)
    after, before = run.run(), run.teacher.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    (warning,) = run.trainer.state.warnings
    assert "method#alpha=3 dampens nothing: 33 % of the training cases" in warning
    assert "use an alpha below 3.0" in warning


def test_a_case_that_no_retained_one_is_like_loses_its_own_weights_alone(small):
    """Forget cases have a feature that no other case has: its weights vanish, all others stay."""

    def plain():
        torch.manual_seed(3)
        return torch.nn.Sequential(torch.nn.Linear(4, 3))

    run = small(SelectiveSynapticDampening, alpha=2.9, dampening=0.01, options={"plain": plain})
    for case in run.retain:
        case["image"] = case["image"] * torch.tensor([1.0, 1.0, 1.0, 0.0])
    after, before = run.run()["0.weight"], run.teacher[0].weight
    torch.testing.assert_close(after[:, 3], before[:, 3] * 0.01 / 3)
    torch.testing.assert_close(after[:, :3], before[:, :3])


def test_importance_may_be_taken_from_fewer_retained_cases(small):
    runs = [small(SelectiveSynapticDampening, alpha=1.0, max_retain_cases=limit).run() for limit in (None, 8, 1)]
    whole, enough, one = (weights(run, small(SelectiveSynapticDampening).teacher) for run in runs)
    assert torch.equal(whole, enough)
    assert not torch.equal(whole, one)
