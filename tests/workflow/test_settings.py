"""Values of `--set` that would train and leave a run that nobody can read are refused before anything starts."""

from __future__ import annotations

import pytest

from mu_monai import workflow
from mu_monai.errors import InputError

REFUSED = [
    ('subsets=["test"]', '--set or --overlay has subsets=["test"], and --subsets is retain,forget; say with --subsets'),
    ('subsets#1="test"', '--set or --overlay has subsets=["retain", "test"], and --subsets is retain,forget'),
    ('subsets="retain"', '--set or --overlay has subsets="retain", and --subsets is retain,forget'),
    ("subsets=[]", "--set or --overlay has subsets=[], and --subsets is retain,forget"),
    ("max_epochs=true", "--set max_epochs=true is not allowed; use a whole number of at least 1"),
    ("seed=null", "--set seed=null is not allowed; use a whole number of at least 0"),
    ("seed=true", "--set seed=true is not allowed; use a whole number of at least 0"),
    ("seed=one", "--set seed=one is not allowed; use a whole number of at least 0"),
    ("seed=-1", "--set seed=-1 is not allowed; use a whole number of at least 0"),
    ("bundle_name=5", "a run's bundle, name holds a whole number (5) instead of text; check the --set values"),
    ("nothing#at_all=1", "--set 'nothing#at_all' is not an id of this config; the closest are"),
]


@pytest.mark.parametrize(("setting", "told"), REFUSED)
def test_a_training_that_could_not_be_read_does_not_start(setting, told, phantom_splits, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InputError) as refusal:
        workflow.train(
            "isic", split=phantom_splits["isic"], out=out, settings=["max_epochs=1", setting], quiet=True, device="cpu"
        )
    assert told in str(refusal.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("max_epochs=true", "--set max_epochs=true is not allowed; use a whole number of at least 1"),
        ("seed=null", "--set seed=null is not allowed; use a whole number of at least 0"),
        ("network#r=true", "LoRA rank r=True is not allowed; use an integer of at least 1"),
        ("nothing#at_all=1", "--set 'nothing#at_all' is not an id of this config; the closest are"),
    ],
)
def test_an_unlearning_that_could_not_be_read_does_not_start(setting, told, phantom_splits, teachers, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InputError) as refusal:
        workflow.unlearn(
            "isic", split=phantom_splits["isic"], teacher=teachers["isic"], out=out, settings=[setting], quiet=True
        )
    assert told in str(refusal.value)
    assert not out.exists()
