"""Amnesiac relabeling: one wrong label per case for good, on joined data."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from mu_monai.methods import Amnesiac


class Spy:
    def __init__(self):
        self.seen = []

    def __call__(self, logits, label):
        self.seen.append(label.tolist())
        return cross_entropy(logits, label)


def labels(small, seed=0, epochs=3):
    spy = Spy()
    run = small(Amnesiac, options={"seed": seed, "epochs": epochs, "loss": spy})
    run.run()
    return run, spy.seen[1::2]


def test_a_case_keeps_its_wrong_label(small):
    run, seen = labels(small)
    assert seen == [seen[0]] * 3
    assert all(wrong != case["label"] for wrong, case in zip(seen[0], run.forget, strict=True))
    assert labels(small)[1] == seen


def test_it_comes_from_the_seed_and_the_case():
    drawn = {}
    for seed in range(40):
        method = Amnesiac(forget_loader=[], task="classification")
        method._seed = seed
        drawn[seed] = [method._shift(f"case-{number}", 4) for number in range(100)]
    assert len({tuple(shifts) for shifts in drawn.values()}) == 40
    counts = torch.tensor([shift for shifts in drawn.values() for shift in shifts]).bincount(minlength=4) / 4000
    assert counts[0] == 0
    torch.testing.assert_close(counts[1:], torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_a_step_is_one_on_joined_data(small, loss_of):
    run = small(Amnesiac)
    torch.manual_seed(0)
    run.method._seed = torch.initial_seed()
    joined = [*run.retain]
    for case in run.forget:
        shift = run.method._shift(case["case_id"], 3)
        joined.append(case | {"label": (case["label"] + shift) % 3})
    expected = run.stepped(lambda network: loss_of(network, joined), 0.1)
    torch.testing.assert_close(run.run(), expected)
