"""Networks with several answers give one, and stay what they are otherwise."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn

from mu_monai.adapters import Student, first_answer
from mu_monai.errors import InputError


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DynUNet(
        spatial_dims=2, in_channels=1, out_channels=2, kernel_size=[3, 3, 3], strides=[1, 2, 2],
        upsample_kernel_size=[2, 2], filters=[2, 4, 4], deep_supervision=True, deep_supr_num=1,
    )  # fmt: skip


def test_stacked_answers_give_the_one_at_full_resolution(network):
    image, state = torch.rand(2, 1, 16, 16), network.state_dict()
    with torch.no_grad():
        stacked = network.train()(image)
    assert stacked.shape == (2, 2, 2, 16, 16)
    one = first_answer(copy.deepcopy(network))
    assert torch.equal(one(image), stacked[:, 0])
    assert one.state_dict().keys() == state.keys()
    assert isinstance(one, DynUNet)
    assert torch.equal(copy.deepcopy(one)(image), stacked[:, 0])


def test_training_may_keep_all_answers(network):
    image, one = torch.rand(2, 1, 16, 16), first_answer(network, in_training=False)
    assert one.train()(image).ndim == 5
    assert one.eval()(image).shape == (2, 2, 16, 16)


def test_a_student_of_it_gives_one_answer(network):
    image = torch.rand(2, 1, 16, 16)
    expected = first_answer(copy.deepcopy(network)).eval()(image)
    student = Student(first_answer(network), scope="decoder").train()
    assert torch.equal(student.teacher(image), expected)
    assert student(image).shape == expected.shape
    assert torch.equal(student.merged()(image), expected)


def test_an_answer_without_a_first_is_refused():
    class Named(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x)}

    with pytest.raises(InputError, match="answers with a dict, and runs need a tensor"):
        first_answer(Named(2, 1))(torch.zeros(1, 2))
