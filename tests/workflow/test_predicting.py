"""`predict` reads everything before it writes anything, and writes all or nothing."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mu_monai import workflow
from mu_monai.bundle import shipped_bundles
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.data import load_split
from mu_monai.errors import InputError, RunError
from mu_monai.files import read_json, write_json

BUNDLES = ("isic", "isic_classification", "volume3d")


@pytest.fixture
def good(phantom_splits, tmp_path):
    """A good image of a bundle, in a folder of its own."""

    def copied(bundle):
        source = Path(load_split(phantom_splits[bundle])["test"][0]["image"])
        (tmp_path / "in").mkdir(exist_ok=True)
        return Path(shutil.copy(source, tmp_path / "in" / source.name))

    return copied


def damaged(image, how):
    """A file of the same kind that nothing can read."""
    suffix = "".join(image.suffixes)
    file = image.with_name(f"{how}{suffix}")
    data = image.read_bytes()
    if how == "folder":
        file.mkdir()
        return file
    content = {"empty": b"", "cut": data[: len(data) // 3], "text": b"no picture at all", "zeros": bytes(len(data))}
    file.write_bytes(gzip.compress(content[how]) if how == "text" and suffix.endswith(".gz") else content[how])
    return file


@pytest.fixture
def own_isic(tmp_path):
    """The user's own copy of a bundle, under its name."""
    return shutil.copytree(shipped_bundles()["isic"], tmp_path / "bundles" / "isic")


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("how", ["empty", "cut", "text", "zeros"])
@pytest.mark.parametrize("first", [True, False])
def test_what_cannot_be_read_is_told_before_anything_is_written(teachers, good, tmp_path, bundle, how, first):
    image = good(bundle)
    bad = damaged(image, how)
    with pytest.raises(InputError) as caught:
        workflow.predict(teachers[bundle], [bad, image] if first else [image, bad], out=tmp_path / "out" / "deep")
    (problem,) = caught.value.problems
    assert f"'{bad}'" in problem
    assert "Traceback" not in problem
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize("bundle", ["isic", "isic_classification"])
def test_all_that_cannot_be_read_is_told_at_once(teachers, good, tmp_path, bundle):
    image = good(bundle)
    bad = [damaged(image, how) for how in ("empty", "cut", "text", "folder")]
    with pytest.raises(InputError) as caught:
        workflow.predict(teachers[bundle], [*bad[:2], image, *bad[2:]], out=tmp_path / "out")
    assert len(caught.value.problems) == len(bad)
    assert all(f"'{file}'" in problem for file, problem in zip(bad, caught.value.problems, strict=True))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), KeyError("x")])
@pytest.mark.parametrize(
    ("bundle", "writes"),
    [
        ("isic", "monai.transforms.SaveImaged.__call__"),
        ("volume3d", "monai.transforms.SaveImaged.__call__"),
        ("isic_classification", "monai.handlers.ClassificationSaver._finalize"),
    ],
)
def test_a_prediction_that_stops_leaves_nothing_and_can_be_repeated(
    teachers, good, tmp_path, monkeypatch, bundle, writes, error
):
    image, out = good(bundle), tmp_path / "out"

    def stop(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(writes, stop)
        with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else RunError):
            workflow.predict(teachers[bundle], [image], out=out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert list(workflow.predict(teachers[bundle], [image], out=out).rglob("*.*"))


def test_an_empty_folder_is_filled(teachers, good, tmp_path):
    (tmp_path / "out").mkdir()
    folder = workflow.predict(teachers["isic"], [good("isic")], out=tmp_path / "out")
    assert [set(np.unique(np.asarray(Image.open(file)))) <= {0, 255} for file in folder.iterdir()] == [True]


def test_images_of_one_name_in_several_folders_keep_their_folders(teachers, good, tmp_path):
    image = good("isic")
    images = [tmp_path / "all" / patient / "image.png" for patient in ("p1", "p2")]
    for each in images:
        each.parent.mkdir(parents=True)
        shutil.copy(image, each)
    out = workflow.predict(teachers["isic"], images, out=tmp_path / "out")
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
        "p1/image_mask.png",
        "p2/image_mask.png",
    ]


def test_a_config_that_names_masks_after_images_alone_refuses_two_of_one_name(teachers, own_isic, good, tmp_path):
    config = read_json(own_isic / "configs" / "inference.json")
    config["postprocessing"]["transforms"][-1].pop("data_root_dir")
    write_json(own_isic / "configs" / "inference.json", config)
    image = good("isic")
    other = tmp_path / "other" / image.name
    other.parent.mkdir()
    shutil.copy(image, other)
    with pytest.raises(InputError, match="would be written to the same file"):
        workflow.predict(teachers["isic"], [image, other], out=tmp_path / "out", trust=Trust(bundle=own_isic))
    out = workflow.predict(teachers["isic"], [image], out=tmp_path / "out", trust=Trust(bundle=own_isic))
    assert [path.name for path in out.iterdir()] == [f"{image.stem}_mask.png"]


def test_a_model_with_transforms_of_its_own_does_not_get_those_of_the_bundle(
    phantom_splits, small_images, good, tmp_path
):
    transforms = read_json(shipped_bundles()["isic"] / "configs" / "train.json")["transforms"]
    transforms["transforms"].append({"_target_": "ScaleIntensityd", "keys": "image"})
    write_json(tmp_path / "overlay.json", {"transforms": transforms})
    run = workflow.train(
        "isic",
        split=phantom_splits["isic"],
        out=tmp_path / "run",
        overlays=[str(tmp_path / "overlay.json")],
        settings=[*small_images["isic"], "max_epochs=1"],
        quiet=True,
    )
    for trust in (STRANGER, Trust(config=True)):
        with pytest.raises(InputError, match="transforms"):
            workflow.predict(run, [good("isic")], out=tmp_path / "out", trust=trust)
    assert not (tmp_path / "out").exists()
