"""How files are read goes from the checks of a split to training and prediction, or the bundle is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mu_monai import workflow
from mu_monai.bundle import open_bundle, shipped_bundles
from mu_monai.bundle.earlier import earlier_form
from mu_monai.bundle.trust import inherited
from mu_monai.errors import InputError
from mu_monai.files import read_json, write_json
from tests.data.pictures.test_decoding import stored

FAST = ["max_epochs=1", "image_size=[16, 16]"]


def pictures(folder, change):
    """Six patients: images that `change` writes, and masks."""
    for case in range(6):
        values = np.random.default_rng(case).integers(300, 4000, (20, 24)).astype(np.uint16)
        mask = np.zeros((20, 24), np.uint8)
        mask[4:9, 3 : 9 + case] = 255
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        change(values, folder / "images" / f"x{case}.png")
        Image.fromarray(mask).save(folder / "masks" / f"x{case}.png")
    return folder


KINDS = {
    "16 bits": lambda values, path: Image.fromarray(values).save(path),
    "32 bits": lambda values, path: Image.fromarray(values.astype(np.int32)).save(path.with_suffix(".tif")),
    "turned": lambda values, path: stored(Image.fromarray((values // 16).astype(np.uint8)), path, 6),
    "upside down": lambda values, path: stored(Image.fromarray((values // 16).astype(np.uint8)), path, 3),
}


@pytest.fixture
def split(request, tmp_path):
    """The split of pictures of one kind."""
    out = tmp_path / "split.json"
    forget = workflow.ForgetChoice(fraction=0.3)
    workflow.split(pictures(tmp_path / "in", KINDS[request.param]), out=out, forget=forget, test=0.2, validation=0.2)
    return out


@pytest.mark.parametrize("split", ["16 bits"], indirect=True)
def test_a_model_predicts_as_it_was_trained_and_nothing_beyond(split, mu_monai, tmp_path):
    run, student = tmp_path / "run", tmp_path / "student"
    workflow.train("isic", split=split, out=run, settings=FAST, quiet=True)
    assert read_json(run / "config.json")["picture_range"] == [0, 4095]
    with np.load(run / "examples.npz") as examples:
        assert 60 < examples["image"].mean() < 200
    workflow.unlearn("isic", split=split, teacher=run, out=student, settings=["max_epochs=1"], quiet=True)
    assert read_json(student / "config.json")["picture_range"] == [0, 4095]
    image = split.parent / "in" / "images" / "x0.png"
    workflow.predict(student, [image], out=tmp_path / "masks")
    assert Image.open(tmp_path / "masks" / "x0_mask.png").size == (24, 20)
    Image.fromarray(np.full((20, 24), 50000, np.uint16)).save(tmp_path / "bright.png")
    code, _, err = mu_monai("predict", student, tmp_path / "bright.png", "--out", tmp_path / "more")
    assert code == 2
    assert "bright.png" in err
    assert "beyond the range [0, 4095]" in err
    with pytest.raises(InputError, match=r"trained on images of more than 8 bits, which plain MONAI does not scale"):
        workflow.release(student, out=tmp_path / "released")


@pytest.mark.parametrize("split", ["turned", "upside down", "32 bits"], indirect=True)
def test_masks_are_predicted_upright_and_in_the_size_of_the_picture_as_it_is_shown(split, tmp_path):
    workflow.train("isic", split=split, out=tmp_path / "run", settings=FAST, quiet=True)
    image = next((split.parent / "in" / "images").iterdir())
    workflow.predict(tmp_path / "run", [image], out=tmp_path / "masks")
    assert Image.open(next((tmp_path / "masks").iterdir())).size == (24, 20)
    record = read_json(tmp_path / "run" / "run.json")["split"]["provenance"]
    assert record["reading"] == read_json(split)["provenance"]["reading"]


@pytest.mark.parametrize("split", list(KINDS), indirect=True)
def test_a_bundle_that_would_misread_the_pictures_is_refused(split, tmp_path):
    bundle = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
    for name in ("train", "unlearn", "evaluate"):
        file = bundle / "configs" / f"{name}.json"
        config = {key: value for key, value in read_json(file).items() if key not in ("picture_range", "label_map")}
        write_json(file, earlier_form(config))
    with pytest.raises(InputError, match=r"no id 'picture_range'|that the readers of this config misread"):
        workflow.train(bundle, split=split, out=tmp_path / "run", settings=FAST)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "taken",
    [{"picture_range": [0, 65535]}, {"picture_range": [-1024.0, 1.0]}, {"label_map": {"205": 1}}, {"label_map": None}],
)
def test_ranges_and_maps_of_a_run_are_data(taken, tmp_path):
    run = as_run(taken, tmp_path)
    assert {key: inherited(run, open_bundle("isic"))[key] for key in taken} == taken


@pytest.mark.parametrize(
    "refused",
    [
        {"picture_range": "$__import__('os')"},
        {"picture_range": [0, "$1"]},
        {"picture_range": [0, 1, 2]},
        {"picture_range": {"_target_": "os.system"}},
        {"label_map": {"_target_": 1}},
        {"label_map": {"205": "$1"}},
        {"label_map": {"205": 1, "a": 2}},
    ],
)
def test_anything_else_in_their_places_is_refused(refused, tmp_path):
    with pytest.raises(InputError, match=r"the config of a run is taken as data"):
        inherited(as_run(refused, tmp_path), open_bundle("isic"))


@pytest.mark.parametrize("bundle", shipped_bundles())
def test_a_run_of_an_earlier_version_is_read_as_it_was_trained(bundle, tmp_path):
    config = read_json(open_bundle(bundle).files("train")[0])
    before = earlier_form({key: value for key, value in config.items() if key not in ("picture_range", "label_map")})
    (tmp_path / "config.json").write_text(json.dumps(before))
    assert inherited(tmp_path, open_bundle(bundle))["transforms"] == before["transforms"]


def as_run(changes, folder):
    """A folder with a config of the shipped bundle, some values changed."""
    config = read_json(open_bundle("isic").files("train")[0])
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder
