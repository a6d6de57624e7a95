"""Fixtures that every test may use."""

import logging
import os
import sys
from pathlib import Path

import pytest
import torch

from mu_monai import cli

# Two threads per process on two cores are many times slower than one, and weights of a test's own process and of a
# command that it starts agree bit for bit only if both use as many.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

REPOSITORY = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker, whose fixtures they share, unless they say otherwise."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture
def mu_monai(monkeypatch, capsys):
    """Calls `main` as the console script does; gives exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mu-monai", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    yield run
    logging.getLogger("mu_monai").setLevel(logging.NOTSET)  # which commands set, for a process of their own


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


# What shrinks a bundle's network and its images, so that an epoch takes a second.
_UNET = ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]"]
_RESNET = ["network_def#layers=[1, 1, 1, 1]", "network_def#block_inplanes=[4, 8, 16, 32]"]
_IMAGES = ["image_size=[32, 32]"]
_VOLUMES = ["patch_size=[16, 16, 16]", "spacing=[4, 4, 4]"]
_SMALL = {
    "isic": (_UNET, _IMAGES),
    "chase": (_UNET, _IMAGES),
    "isic_classification": (_RESNET, _IMAGES),
    "volume3d": (_UNET, _VOLUMES),
}


@pytest.fixture(scope="session")
def phantom_splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small split of phantoms for each bundle."""
    from mu_monai.data import phantom_split

    folder = tmp_path_factory.mktemp("phantoms")
    kinds = {"isic": "lesions", "chase": "vessels", "isic_classification": "classes"}
    splits = {bundle: phantom_split(kind, folder / kind, patients=7, size=32) for bundle, kind in kinds.items()}
    volumes = phantom_split("volumes", folder / "volumes", patients=10, images_per_patient=1, size=32)
    return splits | {"volume3d": volumes}


@pytest.fixture
def tiny() -> list[str]:
    """Settings that shrink the network and the images of the bundles for 2D masks, so that a run takes a second."""
    return [*_UNET, *_IMAGES]


@pytest.fixture(scope="session")
def small_images() -> dict[str, list[str]]:
    """Settings that shrink each bundle's images, and leave its network as it is."""
    return {bundle: images for bundle, (_, images) in _SMALL.items()}


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory, phantom_splits: dict[str, str]) -> dict[str, Path]:
    """A trained teacher for each bundle, as a run folder."""
    from mu_monai import workflow

    folder = tmp_path_factory.mktemp("teachers")
    return {
        bundle: workflow.train(
            bundle,
            split=split,
            out=folder / bundle,
            settings=[*_SMALL[bundle][0], *_SMALL[bundle][1], "max_epochs=2"],
            quiet=True,
        )
        for bundle, split in phantom_splits.items()
    }
