"""A bundle is found once, and says what its configs say."""

import json
import shutil

import pytest

from mu_monai import workflow
from mu_monai.bundle import find, open_bundle, opened, shipped_bundles
from mu_monai.errors import InputError


@pytest.mark.parametrize("name", shipped_bundles())
def test_a_shipped_bundle_has_one_name_presets_and_a_version(name):
    bundle = open_bundle(name)
    assert (bundle.names, bundle.folder.name) == ([name], name)
    assert bundle.version == json.loads((bundle.configs / "metadata.json").read_text())["version"]
    assert "paper" in bundle.presets
    assert bundle.preset(None) == []
    assert bundle.preset("paper") == ["paper"]


def test_what_it_does_not_have_is_refused_with_what_it_has(tmp_path):
    bundle = open_bundle("isic")
    with pytest.raises(InputError, match=r"papper.*did you mean 'paper'"):
        bundle.preset("papper")
    with pytest.raises(InputError) as caught:
        bundle.files("trian", ["nowhere.json"])
    assert [problem.split("'")[1] for problem in caught.value.problems] == ["trian", "nowhere.json"]
    with pytest.raises(InputError, match="is neither a folder"):
        open_bundle(tmp_path)


def test_code_and_configs_have_digests_of_their_own(tmp_path):
    place = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
    before = open_bundle(place)
    first = before.code_sha256, before.configs_sha256
    assert first == (open_bundle("isic").code_sha256, open_bundle("isic").configs_sha256)
    (place / "own.py").write_text("")
    (place / "docs" / "notes.json").write_text("{}")
    other = open_bundle(place)
    assert other.code_sha256 != first[0]
    assert other.configs_sha256 == first[1]
    (place / "configs" / "extra.yml").write_text("a: 1")
    assert open_bundle(place).configs_sha256 != first[1]
    assert open_bundle(place).code_sha256 == other.code_sha256


def test_a_bundle_of_several_names_shows_them(tmp_path):
    shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
    file = tmp_path / "isic/configs/evaluate.json"
    file.write_text(file.read_text().replace('"bundle_name": "isic"', '"bundle_name": "other"'))
    assert open_bundle(tmp_path / "isic").names == ["isic", "other"]


def test_a_command_finds_its_bundle_once(monkeypatch, tmp_path):
    found = []

    def counted(name):
        found.append(name)
        return find.find_bundle(name)

    monkeypatch.setattr(opened, "find_bundle", counted)
    with pytest.raises(InputError):
        workflow.unlearn("isic", split=None, teacher=None, out=tmp_path / "run", settings=["max_epochs=0"])
    assert found == ["isic"]
