"""A bundle of one's own: made whole or not at all, and ready to run."""

from __future__ import annotations

import json
import shutil

import pytest

from mu_monai import workflow
from mu_monai.bundle import shipped_bundles
from mu_monai.errors import InputError
from mu_monai.files import read_json


@pytest.mark.parametrize("source", shipped_bundles())
def test_it_passes_the_check_and_has_no_weights_of_others(source, tmp_path):
    folder = workflow.new_bundle(tmp_path / "deep" / "mine", source=source)
    assert folder == tmp_path / "deep" / "mine"
    assert "without models/model.pt" in workflow.check_bundle(folder)[-1]
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".pt"] == []
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["mine"]


def test_it_differs_from_its_source_in_name_and_places_alone(tmp_path):
    folder = workflow.new_bundle(tmp_path / "my-lungs", source="volume3d")
    for file in (shipped_bundles()["volume3d"] / "configs").glob("*.json"):
        before, after = read_json(file), read_json(folder / "configs" / file.name)
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        if file.stem == "metadata":
            assert changed == {"changelog", "name", "description", "authors", "copyright", "data_source"}
            assert "phantoms" not in after["description"]
        else:
            assert changed <= {"bundle_name", "bundle_root", "dataset_dir", "run_dir", "output_dir"}
            assert "volume3d" not in json.dumps([after.get(key, "") for key in changed])


def test_what_is_made_can_be_the_source_of_another(tmp_path):
    first = workflow.new_bundle(tmp_path / "image")  # a name that is also a key of every transform
    second = workflow.new_bundle(tmp_path / "second", source=first)
    workflow.check_bundle(second)
    assert read_json(second / "configs" / "train.json")["bundle_name"] == "second"
    assert "the bundle 'image'" in json.dumps(read_json(second / "metadata.json")["changelog"])
    readme = (second / "docs" / "README.md").read_text()
    assert "mu-monai bundle check second" in readme
    assert "`image`, under the license in `LICENSE`" in readme


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("isic", "'isic' is the name of a shipped bundle"),
        ("my lungs", "'my lungs' cannot be the name of a bundle; .*letters, digits, - and _"),
        ("-mine", "cannot be the name of a bundle"),
        ("it's", "cannot be the name of a bundle"),
        ("a#b/mine", "MONAI config"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        workflow.new_bundle(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="mine' exists; give another folder, or remove it"):
        workflow.new_bundle(tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_source_that_is_not_a_bundle_or_is_broken_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"bundle 'iisc' is neither .* did you mean 'isic'"):
        workflow.new_bundle(tmp_path / "mine", source="iisc")
    shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
    (tmp_path / "isic" / "LICENSE").unlink()
    with pytest.raises(InputError, match="'LICENSE' is missing"):
        workflow.new_bundle(tmp_path / "mine", source=tmp_path / "isic")
    assert [path.name for path in tmp_path.iterdir()] == ["isic"]


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mu_monai.workflow.bundling.creating.shutil.copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        workflow.new_bundle(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_it_trains_unlearns_and_is_named_by_later_commands(mu_monai, phantom_splits, tiny, tmp_path):
    code, out, _ = mu_monai("bundle", "new", tmp_path / "mine")
    assert code == 0
    assert f"bundle: {tmp_path / 'mine'}" in out
    assert f"then: mu-monai bundle check {tmp_path / 'mine'}" in out
    settings = [part for text in (*tiny, "max_epochs=1") for part in ("--set", text)]
    data = ["--split", phantom_splits["isic"], *settings, "--quiet"]
    assert mu_monai("train", tmp_path / "mine", "--out", tmp_path / "teacher", *data)[0] == 0
    record = read_json(tmp_path / "teacher" / "run.json")
    assert (record["bundle"]["name"], record["bundle"]["version"]) == ("mine", "0.1.0")
    given = ["--teacher", tmp_path / "teacher", "--out", tmp_path / "run"]
    assert mu_monai("unlearn", tmp_path / "mine", *given, *data)[0] == 0
    code, _, err = mu_monai("evaluate", tmp_path / "run")
    assert (code, "folder with --bundle" in err) == (2, True)
    code, _, err = mu_monai("evaluate", tmp_path / "run", "--bundle", tmp_path / "mine")
    assert code == 0, err


def test_without_weights_a_teacher_is_asked_for(mu_monai, phantom_splits, tmp_path):
    workflow.new_bundle(tmp_path / "mine")
    arguments = ["--split", phantom_splits["isic"], "--out", tmp_path / "run", "--quiet"]
    code, _, err = mu_monai("unlearn", tmp_path / "mine", *arguments)
    assert code == 2
    assert "mine/models/model.pt" in err
