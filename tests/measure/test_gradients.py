"""The gradients of single cases."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss

from mu_monai.measure import case_gradients


@pytest.fixture
def make_trainer(loaders):
    def make(network):
        return SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=loaders["retain"],
            network=network,
            optimizer=torch.optim.Adam(network.parameters()),
            loss_function=DiceCELoss(sigmoid=True),
            decollate=False,
        )

    return make


@pytest.fixture
def gradients(make_trainer, make_student, loaders):
    def find(batch_size):
        network = make_student(lora_dropout=0.5)
        trainer = make_trainer(network)
        weights = list(network.trainable().values())
        return torch.stack(list(case_gradients(trainer, DataLoader(loaders["forget"].dataset, batch_size), weights)))

    return find


def test_there_is_one_per_case_and_batches_do_not_matter(gradients, loaders):
    one, together = gradients(1), gradients(3)
    assert len(one) == len(loaders["forget"].dataset)
    torch.testing.assert_close(one, together)
    assert not torch.equal(one[0], one[1])


def test_their_mean_is_that_of_the_mean_loss(make_trainer, make_student, loaders):
    network = make_student().eval()
    trainer, weights = make_trainer(network), list(network.trainable().values())
    mean = torch.stack(list(case_gradients(trainer, loaders["forget"], weights))).mean(0)
    cases = loaders["forget"].dataset
    losses = [trainer.loss_function(network(case["image"][None]), case["label"][None]) for case in cases]
    expected = torch.autograd.grad(sum(losses) / len(losses), weights)
    torch.testing.assert_close(mean, torch.cat([gradient.flatten() for gradient in expected]))


def test_what_the_loss_does_not_depend_on_has_a_gradient_of_zero(make_trainer, make_student, loaders):
    network = make_student()
    weights = [torch.nn.Parameter(torch.ones(2)), *network.trainable().values()]
    first = next(case_gradients(make_trainer(network), loaders["forget"], weights))
    assert first[:2].tolist() == [0, 0]
    assert first.any()
