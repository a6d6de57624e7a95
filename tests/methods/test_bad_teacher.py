"""The bad teacher: who teaches what, and that it never saw a case."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import kl_div

from mu_monai.errors import InputError
from mu_monai.measure import randomized
from mu_monai.methods import BadTeacher


def images(cases):
    return torch.stack([case["image"] for case in cases])


def divergence(network, target, image):
    """KL(target || network), in nats, averaged over cases."""
    return kl_div(network(image).log_softmax(1), target(image).softmax(1), reduction="batchmean")


def test_a_temperature_that_is_not_allowed_is_refused():
    with pytest.raises(InputError, match="method#temperature=0 is not allowed; use a number above 0"):
        BadTeacher(forget_loader=[], temperature=0)


def test_a_step_follows_the_good_teacher_on_retained_and_the_bad_one_on_forget_cases(small):
    run = small(BadTeacher)
    after = run.run()
    bad = run.method._bad
    expected = run.stepped(
        lambda network: (
            (
                8 * divergence(network, run.teacher, images(run.retain))
                + 4 * divergence(network, bad, images(run.forget))
            )
            / 12
        ),
        0.1,
    )
    torch.testing.assert_close(after, expected)


def test_the_bad_teacher_knows_nothing_of_the_good_one_and_is_drawn_by_the_seed(small):
    networks = []
    for seed in (0, 0, 1):
        run = small(BadTeacher, options={"seed": seed})
        run.run()
        networks.append(run.method._bad.state_dict())
    first, again, other = networks
    teacher = run.teacher.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if name.startswith(("first", "middle", "last"))]
    assert not any(torch.equal(first[name], other[name]) or torch.equal(first[name], teacher[name]) for name in drawn)
    assert torch.equal(first["norm.running_mean"], torch.zeros(6))
    audited = randomized(run.trainer.network.reverted(), 0).state_dict()  # the network that ZRF compares with
    assert not any(torch.equal(first[name], audited[name]) for name in drawn)


def test_forget_cases_come_to_be_answered_as_the_bad_teacher_does(small):
    run = small(BadTeacher, rate=0.01, options={"epochs": 150, "optimizer": torch.optim.Adam})
    run.run()
    network, forget, retain = run.trainer.network.merged(), images(run.forget), images(run.retain)
    bad = run.method._bad
    assert divergence(network, bad, forget) < 0.3 * divergence(run.teacher, bad, forget)
    assert divergence(network, run.teacher, retain) < 0.3 * divergence(bad, run.teacher, retain)


def test_the_supervised_loss_does_not_count(small):
    first, other = small(BadTeacher).run(), small(BadTeacher)
    for case in other.retain + other.forget:
        case["label"] = (case["label"] + 1) % 3
    second = other.run()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_retained_cases_that_an_epoch_does_not_see_have_no_weight(small):
    """One of four batches is seen: 2 of 8 retained cases beside 4 forget cases."""
    run = small(BadTeacher, options={"retain_batch": 2, "epoch_length": 1})
    after, bad = run.run(), run.method._bad
    expected = run.stepped(
        lambda network: (
            (
                2 * divergence(network, run.teacher, images(run.retain[:2]))
                + 4 * divergence(network, bad, images(run.forget))
            )
            / 6
        ),
        0.1,
    )
    torch.testing.assert_close(after, expected)
