"""What the checks saw is what trains: one reader in all configs, the same numbers as before for ordinary pictures."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, LoadImage
from PIL import Image

from mu_monai.bundle import open_bundle, shipped_bundles
from mu_monai.bundle.config import read_config
from mu_monai.bundle.earlier import PICTURE_READER, earlier_form
from mu_monai.data import Reading, check_manifest
from mu_monai.data.pictures.reader import PictureReader
from mu_monai.errors import InputError
from mu_monai.files import read_json
from tests.data.pictures.test_decoding import COLORS, GRAY, MASK, indexed, saved, stored

FLAT = [name for name in shipped_bundles() if name != "volume3d"]
CONFIGS = {"train": "transforms", "unlearn": "transforms", "evaluate": "transforms", "inference": "preprocessing"}


def transform(bundle, name, earlier=False, **changes):
    """The transforms of a bundle's config up to its pixels, ready to use."""
    config = read_config(open_bundle(bundle).files(name)).get()
    content = config | {"image_size": [12, 20]} | changes
    content[CONFIGS[name]] = (earlier_form if earlier else lambda part: part)(content[CONFIGS[name]])
    built = ConfigParser(content).get_parsed_content(CONFIGS[name])
    assert isinstance(built, Compose)
    return built


ORDINARY = {
    "jpg": lambda folder: (saved(COLORS, folder / "x.jpg"), saved(MASK * 255, folder / "m.png")),
    "png": lambda folder: (saved(COLORS, folder / "x.png"), saved(MASK, folder / "m.png")),
    "gray": lambda folder: (saved(GRAY, folder / "x.png"), saved(MASK * 255, folder / "m.bmp")),
    "opaque": lambda folder: (saved(COLORS, folder / "x.png", mode="RGBA"), saved(MASK * 255, folder / "m.png", "1")),
    "palette": lambda folder: (
        indexed(MASK, [9, 90, 60, 200, 0, 0], folder / "x.png"),
        indexed(MASK, [0, 0, 0, 255, 255, 255], folder / "m.png"),
    ),
    "16-bit mask": lambda folder: (
        saved(COLORS, folder / "x.tif"),
        saved(MASK.astype(np.uint16) * 255, folder / "m.png"),
    ),
}


@pytest.mark.parametrize("kind", ORDINARY)
@pytest.mark.parametrize("bundle", FLAT)
def test_ordinary_pictures_are_read_bit_for_bit_as_before(kind, bundle, tmp_path):
    image, mask = ORDINARY[kind](tmp_path)
    label = "nevus" if bundle == "isic_classification" else mask
    now, before = (transform(bundle, "train", earlier)({"image": image, "label": label}) for earlier in (False, True))
    for key in ("image", "label"):
        assert torch.equal(torch.as_tensor(now[key]), torch.as_tensor(before[key]))


def deep(folder):
    return saved(GRAY.astype(np.uint16) * 16, folder / "x.png")


@pytest.mark.parametrize("bundle", FLAT)
@pytest.mark.parametrize(
    "make",
    [
        lambda folder: stored(Image.fromarray(COLORS), folder / "x.png", 6),
        lambda folder: stored(Image.fromarray(COLORS), folder / "x.png", 3),
        deep,
        lambda folder: indexed(MASK, [9, 90, 60, 200, 0, 0], folder / "x.png"),
    ],
)
def test_all_configs_of_a_bundle_read_an_image_alike(bundle, make, tmp_path):
    image, label = make(tmp_path), "nevus" if bundle == "isic_classification" else saved(MASK, tmp_path / "m.png")
    read = {
        name: torch.as_tensor(
            transform(bundle, name, picture_range=[0, 4095])(
                {"image": image, "label": label} if name != "inference" else {"image": image}
            )["image"]
        )
        for name in CONFIGS
    }
    assert all(torch.equal(read["train"], each) for each in read.values())
    assert read["train"].std() > 0.01


@pytest.mark.parametrize("bundle", FLAT)
def test_all_configs_of_the_shipped_bundles_use_the_reader(bundle):
    for name in CONFIGS:
        text = open_bundle(bundle).files(name)[0]
        content = read_json(text)
        assert "PILReader" not in str(content), text
        assert PICTURE_READER in str(content), text
        assert content["picture_range"] is None


@pytest.mark.parametrize("kind", ["image", "mask"])
@pytest.mark.parametrize("pages", [2, 3])
def test_what_is_refused_is_not_left_to_other_readers_of_monai(kind, pages, tmp_path):
    rest = [Image.fromarray(GRAY)] * (pages - 1)
    Image.fromarray(MASK).save(tmp_path / "x.tif", save_all=True, append_images=rest)
    load = LoadImage(reader=PictureReader(kind), image_only=True)
    with pytest.raises(InputError, match=rf"has {pages} pages"):
        load(tmp_path / "x.tif")


@pytest.mark.parametrize("label_map", [{"0": 0, "1": 1}, {"0": 1, "1": 0}, {"0": 0, "1": 2}])
def test_values_of_masks_are_mapped(label_map, tmp_path):
    path = saved(MASK, tmp_path / "m.png")
    read = LoadImage(reader=PictureReader("mask", label_map=label_map), image_only=True)(path)
    assert np.unique(read).tolist() == sorted(label_map.values())
    assert read.numpy().T.tolist() == [[label_map[str(value)] for value in row] for row in MASK.tolist()]
    with pytest.raises(InputError, match=r"mask '.*m\.png' holds the values 1, which the label map does not name"):
        LoadImage(reader=PictureReader("mask", label_map={"0": 0}))(path)


@pytest.mark.parametrize("kind", ["image", "mask"])
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.8])
def test_a_truncated_picture_is_named_by_the_checks_and_by_the_reader(kind, suffix, share, tmp_path):
    path = saved(GRAY, tmp_path / f"x.{suffix}")
    whole = (tmp_path / f"x.{suffix}").read_bytes()
    (tmp_path / f"x.{suffix}").write_bytes(whole[: int(share * len(whole))])
    row = (path, "nevus") if kind == "image" else (saved(COLORS, tmp_path / "y.png"), path)
    with pytest.raises(InputError, match=rf"{kind} '.*x\.{suffix}' cannot be read"):
        check_manifest(table(row))
    with pytest.raises(InputError, match=rf"{kind} '.*x\.{suffix}' cannot be read"):
        LoadImage(reader=PictureReader(kind), image_only=True)(path)


@pytest.mark.parametrize("kind", ["label", "Image", ""])
def test_another_kind_is_refused(kind):
    with pytest.raises(InputError, match=r"is unknown; choose 'image' or 'mask'"):
        PictureReader(kind)


def table(*rows):
    columns = ["case_id", "patient_id", "image", "label"]
    return pd.DataFrame([(f"c{n}", f"p{n}", *row) for n, row in enumerate(rows)], columns=columns)


@pytest.mark.parametrize(
    ("make", "told", "unusual"),
    [
        (lambda p: stored(Image.fromarray(COLORS), p / "x.png", 8), "1 of 1 pictures are stored rotated", "rotated"),
        (lambda p: stored(Image.fromarray(COLORS), p / "x.tif", 3), "1 of 1 pictures are stored rotated", "rotated"),
        (lambda p: saved(COLORS, p / "x.jpg", "CMYK"), "1 of 1 pictures are not stored in RGB", None),
        (lambda p: saved(COLORS, p / "x.png", icc_profile=b"Display P3"), "a color profile other than sRGB", None),
    ],
)
def test_what_is_special_is_told_once_and_kept(make, told, unusual, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    reading = check_manifest(table((make(tmp_path), saved(MASK, tmp_path / "m.png"))))
    assert told in caplog.text
    assert set(reading.unusual) == ({unusual} if unusual else set())


@pytest.mark.parametrize("white", [4095, 1000, 65535])
def test_the_range_of_all_images_is_found_and_told(white, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    dark = saved((GRAY / 255 * 300).astype(np.uint16), tmp_path / "a.png")
    light = saved((GRAY / GRAY.max() * white).astype(np.uint16), tmp_path / "b.png")
    reading = check_manifest(table((dark, "nevus"), (light, "nevus"), (saved(COLORS, tmp_path / "c.png"), "nevus")))
    expected = 2 ** int(white).bit_length() - 1
    assert reading.picture_range == (0, expected)
    assert f"2 of 3 images have more than 8 bits per pixel (values from 0 to {white:g})" in caplog.text
    assert "the others are scaled from 0 to 255" in caplog.text
    with pytest.raises(InputError, match=r"row 2 \(case 'c1'\): image .* beyond the range \[0, 500\]"):
        check_manifest(table((dark, "nevus"), (light, "nevus")), reading=Reading(picture_range=(0, 500)))


@pytest.mark.parametrize("turned", [5, 6, 7, 8])
def test_a_mask_on_the_stored_pixels_of_a_turned_image_is_told_of_exif(turned, tmp_path):
    image = stored(Image.fromarray(COLORS), tmp_path / "x.jpg", turned)
    mask = saved(MASK.T, tmp_path / "m.png")
    with pytest.raises(InputError, match=r"is 12x20 but its image .* is 20x12 upright, as its EXIF orientation says"):
        check_manifest(table((image, mask)))


@pytest.mark.parametrize(
    ("values", "map_"), [([0, 2], "{2: 1}"), ([0, 128], "{128: 1}"), ([1, 2, 3], "{1: 1, 2: 1, 3: 1}")]
)
def test_a_mask_with_other_values_asks_for_exactly_their_map(values, map_, tmp_path):
    mask = np.resize(np.array(values, np.uint8), (12, 20))
    rows = table((saved(COLORS, tmp_path / "x.png"), saved(mask, tmp_path / "m.png")))
    with pytest.raises(InputError) as caught:
        check_manifest(rows)
    assert caught.match(rf"--label-map '{map_}'")
    reading = Reading(label_map={0: 0} | {value: 1 for value in values if value})
    assert check_manifest(rows, reading=reading).label_map == reading.label_map
