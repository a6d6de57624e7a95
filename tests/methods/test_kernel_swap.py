"""Kernel swap: which kernels are swapped, in masks and volumes, and what follows."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from mu_monai.adapters import Student
from mu_monai.adapters.rewriting import swap_kernel_axes
from mu_monai.errors import InputError
from mu_monai.methods import KernelSwap


def pictures():
    """A classifier of the four numbers as a picture of 2 x 2."""
    torch.manual_seed(3)
    layers = [nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.Flatten(), nn.PReLU(), nn.Linear(3, 3)]
    return nn.Sequential(*layers).eval()


def test_the_step_after_the_swap_is_supervised(small, loss_of):
    run = small(KernelSwap, lr_schedule="constant", options={"plain": pictures})
    with torch.no_grad():
        run.teacher[1].weight.copy_(run.teacher[1].weight.transpose(2, 3).clone())
    torch.testing.assert_close(run.run(), run.stepped(lambda network: loss_of(network, run.retain), 0.1))
    assert run.method.measurements(run.trainer)["damage"] == {"layers": ["1"]}


def test_the_last_two_axes_are_swapped_and_nothing_else():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv3d(1, 2, 3), nn.Conv3d(2, 2, (3, 3, 1)), nn.Conv3d(2, 2, (1, 3, 3)), nn.ConvTranspose3d(2, 2, 2)),
        *(nn.Conv3d(2, 1, 1), nn.BatchNorm3d(1)),
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    student = Student(network, trainable="all")
    assert swap_kernel_axes(student) == ["0", "2", "3"]
    for name, value in student.merged().state_dict().items():
        swapped = name in ("0.weight", "2.weight", "3.weight")
        assert torch.equal(value, before[name].transpose(-1, -2) if swapped else before[name]), name
    swap_kernel_axes(student)
    assert all(torch.equal(value, before[name]) for name, value in student.merged().state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in student.reverted().state_dict().items())


@torch.no_grad()
def test_a_network_of_convolutions_is_then_the_original_behind_a_mirror():
    torch.manual_seed(0)
    network = UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    student, image = Student(network.eval(), trainable="all"), torch.rand(2, 1, 16, 16)
    swap_kernel_axes(student)
    mirrored = student.teacher(image.transpose(2, 3)).transpose(2, 3)
    torch.testing.assert_close(student(image), mirrored)
    assert not torch.allclose(student(image), student.teacher(image))


def test_a_network_without_convolutions_is_refused(small):
    with pytest.raises(InputError, match=r"Sequential has no convolutions, .* such as weight-distortion"):
        small(KernelSwap).run()


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, (3, 1)), nn.Conv1d(1, 1, 3)])
def test_kernels_that_cannot_be_swapped_are_refused(layer):
    with pytest.raises(InputError, match="nothing to swap; use another method"):
        swap_kernel_axes(Student(nn.Sequential(layer), trainable="all"))


def test_adapters_are_refused(small):
    with pytest.raises(InputError, match=r"not a low-rank change, .* use network#trainable=all"):
        small(KernelSwap, options={"network": {"trainable": "adapters"}, "plain": pictures}).run()
