"""How far adapters moved the weights, measured against plain weights and against the bound."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mu_monai.adapters import Student, clip_drift, layer_drifts, total_drift

LAYERS = {
    "conv": nn.Conv2d(4, 6, 3),
    "grouped": nn.Conv2d(4, 6, 3, groups=2),
    "transposed": nn.ConvTranspose2d(4, 6, 3),
    "grouped-transposed": nn.ConvTranspose2d(4, 6, 3, groups=2),
    "volume": nn.Conv3d(2, 3, 1),
}


def lively(layer: nn.Module, seed: int = 0, scale: float = 0.5, **settings) -> Student:
    student = Student(nn.Sequential(layer), "all", **{"r": 2, **settings})
    torch.manual_seed(seed)
    for parameter in student.trainable().values():
        nn.init.normal_(parameter, std=scale)
    return student


def plain_distance(student: Student) -> float:
    merged, teacher = student.merged().state_dict(), student.reverted().state_dict()
    return math.sqrt(sum(float((merged[name] - teacher[name]).double().square().sum()) for name in merged))


@pytest.mark.parametrize("kind", LAYERS)
def test_the_norm_is_the_distance_of_the_merged_weight(kind):
    student = lively(LAYERS[kind])
    (drift,) = layer_drifts(student)
    assert drift.norm == pytest.approx(plain_distance(student), rel=1e-4)
    assert total_drift(student) == pytest.approx(drift.norm, rel=1e-5)
    assert drift.layer == "0"
    assert drift.rank == 2


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(sorted(LAYERS)), seed=st.integers(0, 1000), scale=st.floats(1e-3, 10), alpha=st.integers(1, 64)
)
def test_the_bound_holds(kind, seed, scale, alpha):
    (drift,) = layer_drifts(lively(LAYERS[kind], seed, scale, lora_alpha=alpha))
    assert drift.norm <= drift.bound * (1 + 1e-4)
    assert drift.spectral_norm <= drift.norm * (1 + 1e-4)


def test_the_bound_needs_the_scale_that_the_paper_leaves_out():
    drifts = [layer_drifts(lively(nn.Conv2d(4, 6, 3), lora_alpha=alpha))[0] for alpha in (2, 32)]
    assert drifts[1].bound == pytest.approx(16 * drifts[0].bound, rel=1e-5)
    assert drifts[1].norm > drifts[0].bound, "without alpha / r it would not hold"


def test_rank_one_meets_the_bound():
    (drift,) = layer_drifts(lively(nn.Conv2d(4, 6, 3), r=1))
    assert drift.norm == pytest.approx(drift.bound, rel=1e-4)


def test_a_new_student_has_not_moved(unet):
    student = Student(unet)
    assert total_drift(student) == 0
    assert all(drift.norm == drift.bound == drift.spectral_norm == 0 for drift in layer_drifts(student))


def test_a_limit_is_kept_to_and_shrinks_all_layers_alike(trained):
    before = layer_drifts(trained)
    limit = total_drift(trained) / 3
    clip_drift(trained, limit)
    assert total_drift(trained) == pytest.approx(limit, rel=1e-4)
    for old, new in zip(before, layer_drifts(trained), strict=True):
        assert new.norm == pytest.approx(old.norm / 3, rel=1e-3)


def test_a_limit_that_is_not_reached_changes_nothing(trained, image):
    before = trained(image)
    clip_drift(trained, 2 * total_drift(trained))
    assert torch.equal(trained(image), before)


def test_the_heads_restoration_counts(trained, image, train_steps):
    trained.add_restoration()
    trained.train_head()
    train_steps(trained, image)
    assert total_drift(trained) == pytest.approx(plain_distance(trained), rel=1e-3)


class TestAllWeights:
    """Where copies of all weights train, drift is the distance of all of them."""

    def student(self) -> Student:
        student = Student(nn.Sequential(nn.Conv2d(2, 3, 1), nn.PReLU()), trainable="all")
        for parameter in student.trainable().values():
            parameter.data.add_(0.5)
        return student

    def test_the_distance_counts_weights_and_biases(self):
        assert total_drift(self.student()) == pytest.approx(0.5 * math.sqrt(2 * 3 + 3 + 1))

    def test_layers_have_a_norm_and_no_bound(self):
        (drift,) = layer_drifts(self.student())
        assert (drift.layer, drift.rank, drift.bound) == ("0", 0, 0)
        assert drift.norm == pytest.approx(0.5 * math.sqrt(6))
        assert drift.spectral_norm == pytest.approx(0.5 * math.sqrt(6)), "the update is of rank one"

    def test_clipping_brings_the_distance_to_the_limit_and_leaves_what_is_within(self):
        student = self.student()
        clip_drift(student, 10)
        assert total_drift(student) == pytest.approx(0.5 * math.sqrt(10))
        clip_drift(student, 0.1)
        assert total_drift(student) == pytest.approx(0.1)
