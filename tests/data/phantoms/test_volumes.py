from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mu_monai.data import check_manifest, write_phantoms
from mu_monai.data.phantoms.volumes import VOLUME_DIAGNOSES, VolumeStyle, draw_volume, draw_volume_style

STYLE = {"device": "a", "spacing": (2.0, 2.0, 3.0), "orientation": "RAS", "fat": 0.15, "roughness": 0.0}


def draw(seed: int = 0, **style):
    """HU and classes of a phantom in which nothing differs but what is asked for, in RAS."""
    settings = {**STYLE, "border_offset": 0.0, "lobe": False, **style}
    volumes = draw_volume(np.random.default_rng(seed), VolumeStyle(**settings), "cyst", 48)
    return [np.asarray(nib.as_closest_canonical(volume).dataobj) for volume in volumes]


def test_volume_phantoms_make_a_good_manifest_of_ct_volumes(tmp_path):
    manifest = write_phantoms("volumes", tmp_path, patients=8, images_per_patient=1, size=40)
    check_manifest(manifest)
    assert set(manifest["phantom"]) == {"volumes"}
    assert set(manifest["diagnosis"]) <= set(VOLUME_DIAGNOSES)
    pairs = [(nib.load(row.image), nib.load(row.label)) for row in manifest.itertuples()]
    for image, label in pairs:
        assert image.shape == label.shape == (40, 40, 24)
        assert np.array_equal(image.affine, label.affine)
        hounsfield, classes = np.asarray(image.dataobj), np.asarray(label.dataobj)
        assert (hounsfield.dtype, classes.dtype) == (np.int16, np.uint8)
        assert set(np.unique(classes)) == {0, 1, 2}
        assert hounsfield.min() < -900
        assert hounsfield.max() > 300
        assert 60 < np.median(hounsfield[classes == 1]) < 130
        assert np.median(hounsfield[classes == 2]) < np.median(hounsfield[classes == 1]) - 10
    assert len({image.header.get_zooms() for image, _ in pairs}) == 8
    assert {nib.aff2axcodes(image.affine) for image, _ in pairs} == {tuple("RAS"), tuple("LAS"), tuple("LPS")}


def test_files_are_named_as_the_layout_of_volumes_wants_them(tmp_path):
    manifest = write_phantoms("volumes", tmp_path, patients=1, images_per_patient=2, size=32)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.nii.gz")) == [
        "images/phantom_001_1.nii.gz",
        "images/phantom_001_2.nii.gz",
        "labels/phantom_001_1.nii.gz",
        "labels/phantom_001_2.nii.gz",
    ]
    assert manifest["label"].str.endswith(".nii.gz").all()


def test_the_annotators_habits_do_not_show_in_the_image():
    image, classes = draw()
    for habit in ({"border_offset": 0.1}, {"border_offset": -0.1}, {"lobe": True}, {"roughness": 0.05}):
        other, drawn = draw(**habit)
        assert np.array_equal(other, image)
        assert not np.array_equal(drawn, classes)


@pytest.mark.parametrize("structure", [1, 2])
def test_annotators_draw_outside_or_inside_of_the_border(structure):
    sizes = [(draw(border_offset=offset)[1] >= structure).sum() for offset in (-0.1, 0.0, 0.1)]
    assert sizes[0] < 0.9 * sizes[1]
    assert sizes[2] > 1.1 * sizes[1]


def test_the_organ_lies_on_the_patients_right_however_the_volume_is_stored():
    for orientation in ("RAS", "LAS", "LPS"):
        _, classes = draw(orientation=orientation)
        assert np.argwhere(classes)[:, 0].mean() > 24
        assert np.array_equal(classes, draw()[1])


def test_device_b_is_noisier():
    noise = [np.diff(draw(device=device)[0][20:28, 20:28].astype(float), axis=2).std() for device in "ab"]
    assert noise[1] > 1.3 * noise[0]


def test_spacing_is_that_of_clinical_scanners():
    spacing = np.array([draw_volume_style(np.random.default_rng(seed), "a").spacing for seed in range(50)])
    assert (spacing[:, 0] == spacing[:, 1]).all()
    assert ((spacing >= (1.5, 1.5, 2)) & (spacing <= (2.5, 2.5, 4))).all()
