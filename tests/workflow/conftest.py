"""Runs to release: a student of every bundle, made in a second."""

from functools import cache

import pytest

from mu_monai import workflow

_QUICK = ["max_epochs=2", "learning_rate=0.01", "batch_size=4"]


@pytest.fixture(scope="session")
def unlearned(tmp_path_factory, teachers, phantom_splits):
    """The run of a bundle's student, by the bundle's name."""
    folder = tmp_path_factory.mktemp("unlearned")

    @cache
    def run(bundle):
        settings = [text for text in _QUICK if bundle != "volume3d" or "batch" not in text]
        return workflow.unlearn(
            bundle,
            split=phantom_splits[bundle],
            teacher=teachers[bundle],
            out=folder / bundle,
            settings=settings,
            quiet=True,
        )

    return run


@pytest.fixture(scope="session")
def released(tmp_path_factory, unlearned):
    """The folder that was released of it; tests only look at it, or copy it."""
    folder = tmp_path_factory.mktemp("released")
    return cache(lambda bundle: workflow.release(unlearned(bundle), out=folder / bundle))
