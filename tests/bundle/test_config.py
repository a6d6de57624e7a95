"""Reading configs, and running them: what several of them share."""

from __future__ import annotations

import json
import shutil

import pytest

from mu_monai import workflow
from mu_monai.bundle.config import run_config, sharing_data
from mu_monai.bundle.find import shipped_bundles
from mu_monai.errors import InputError


class TestSharing:
    """Images are read once for configs that read them alike."""

    @pytest.fixture
    def config(self, tmp_path):
        """A config that reads numbers as its images, and lists what it was given."""

        def write(**values):
            file = tmp_path / "configs" / "run.json"
            file.parent.mkdir(exist_ok=True)
            content = {
                "images": [1, 2],
                "factor": 2,
                "rate": 0.1,
                "datasets": "$[[number * @factor for number in @images]]",
                "scorer": "$@datasets",
                "initialize": [],
                "run": [],
            }
            file.write_text(json.dumps(content | values))
            (file.parent / "metadata.json").write_text("{}")
            return [str(file)]

        return write

    @staticmethod
    def data(files, **overrides):
        return run_config(files, overrides).parser.get_parsed_content("datasets")

    def test_the_same_images_are_read_once(self, config):
        with sharing_data():
            first, again = (self.data(config(rate=rate)) for rate in (0.1, 0.2))
        assert first is again
        assert first == [[2, 4]]

    def test_what_they_are_made_of_makes_others(self, config):
        with sharing_data():
            first = self.data(config())
            assert self.data(config(images=[3])) == [[6]]
            assert self.data(config(), factor=3) == [[3, 6]]
            assert self.data(config()) is first

    def test_nothing_is_kept_without_being_asked_for_or_afterward(self, config):
        with sharing_data():
            first = self.data(config())
        assert self.data(config()) is not first
        assert self.data(config()) == first


@pytest.mark.parametrize("name", ["train", "metadata"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"run_folder": "mu_monai.engine.RunFolder", ]', "is not valid JSON"),
        ('["mu_monai.engine.RunFolder"]', "it holds a list instead of a mapping"),
        ('{"\\ud800": 1}', "is not valid JSON"),
    ],
)
def test_a_file_that_is_no_config_is_named(name, text, told, tmp_path):
    bundle = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
    file = bundle / "configs" / f"{name}.json"
    file.write_text(text)
    with pytest.raises(InputError) as refusal:
        workflow.train(bundle, split=None, out=tmp_path / "run", quiet=True)
    assert str(file) in str(refusal.value)
    assert told in str(refusal.value)


def test_a_bundle_without_metadata_is_told(tmp_path):
    bundle = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
    (bundle / "configs" / "metadata.json").unlink()
    with pytest.raises(InputError, match=r"metadata.json' does not exist"):
        workflow.train(bundle, split=None, out=tmp_path / "run", quiet=True)
