"""Fixtures that every test may use."""

import base64
import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.networks.nets import UNet

from mu_monai import cli
from mu_monai.adapters import Student
from mu_monai.keys import IMAGE, SUBSETS

# Two threads per process on two cores are many times slower than one, and weights of a test's own process and of a
# command that it starts agree bit for bit only if both use as many.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

LONG = ("test_campaign.py", "test_failing.py", "test_data_sets.py")
REPOSITORY = Path(__file__).parents[1]


def pytest_collection_finish() -> None:
    """Leave what was imported out of every later search for garbage, which takes a third of a second with it."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no coverage around processes of their own, where there is none, and where others cover the parts."""
    for item in items:
        if item.get_closest_marker("end_to_end") or item.path.name in LONG:
            item.add_marker(pytest.mark.no_cover)


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


@pytest.fixture(autouse=True)
def figures_of_one_pixel(monkeypatch, request):
    """Drawing takes most of a report's time, and tests/report alone looks at the figures."""
    if "report" in request.path.parts:
        return
    pixel = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    )
    monkeypatch.setattr("mu_monai.report.page.png", lambda figure: pixel)


@pytest.fixture(autouse=True, scope="session")
def files_need_not_outlast_a_power_cut():
    """Writing a file to disk at once takes milliseconds, and tests write many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


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


def build_unet(seed: int = 0) -> UNet:
    torch.manual_seed(seed)
    network = UNet(2, 1, 1, channels=(4, 8), strides=(2,), num_res_units=2, norm="batch").train()
    with torch.no_grad():
        network(torch.randn(4, 1, 16, 16) + 1)  # statistics that are no longer the initial ones
    return network.eval()


def build_student(**settings: Any) -> Student:
    return Student(build_unet(), **{"r": 2, "lora_alpha": 8, **settings})


def build_cases(subset: str, number: int) -> list[dict[str, Any]]:
    """Noise with a bright square, which is the mask; ids in descending order."""
    generator = torch.Generator().manual_seed(sorted(SUBSETS).index(subset))
    cases = []
    for index in reversed(range(number)):
        label = torch.zeros(1, 16, 16)
        top = 2 + index
        label[:, top : top + 6, top : top + 6] = 1
        image = torch.randn(1, 16, 16, generator=generator) * 0.3 + label
        ids = {"case_id": f"{subset}-{index}", "patient_id": f"{subset}-p{index // 2}"}
        cases.append({IMAGE: image, "label": label, **ids})
    return cases


@pytest.fixture
def make_unet() -> Callable[..., UNet]:
    return build_unet


@pytest.fixture
def make_student() -> Callable[..., Student]:
    return build_student


@pytest.fixture
def make_cases() -> Callable[..., list[dict[str, Any]]]:
    return build_cases


@pytest.fixture
def datasets() -> dict[str, Dataset]:
    """Small cases of every subset."""
    sizes = {"retain": 6, "forget": 4, "validation": 3, "test": 3}
    return {name: Dataset(build_cases(name, sizes[name])) for name in SUBSETS}


@pytest.fixture
def loaders(datasets: dict[str, Dataset]) -> dict[str, DataLoader]:
    """Batches of them."""
    return {name: DataLoader(dataset, batch_size=2) for name, dataset in datasets.items()}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Installs a package of one module, with entry points for methods: a name each, and where it leads to."""
    from mu_monai.methods.registry import _of_other_packages

    modules = []

    def install(package: str, source: str, version: str = "1.0", **methods: str) -> Path:
        folder, module = tmp_path / f"site-{package}", package.replace("-", "_")
        modules.append(module)
        about = folder / f"{module}-{version}.dist-info"
        about.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = [f"{name.replace('_', '-')} = {place}" for name, place in methods.items()]
        (about / "entry_points.txt").write_text("\n".join(["[mu_monai.methods]", *lines]) + "\n")
        monkeypatch.syspath_prepend(str(folder))
        _of_other_packages.cache_clear()
        return folder

    _of_other_packages.cache_clear()
    yield install
    monkeypatch.undo()
    _of_other_packages.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def fading() -> str:
    """The source of a method that can forget cases and classes: it pulls all that trains to zero."""
    return '''
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.engines import SupervisedTrainer

from mu_monai.keys import LOSS
from mu_monai.methods import UnlearningMethod
from mu_monai.methods.settings import COUNT, Interval, Several, setting


@dataclass(kw_only=True)
class Fading(UnlearningMethod):
    """Pull the weights to zero, whoever they remember."""

    paper = "nobody's"
    cost = "retain"
    recipe = {"preset": None, "network::trainable": "all", "max_epochs": 1, "learning_rate": 1e-3}
    trials = ({}, {"method::strength": 0.9})
    forgets_classes = True

    strength: float = setting(0.5, Interval(0, 1))
    forget_classes: Sequence[int] = setting([], Several(COUNT, "channels from 1 on"))

    def on_loss(self, engine: SupervisedTrainer) -> None:
        """Add the size of the weights to the loss."""
        size = torch.stack([weight.abs().sum() for weight in engine.network.trainable().values()]).sum()
        self.record(engine, "size", size)
        engine.state.output[LOSS] = engine.state.output[LOSS] + self.strength * size
'''
