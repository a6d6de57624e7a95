"""What a training is told to train on."""

import json

import pytest

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.keys import FORGET, RETAIN


@pytest.fixture(params=["train", "shards", "folds"])
def trained(request, phantom_splits, teachers, tmp_path):
    """A training, one in shards, and one in folds."""
    given = {"split": phantom_splits["isic"], "out": tmp_path / "run"}
    verbs = {
        "train": (workflow.train, {}),
        "shards": (workflow.train_shards, {"base": teachers["isic"], "shards": 2}),
        "folds": (workflow.train_folds, {"folds": 2}),
    }
    verb, own = verbs[request.param]
    return lambda **options: verb("isic", **given, **own, **options)


@pytest.mark.parametrize("how", ["settings", "overlays"])
def test_subsets_that_a_setting_or_a_file_names_otherwise_are_refused(trained, tmp_path, how):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"subsets": [RETAIN]}))
    named = {"settings": [f'subsets=["{RETAIN}"]'], "overlays": [str(file)]}[how]
    said = r'--set or --overlay has subsets=\["retain"\], and --subsets is retain,forget; say with --subsets alone'
    with pytest.raises(InputError, match=said):
        trained(**{how: named}, subsets=[RETAIN, FORGET])
    assert not (tmp_path / "run").exists()
