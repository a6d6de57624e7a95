"""Small models that were trained in shards, and splits that forget some of their patients."""

from functools import cache
from pathlib import Path

import pytest

from mu_monai import workflow
from mu_monai.data import ForgetIds, open_split, phantom_split, reselect, write_split
from mu_monai.data.shards import only
from mu_monai.keys import FORGET, RETAIN, TEST, VALIDATION
from mu_monai.runs.shards import read_shards, shard_split

KINDS = {
    "masks": ("isic", "lesions"),
    "volumes": ("volume3d", "volumes"),
    "classes": ("isic_classification", "classes"),
}
SETTINGS = ["max_epochs=2", "learning_rate=0.01"]


@pytest.fixture(scope="session")
def private(tmp_path_factory):
    """A split for each kind of images, other than those of the bases; nobody is to be forgotten yet."""
    folder = tmp_path_factory.mktemp("private")

    @cache
    def made(kind):
        file = folder / f"{kind}.json"
        split = open_split(
            phantom_split(KINDS[kind][1], folder / kind, patients=10, images_per_patient=1, size=32, seed=3)
        )
        cases = split.located
        parts = {RETAIN: [*cases[RETAIN], *cases[FORGET]], VALIDATION: cases[VALIDATION], TEST: cases[TEST]}
        return write_split(file, only(split, parts))

    return made


@pytest.fixture(scope="session")
def train(teachers, private):
    """Trains a kind in shards."""

    def run(kind, out, split=None, **options):
        bundle = KINDS[kind][0]
        return workflow.train_shards(
            bundle,
            split=split or private(kind),
            out=out,
            **{"base": teachers[bundle], "shards": 3, "settings": SETTINGS, "quiet": True} | options,
        )

    return run


@pytest.fixture(scope="session")
def sharded(tmp_path_factory, train):
    """The run of each kind; tests copy it if they change it."""
    folder = tmp_path_factory.mktemp("sharded")
    return cache(lambda kind: train(kind, folder / kind))


@pytest.fixture
def refit(tmp_path, sharded):
    """Forgets exactly."""

    def run(kind, split, name="new", teacher=None, **options):
        teacher = teacher or sharded(kind)
        return workflow.unlearn_exactly(
            KINDS[kind][0], split=split, teacher=teacher, out=tmp_path / name, quiet=True, **options
        )

    return run


@pytest.fixture
def request_for(tmp_path):
    """A split that also forgets patients, made from another one."""

    def make(split, *patients, name="request"):
        return write_split(tmp_path / f"{name}.json", reselect(open_split(split), ForgetIds(patients)))

    return make


def members(run: Path) -> dict[str, list[str]]:
    """The patients of each shard of a run."""
    return {
        shard.name: sorted(open_split(shard_split(run, shard)).patients(RETAIN)) for shard in read_shards(run).shards
    }


@pytest.fixture
def patients_of():
    return members
