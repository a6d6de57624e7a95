"""Small UNets with lively weights and statistics, and a few training steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from mu_monai.adapters import Student


def build_unet(dims: int = 2, res_units: int = 2, seed: int = 0) -> UNet:
    """A UNet in evaluation mode whose BatchNorm statistics are no longer the initial ones."""
    torch.manual_seed(seed)
    network = UNet(
        spatial_dims=dims,
        in_channels=1,
        out_channels=1,
        channels=(4, 8, 16),
        strides=(2, 2),
        num_res_units=res_units,
        norm="batch",
    )
    network.train()
    with torch.no_grad():
        network(torch.randn(4, 1, *(8,) * dims) * 2 + 1)
    return network.eval()


def take_steps(student: Student, image: torch.Tensor, steps: int = 3, rate: float = 0.1) -> Student:
    """Train toward background, and leave the student in evaluation mode."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(student.trainable().values(), lr=rate)
    student.train()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.softplus(student(image)).mean().backward()
        optimizer.step()
    student.eval()
    return student


@pytest.fixture
def make_unet() -> Callable[..., UNet]:
    return build_unet


@pytest.fixture
def train_steps() -> Callable[..., Student]:
    return take_steps


@pytest.fixture(params=[(2, 0), (2, 2), (3, 0), (3, 2)], ids=["2d-res0", "2d-res2", "3d-res0", "3d-res2"])
def unet(request: pytest.FixtureRequest) -> UNet:
    """UNets in 2D and 3D, without and with residual units."""
    return build_unet(*request.param)


@pytest.fixture
def image(unet: UNet) -> torch.Tensor:
    """A batch of two images of the size that fits `unet`."""
    return torch.randn(2, 1, *(16,) * unet.dimensions, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def trained(unet: UNet, image: torch.Tensor) -> Student:
    """A student of `unet` after a few steps; `unet` itself is changed in place."""
    return take_steps(Student(unet, r=2, lora_dropout=0.2), image)


@pytest.fixture
def adapter(trained: Student, tmp_path: Path) -> Path:
    """The trained student's adapter folder."""
    trained.save(tmp_path / "adapter")
    return tmp_path / "adapter"
