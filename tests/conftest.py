"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch

# Two threads per process on two cores are many times slower than one, and weights of a test's own process and of a
# command that it starts agree bit for bit only if both use as many.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("MU_MONAI_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"no real images at {folder}; set MU_MONAI_DATA to a folder with chase_db1/, isic_lesion/ and isic9/"
        )
    return folder


@pytest.fixture(scope="session")
def phantom_splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small split of phantoms for each bundle."""
    from mu_monai.data import phantom_split

    folder = tmp_path_factory.mktemp("phantoms")
    return {
        bundle: phantom_split(kind, folder / kind, patients=7, size=32)
        for bundle, kind in (("isic", "lesions"), ("chase", "vessels"), ("isic_classification", "classes"))
    }


@pytest.fixture
def tiny() -> list[str]:
    """Settings that shrink a bundle's network and images, so that a run takes a second."""
    return ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]", "image_size=[32, 32]"]


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory, phantom_splits: dict[str, str]) -> dict[str, Path]:
    """A trained teacher for each bundle, as a run folder."""
    from mu_monai import workflow

    unet = ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]"]
    resnet = ["network_def#layers=[1, 1, 1, 1]", "network_def#block_inplanes=[4, 8, 16, 32]"]
    networks = {"isic": unet, "chase": unet, "isic_classification": resnet}
    settings = ["image_size=[32, 32]", "max_epochs=2"]
    folder = tmp_path_factory.mktemp("teachers")
    return {
        bundle: workflow.train(
            bundle, split=split, out=folder / bundle, settings=[*networks[bundle], *settings], quiet=True
        )
        for bundle, split in phantom_splits.items()
    }
