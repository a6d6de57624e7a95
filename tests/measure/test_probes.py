"""Losses per case and margins, against values that are computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer, SimpleInferer, SlidingWindowInferer
from torch import nn

from mu_monai.adapters import Student
from mu_monai.errors import InputError
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID
from mu_monai.measure import case_losses, margins, mean_case_loss, patient_losses

LOG_3 = math.log(3)  # sigmoid(log 3) = 3/4, sigmoid(2 log 3) = 9/10


def answering(layer: nn.Module, *before: nn.Module) -> Student:
    """A teacher that answers 0 everywhere, and a student that answers (log 3 x, 0); one adapted layer."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    student = Student(nn.Sequential(*before, layer), "all", r=1, lora_alpha=1, lora_dropout=0.5)
    a, b = student.trainable().values()
    nn.init.ones_(a)
    b.data.copy_(torch.tensor([LOG_3, 0.0]).view_as(b))
    return student


def trainer(network: nn.Module, *, inferer: Inferer | None = None) -> SupervisedTrainer:
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[],
        network=network,
        optimizer=torch.optim.SGD([parameter for parameter in network.parameters() if parameter.requires_grad], 0.1),
        loss_function=lambda logits, label: (logits - label).square().mean().sqrt(),  # no mean over cases
        inferer=inferer or SimpleInferer(),
        decollate=False,
    )


def cases(values: Sequence[float], shape: Sequence[int] = (1, 4, 4), batch: int = 2) -> DataLoader:
    """Cases whose image is one value everywhere, with a label of zeros."""
    images = [torch.full(tuple(shape), float(value)) for value in values]
    return DataLoader(Dataset([{IMAGE: image, LABEL: torch.zeros_like(image)} for image in images]), batch_size=batch)


@pytest.fixture
def student() -> Student:
    return answering(nn.Conv2d(1, 2, 1))


@pytest.fixture
def classifier() -> Student:
    return answering(nn.Linear(1, 2), nn.Flatten())


class TestMeanCaseLoss:
    @pytest.mark.parametrize("batch", [1, 2, 3])
    def test_it_is_the_mean_over_cases_however_they_are_batched(self, student, batch):
        loss = mean_case_loss(trainer(student), lambda image: image, cases([1, 2, 6], batch=batch))
        assert loss == pytest.approx(3)

    def test_it_is_that_of_whoever_answers(self, student):
        engine, loader = trainer(student), cases([1, 2, 6])
        assert mean_case_loss(engine, student.teacher, loader) == 0
        assert mean_case_loss(engine, student, loader) == pytest.approx(3 * LOG_3 / math.sqrt(2))

    def test_dropout_is_off_and_nothing_learns(self, student):
        student.train()
        loader = cases([1, 2, 6])  # MONAI seeds anew with every loader that is made
        losses = {mean_case_loss(trainer(student), student, loader) for _ in range(3)}
        assert len(losses) == 1
        assert not student.training
        assert all(parameter.grad is None for parameter in student.parameters())

    def test_the_trainers_inferer_makes_the_answers(self, student):
        seen = []

        def predict(window):
            seen.append(tuple(window.shape[2:]))
            return window

        windows = SlidingWindowInferer(roi_size=(2, 2), sw_batch_size=3, overlap=0)
        assert mean_case_loss(trainer(student, inferer=windows), predict, cases([1, 2, 6])) == pytest.approx(3)
        assert set(seen) == {(2, 2)}

    def test_whole_cases_bring_an_inferer_of_their_own(self, student):
        whole = SlidingWindowInferer(roi_size=(2, 2), sw_batch_size=1, overlap=0)
        seen = []

        def predict(window):
            seen.append(tuple(window.shape[2:]))
            return window

        assert mean_case_loss(trainer(student), predict, cases([1, 2, 6]), whole) == pytest.approx(3)
        assert set(seen) == {(2, 2)}


class TestDelta:
    def test_independent_channels(self, student):
        found = margins(trainer(student), cases([1, 2, 0]), softmax=False, feature_layer=None)
        # per case: the mean of |3/4 - 1/2| and 0, of |9/10 - 1/2| and 0, and 0
        assert found.delta == pytest.approx((0.125 + 0.2 + 0) / 3)

    def test_one_softmax(self, student):
        found = margins(trainer(student), cases([1, 2, 0]), softmax=True, feature_layer=None)
        assert found.delta == pytest.approx((0.25 + 0.4 + 0) / 3)

    def test_classes(self, classifier):
        found = margins(trainer(classifier), cases([1, 2, 0], shape=(1,)), softmax=True, feature_layer=None)
        assert found.delta == pytest.approx((0.25 + 0.4 + 0) / 3)

    @pytest.mark.parametrize("layer", [None, "0"])
    def test_it_does_not_depend_on_the_batches(self, student, layer):
        found = {
            batch: margins(trainer(student), cases([1, 2, 0], batch=batch), softmax=False, feature_layer=layer)
            for batch in (1, 2, 3)
        }
        for batch in (2, 3):
            assert found[batch].delta == pytest.approx(found[1].delta)
            assert found[batch].epsilon == pytest.approx(found[1].epsilon)

    def test_it_is_absolute(self, student):
        found = margins(trainer(student), cases([1, -1]), softmax=False, feature_layer=None)
        assert found.delta == pytest.approx(0.125)

    def test_it_is_zero_before_anything_is_learned(self):
        student = Student(nn.Sequential(nn.Conv2d(1, 2, 1)), "all", r=1)
        found = margins(trainer(student), cases([1, 2]), softmax=False, feature_layer="0")
        assert (found.delta, found.epsilon) == (0, 0)


class TestEpsilon:
    def test_it_is_the_distance_of_the_features(self, student):
        found = margins(trainer(student), cases([1, 2, 0]), softmax=False, feature_layer="0")
        assert found.epsilon == pytest.approx(LOG_3 * (1 + 2 + 0) / 3)
        assert found.feature_layer == "0"

    def test_the_features_are_averaged_over_space_first(self, student):
        image = torch.tensor([[2.0, 2.0], [-1.0, 1.0]]).expand(1, 1, 2, 2)  # its mean is 1
        loader = DataLoader(Dataset([{IMAGE: image[0], LABEL: image[0]}]))
        assert margins(trainer(student), loader, softmax=False, feature_layer="0").epsilon == pytest.approx(LOG_3)

    def test_features_of_a_classifier_are_taken_as_they_are(self, classifier):
        found = margins(trainer(classifier), cases([1, 2, 0], shape=(1,)), softmax=True, feature_layer="1")
        assert found.epsilon == pytest.approx(LOG_3)

    def test_features_before_the_first_adapter_are_the_teachers(self, classifier):
        found = margins(trainer(classifier), cases([1, 2, 0], shape=(1,)), softmax=True, feature_layer="0")
        assert found.epsilon == 0

    def test_there_is_none_without_a_layer(self, student):
        found = margins(trainer(student), cases([1, 2, 0]), softmax=False, feature_layer=None)
        assert (found.epsilon, found.feature_layer) == (None, None)

    @pytest.mark.parametrize("windows", [1, 3, 4])
    def test_windows_of_student_and_teacher_are_compared_with_each_other(self, student, windows):
        inferer = SlidingWindowInferer(roi_size=(2, 2), sw_batch_size=windows, overlap=0)
        image = torch.tensor([[1.0, 2.0], [0.0, -5.0]]).repeat_interleave(2, 0).repeat_interleave(2, 1)[None]
        loader = DataLoader(Dataset([{IMAGE: value * image, LABEL: image} for value in (1, 2, 0)]), batch_size=2)
        found = margins(trainer(student, inferer=inferer), loader, softmax=False, feature_layer="0")
        # the mean of |x| over windows is 2, times 1, 2 and 0; over images it would be 1/2
        assert found.epsilon == pytest.approx(LOG_3 * 2)
        alone = margins(trainer(student), loader, softmax=False, feature_layer=None)
        assert found.delta == pytest.approx(alone.delta)
        assert found == margins(trainer(student), loader, softmax=False, feature_layer="0", inferer=inferer)

    def test_of_a_whole_volume_no_more_than_pooled_windows_is_kept(self, student, monkeypatch):
        kept = []
        cat = torch.cat

        def watched(tensors, *arguments, **options):
            kept.extend(tuple(tensor.shape) for tensor in tensors)
            return cat(tensors, *arguments, **options)

        monkeypatch.setattr("mu_monai.measure.probes.torch.cat", watched)
        windows = SlidingWindowInferer(roi_size=(2, 2), sw_batch_size=1, overlap=0)
        margins(trainer(student), cases([1, 2], batch=1), softmax=False, feature_layer="0", inferer=windows)
        assert set(kept) == {(1, 2)}, "one value a channel"


def test_measuring_leaves_the_student_as_it_was(student):
    student.train()
    before, loader = {name: value.clone() for name, value in student.state_dict().items()}, cases([1, 2])
    found = {margins(trainer(student), loader, softmax=False, feature_layer="0") for _ in range(3)}
    assert len(found) == 1, "dropout is off"
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert not any(module._forward_hooks for module in student.modules())
    assert all(parameter.grad is None for parameter in student.parameters())


def test_losses_of_cases_and_patients_are_kept_apart(student):
    rows = [
        {IMAGE: torch.full((1, 4, 4), value), LABEL: torch.zeros(1, 4, 4), CASE_ID: case, PATIENT_ID: patient}
        for value, case, patient in [(1.0, "a1", "a"), (3.0, "a2", "a"), (5.0, "b1", "b")]
    ]
    loader, engine = DataLoader(Dataset(rows), batch_size=2), trainer(student)
    found = case_losses(engine, lambda image: image, loader)
    assert [(case, patient) for case, patient, _ in found] == [("a1", "a"), ("a2", "a"), ("b1", "b")]
    assert [loss for _, _, loss in found] == pytest.approx([1, 3, 5])
    assert patient_losses(engine, lambda image: image, loader) == pytest.approx([2, 5])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_cannot_be_compared_is_refused_by_its_case(student, value):
    rows = [
        {IMAGE: torch.full((1, 4, 4), loss), LABEL: torch.zeros(1, 4, 4), CASE_ID: case, PATIENT_ID: case}
        for loss, case in [(1.0, "a"), (value, "b")]
    ]
    with pytest.raises(InputError, match=rf"the loss of case 'b' is {value}, which cannot be compared"):
        patient_losses(trainer(student), lambda image: image, DataLoader(Dataset(rows), batch_size=2))
