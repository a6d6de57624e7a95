"""The sheet shows what was understood: for masks, volumes and classes."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from PIL import Image

from mu_monai import workflow
from mu_monai.data import open_split
from mu_monai.data.explained.cases import CASES, ExplainedCase, explained_cases
from mu_monai.data.explained.sheet import COLORS, write_sheet
from mu_monai.errors import InputError
from tests.data.conftest import write_image, write_mask, write_volume
from tests.data.pictures.test_decoding import stored
from tests.data.test_case_files import made, manifest_of
from tests.data.test_label_map import volumes


def masks(folder):
    for case in range(7):
        write_image(folder / "images" / f"x{case}.png", case)
        write_mask(folder / "masks" / f"x{case}.png", case)
    return {}


def turned(folder):
    for case in range(5):
        write_image(folder / "plain.png", case)
        write_mask(folder / "masks" / f"x{case}.png", case)
        (folder / "images").mkdir(exist_ok=True)
        stored(Image.open(folder / "plain.png"), folder / "images" / f"x{case}.png", 6)
    (folder / "plain.png").unlink()
    return {}


def deep(folder):
    for case in range(5):
        write_mask(folder / "masks" / f"x{case}.png", case)
        (folder / "images").mkdir(exist_ok=True)
        values = np.random.default_rng(case).integers(0, 4000, (20, 24)).astype(np.uint16)
        Image.fromarray(values).save(folder / "images" / f"x{case}.png")
    return {}


def classes(folder):
    for case in range(9):
        write_image(folder / ("nevus", "melanoma", "seborrheic keratosis")[case % 3] / f"x{case}.png", case)
    return {}


def in_volumes(folder):
    volumes(folder, (1, 2))
    return {}


def foreign(folder):
    volumes(folder, (205, 420))
    return {"label_map": '{205: "left ventricle", 420: "myocardium"}'}


SAID = {
    masks: ["24x20 pixels, RGB, values", "values 0: 90.0%, 255: 10.0%"],
    turned: ["24x20 pixels, RGB", "rotated"],
    deep: ["24x20 pixels, I;16, values 1"],
    classes: ["label seborrheic keratosis", "is the name of a class"],
    in_volumes: ["6x5x4 voxels of 1.5 x 1.5 x 2 mm, int16", "values 0: 93.3%, 1: 3.3%, 2: 3.3%"],
    foreign: ["205 is class 1 (left ventricle): 3.3%", "420 is class 2 (myocardium): 3.3%"],
}


@pytest.mark.parametrize("make", SAID, ids=lambda make: make.__name__)
def test_five_cases_are_told_and_drawn(make, tmp_path):
    (tmp_path / "in").mkdir()
    out, options = tmp_path / "split.json", make(tmp_path / "in")
    said = workflow.split(tmp_path / "in", out=out, validation=0.2, test=0.2, explain=True, **options)
    assert said.count("case 'x") + said.count("case 'v") == CASES
    assert said.count("patient '") == CASES
    assert said.count(f"image {tmp_path / 'in'}") == CASES
    for words in SAID[make]:
        assert words in said
    assert said.endswith(f"sheet: {tmp_path / 'split.png'}")
    with Image.open(tmp_path / "split.png") as sheet:
        assert sheet.width > 1000
        assert sheet.height > CASES * 250
        colors = {color for _, color in sheet.convert("RGB").getcolors(1 << 24)}
    assert bool(colors & set(COLORS)) == (make is not classes)


def test_every_class_is_shown_before_a_second_of_one(tmp_path):
    classes(tmp_path / "in")
    said = workflow.split(tmp_path / "in", out=tmp_path / "split.json", validation=0.2, test=0.2, explain=True)
    assert {name for name in ("nevus", "melanoma", "seborrheic keratosis") if f"label {name}" in said} == {
        "nevus",
        "melanoma",
        "seborrheic keratosis",
    }


def test_a_sheet_is_replaced_only_by_force_and_a_request_has_one_as_well(tmp_path):
    masks(tmp_path / "in")
    workflow.split(tmp_path / "in", out=tmp_path / "split.json", validation=0.2, test=0.2)
    forget = workflow.ForgetChoice(fraction=0.3)
    (tmp_path / "request.png").write_bytes(b"mine")
    options = {"out": tmp_path / "request.json", "forget": forget, "explain": True}
    with pytest.raises(InputError, match=r"request\.png' exists; give another --out, or --force"):
        workflow.split(tmp_path / "split.json", **options)
    assert not (tmp_path / "request.json").exists()
    assert "case 'x0'" in workflow.split(tmp_path / "split.json", force=True, **options)
    assert Image.open(tmp_path / "request.png").format == "PNG"


@pytest.mark.parametrize("side", [0, 1, 2])
def test_a_volume_is_shown_with_its_label_whatever_the_order_of_their_axes(side, tmp_path):
    """The slice through the structure: bright in the image and outlined at the same place."""
    values = np.zeros((12, 12, 12), np.int16)
    values[2:6, 3:8, 4:7] = 400
    for case in range(5):
        image = nibabel.Nifti1Image(values + case, np.diag([-1.0, 1, 1, 1]))
        label = nibabel.Nifti1Image((values > 0).astype(np.uint8), np.diag([-1.0, 1, 1, 1]))
        flips = np.array([[axis, -1 if axis == side else 1] for axis in range(3)])
        write_volume(tmp_path / "in" / "images" / f"v{case}.nii.gz", np.asarray(image.dataobj), image.affine)
        turned_label = label.as_reoriented(flips)
        data = np.asarray(turned_label.dataobj)
        write_volume(tmp_path / "in" / "labels" / f"v{case}.nii.gz", data, turned_label.affine)
    workflow.split(tmp_path / "in", out=tmp_path / "split.json", validation=0.2, test=0.2, explain=True)
    sheet = np.asarray(Image.open(tmp_path / "split.png"))[8:308]
    plain, outlined = sheet[:, 8:308], sheet[:, 316:616]
    line = (outlined == COLORS[0]).all(axis=-1)
    assert line.any()
    assert plain[line].mean() > 100  # the line is on the edge of the structure, which is smooth
    inside = np.zeros_like(line)
    rows, columns = np.nonzero(line)
    inside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    assert plain[~inside].mean() < 30


@pytest.mark.parametrize("kind", ["volumes", "masks", "classes"])
def test_of_several_files_all_are_named_and_the_first_is_drawn(kind, tmp_path):
    made(tmp_path, manifest_of(tmp_path, kind))
    content = open_split(tmp_path / "split.json")
    case, *_ = explained_cases(content.located, content.provenance, ["retain"])
    assert [line.rpartition("_")[2].rpartition("/")[2].split(".")[0] for line in case.lines[:3]] == [
        "t1",
        "t2",
        "flair",
    ]
    assert case.picture.ndim == 3
    assert (case.outlined is None) == (kind == "classes")


@pytest.mark.parametrize("title", ["case 'a\x1b[2K\u202e'", "c" * 500, "case '\u6f22\u5b57'"])
def test_long_and_odd_names_stay_on_the_sheet(title, tmp_path):
    picture = np.zeros((10, 3000, 3), np.uint8)
    case = ExplainedCase(title=title, label=title, lines=(title,), picture=picture, outlined=None)
    with Image.open(write_sheet(tmp_path / "x.png", [case])) as sheet:
        assert sheet.width < 1500
