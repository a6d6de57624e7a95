"""Influence unlearning: the inverse that it applies, and where its step leads."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from mu_monai.errors import InputError
from mu_monai.methods import InfluenceUnlearning, influence
from mu_monai.methods.influence import damped_fisher_solve


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alpha": 0}, "method#alpha=0 is not allowed; use a number above 0"),
        ({"damping": 0}, "method#damping=0"),
        ({"max_cases": 0}, "method#max_cases=0 is not allowed; use a whole number of 1 or more"),
        ({"stop_at": "rewind"}, "method#stop_at='rewind' .* leave stop_at out"),
    ],
)
def test_values_that_are_not_allowed_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        InfluenceUnlearning(forget_loader=[], **setting)


def woodfisher(gradients, damping):
    """The recursion of Singh and Alistarh (arXiv 2004.14340), a rank-one update per case."""
    inverse = torch.eye(gradients.shape[1], dtype=gradients.dtype) / damping
    for gradient in gradients:
        column = inverse @ gradient
        inverse = inverse - torch.outer(column, column) / (len(gradients) + gradient @ column)
    return inverse


class TestInverse:
    @given(n=st.integers(1, 12), size=st.integers(1, 9), damping=st.floats(0.01, 10), seed=st.integers(0, 99))
    def test_it_is_the_explicit_inverse_and_where_the_recursion_ends(self, n, size, damping, seed):
        generator = torch.Generator().manual_seed(seed)
        gradients = torch.randn(n, size, generator=generator, dtype=torch.float64)
        vector = torch.randn(size, generator=generator, dtype=torch.float64)
        found = damped_fisher_solve(gradients, vector, damping)
        fisher = gradients.T @ gradients / n + damping * torch.eye(size, dtype=torch.float64)
        torch.testing.assert_close(found, torch.linalg.inv(fisher) @ vector)
        torch.testing.assert_close(found, woodfisher(gradients, damping) @ vector)

    def test_rounding_does_not_outweigh_the_damping(self):
        """In single precision the two products of 1e6 and 1e6 + 0.09 are not told apart well enough."""
        gradients = torch.tensor([[1000.0, 0.0], [1000.0, 0.3]])
        vector = torch.tensor([0.0, 1.0])
        fisher = gradients.T.double() @ gradients.double() / 2 + 0.01 * torch.eye(2, dtype=torch.float64)
        expected = torch.linalg.inv(fisher) @ vector.double()
        found = damped_fisher_solve(gradients, vector, 0.01)
        assert found[1].item() == pytest.approx(expected[1].item(), rel=1e-3)

    def test_its_parts_make_no_difference(self, monkeypatch):
        gradients, vector = torch.randn(3, 11), torch.randn(11)
        whole = damped_fisher_solve(gradients, vector, 0.1)
        monkeypatch.setattr(influence, "_WIDENED", 6)  # two columns at a time
        torch.testing.assert_close(damped_fisher_solve(gradients, vector, 0.1), whole)

    def test_much_damping_leaves_a_plain_gradient_step(self):
        vector = torch.tensor([1.0, -2.0, 3.0])
        torch.testing.assert_close(damped_fisher_solve(torch.eye(3), vector, 1e6), vector / 1e6)


def test_the_step_is_the_published_one(small):
    run = small(InfluenceUnlearning, alpha=2.0, damping=0.5)
    parameters = list(run.teacher.parameters())

    def gradients(cases):
        losses = (cross_entropy(run.teacher(case["image"][None]), case["label"][None]) for case in cases)
        return torch.stack([parameters_to_vector(torch.autograd.grad(loss, parameters)) for loss in losses])

    forget, retain = gradients(run.forget), gradients(run.retain)
    influence = forget.sum(0) / 12 - 4 / (12 * 8) * retain.sum(0)
    expected = parameters_to_vector(parameters) + 2 * woodfisher(retain, 0.5) @ influence
    after = run.run()
    found = torch.cat([after[name].flatten() for name, _ in run.teacher.named_parameters()])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert run.trainer.state.epoch == 0


def labeled(cases, truth):
    generator = torch.Generator().manual_seed(5)
    for case in cases:
        case["label"] = torch.multinomial((truth @ case["image"]).softmax(0), 1, generator=generator)[0]
    return cases


def optimum(cases):
    """Weights of a logistic regression after training to the end."""
    images, labels = (torch.stack([case[key] for case in cases]) for key in ("image", "label"))
    network = torch.nn.Sequential(torch.nn.Linear(4, 3))
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(network(images), labels) + 1e-3 * sum(w.square().sum() for w in network.parameters())
        loss.backward()
        return loss

    optimizer.step(closure)
    return network


def test_from_an_optimum_it_steps_towards_that_without_the_forget_cases(small):
    generator = torch.Generator().manual_seed(2)
    truth = torch.randn(3, 4, generator=generator)

    def cases(number, shift):
        images = torch.randn(number, 4, generator=generator) + shift
        ids = {"case_id": "c", "patient_id": "p"}
        return labeled([{"image": image, "label": torch.tensor(0), **ids} for image in images], truth)

    retain, forget = cases(300, 0.0), cases(40, 1.0)
    teacher, target = optimum(retain + forget), parameters_to_vector(optimum(retain).parameters())
    run = small(InfluenceUnlearning, damping=2e-3, options={"plain": lambda: copy.deepcopy(teacher)})
    run.retain[:], run.forget[:] = retain, forget
    before, after = parameters_to_vector(teacher.parameters()), run.run()
    found = torch.cat([after["0.weight"].flatten(), after["0.bias"]])
    assert (found - target).norm() < 0.5 * (before - target).norm()


def test_cases_that_do_not_fit_into_memory_are_left_out_and_said(small, monkeypatch):
    run = small(InfluenceUnlearning)
    size = sum(weight.numel() for weight in run.teacher.parameters())
    monkeypatch.setattr(influence, "_HELD", 3 * 4 * size)
    run.run()
    assert run.trainer.state.terms["fisher_cases"][0] == 3
    (warning,) = run.trainer.state.warnings
    assert "from 3 retained cases" in warning
    assert "method#max_cases allows 1000" in warning


def test_no_more_cases_are_held_than_asked_for(small):
    run = small(InfluenceUnlearning, max_cases=5)
    run.run()
    assert run.trainer.state.terms["fisher_cases"][0] == 5
    assert not hasattr(run.trainer.state, "warnings")
