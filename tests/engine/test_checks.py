"""The self-checks pass for an honest run and fail for each thing that they watch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mu_monai.adapters import LoraConv, Student
from mu_monai.engine.checks import self_checks
from mu_monai.runs.record import SelfCheck

FINITE = "all weights are finite"
UNMOVED = "the teacher's weights and statistics did not move"
OFF = "adapters off equal the teacher bit for bit"
MERGED = "merged weights equal the adapted network"
MOVED = "every adapter moved"
SOME = "at least one adapter moved"


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def student(make_student) -> Student:
    """A student all of whose adapters moved."""
    student = make_student()
    for name, value in student.trainable().items():
        if ".lora_B." in name:
            nn.init.normal_(value, std=0.1)
    return student


def failed(checks) -> list[str]:
    return [check.name for check in checks if not check.passed]


def adapters(student: Student) -> list[LoraConv]:
    return [module for module in student.modules() if isinstance(module, LoraConv)]


def test_an_honest_student_passes_every_check(student, image):
    checks = self_checks(student, image)
    assert [check.name for check in checks] == [FINITE, UNMOVED, OFF, MERGED, MOVED]
    assert failed(checks) == []
    assert all(type(check.passed) is bool and check.detail for check in checks)


def test_a_plain_network_is_checked_for_finite_weights(make_unet, image):
    assert self_checks(make_unet(), image) == (SelfCheck(name=FINITE, passed=True, detail="no NaN, no infinity"),)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(make_unet, image, bad):
    network = make_unet()
    with torch.no_grad():
        network.get_parameter("model.0.residual.bias")[1] = bad
    checks = self_checks(network, image)
    assert failed(checks) == [FINITE]
    assert checks[0].detail == "model.0.residual.bias"


def test_a_student_with_nan_fails_more_than_one_check(student, image):
    with torch.no_grad():
        adapters(student)[0].lora_B["default"].weight.fill_(float("nan"))
    assert {FINITE, MERGED} <= set(failed(self_checks(student, image)))


def flip_a_bit_of_a_frozen_weight(student: Student) -> None:
    student.get_base_model().model[0].residual.weight.data.view(torch.int32).view(-1)[0] ^= 1


def change_the_base_of_an_adapted_layer(student: Student) -> None:
    adapters(student)[0].get_base_layer().weight.data += 1


def move_statistics(student: Student) -> None:
    norm = next(module for module in student.modules() if isinstance(module, nn.BatchNorm2d))
    norm.running_mean += 1


def count_one_batch(student: Student) -> None:
    next(module for module in student.modules() if isinstance(module, nn.BatchNorm2d)).num_batches_tracked += 1


@pytest.mark.parametrize(
    "change",
    [flip_a_bit_of_a_frozen_weight, change_the_base_of_an_adapted_layer, move_statistics, count_one_batch],
)
def test_anything_frozen_that_moved_is_found(student, image, change):
    change(student)
    checks = self_checks(student, image)
    assert failed(checks) == [UNMOVED]
    assert next(check for check in checks if check.name == UNMOVED).detail.endswith(" differs")


def test_adapters_that_stay_on_are_found(student, image, monkeypatch):
    monkeypatch.setattr(Student, "teacher", lambda self, image: self(image))
    assert failed(self_checks(student, image)) == [OFF]


def test_a_merge_that_is_only_nearly_right_is_found(student, image, monkeypatch):
    merge = LoraConv.merge

    def merge_and_slip(self, *args, **kwargs):
        merge(self, *args, **kwargs)
        self.get_base_layer().weight.data += 1e-6

    monkeypatch.setattr(LoraConv, "merge", merge_and_slip)
    checks = self_checks(student, image)
    assert failed(checks) == [MERGED]
    assert "largest difference of a logit" in checks[3].detail


def test_a_student_that_did_not_train_is_found(make_student, image):
    student = make_student()
    checks = self_checks(student, image)
    assert failed(checks) == [MOVED]
    layers = [name for name, module in student.named_modules() if isinstance(module, LoraConv)]
    assert checks[-1].detail == f"not moved: {', '.join(layers)}"


def test_a_single_adapter_that_stood_still_is_named(student, image):
    name, layer = next((n, m) for n, m in student.named_modules() if isinstance(m, LoraConv))
    nn.init.zeros_(layer.lora_B["default"].weight)
    checks = self_checks(student, image)
    assert failed(checks) == [MOVED]
    assert checks[-1].detail == f"not moved: {name}"


def test_a_method_that_chooses_its_weights_may_leave_layers_but_not_all(student, make_student, image):
    nn.init.zeros_(adapters(student)[0].lora_B["default"].weight)
    count = len(adapters(student))
    checks = self_checks(student, image, selective=True)
    assert failed(checks) == []
    assert checks[-1] == SelfCheck(name=SOME, passed=True, detail=f"{count - 1} of {count} moved")
    assert failed(self_checks(make_student(), image, selective=True)) == [SOME]


def test_a_student_in_training_mode_is_checked_in_evaluation_mode(make_student, image):
    student = make_student(lora_dropout=0.9)
    for layer in adapters(student):
        nn.init.normal_(layer.lora_B["default"].weight)
    assert failed(self_checks(student.train(), image)) == []


def test_checking_changes_nothing(student, image):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    trainable = list(student.trainable())
    self_checks(student, image)
    after = student.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert list(student.trainable()) == trainable
