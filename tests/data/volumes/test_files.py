from __future__ import annotations

import logging
import os
import struct
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from mu_monai.data import check_manifest
from mu_monai.data.volumes.files import read_volume
from mu_monai.errors import InputError
from tests.data.conftest import put_bytes, write_image, write_label, write_series, write_volume

AFFINE = np.diag([1.5, 1.5, 2, 1])


def manifest(*pairs):
    rows = [(f"c{number}", f"p{number}", str(image), str(label)) for number, (image, label) in enumerate(pairs)]
    return pd.DataFrame(rows, columns=["case_id", "patient_id", "image", "label"])


def with_spacing(path, spacing):
    """Overwrite the spacing in a header, as damaged files have it."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<3f", content, 80, *spacing)
    path.write_bytes(content)
    return path


@pytest.fixture
def good(tmp_path):
    return write_volume(tmp_path / "good.nii.gz"), write_label(tmp_path / "good_seg.nii.gz")


def test_volumes_that_are_in_order_pass_without_a_word(good, tmp_path, caplog):
    series = write_series(tmp_path / "series")
    affine = np.diag([-1.5, -1.5, 2, 1])
    last = write_volume(tmp_path / "with_an_axis_of_one.nii", np.full((6, 5, 4, 1), -7.5))
    label = write_label(tmp_path / "series_seg.nii", affine)
    check_manifest(manifest(good, (series, label), (last, good[1])))
    assert caplog.text == ""


def test_volumes_may_be_classified_by_name(good):
    check_manifest(manifest((good[0], "healthy"), (good[0], "ill")))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"no volume"), "x.nii' cannot be read .*it may be truncated"),
        (lambda path: None, "image .*x.nii' does not exist"),
        (lambda path: write_image(path.with_name("x.png"), 0), "x.png' is not a volume"),
        (lambda path: write_volume(path, np.zeros((6, 5, 4, 2))), "has the shape 6x5x4x2, which is not three-dim"),
        (lambda path: write_volume(path, np.zeros((6, 5))), "has the shape 6x5, which is not three-dim"),
        (lambda path: write_volume(path, np.zeros((6, 5, 4), dtype=np.complex64)), "has voxels of type complex64"),
        (lambda path: write_volume(path, np.full((6, 5, 4), np.nan)), "has voxels that are NaN or infinite"),
        (lambda path: write_volume(path, np.full((6, 5, 4), -np.inf)), "has voxels that are NaN or infinite"),
        (lambda path: write_volume(path, 0, sform=0) and with_spacing(path, (1, -1, 2)), "spacing 1 x -1 x 2 mm"),
        (lambda path: write_volume(path, 0, sform=0, qform=0) and with_spacing(path, (0, 1, 2)), "spacing 0 x 1 x 2"),
        (lambda path: write_volume(path, 0, sform=0) and with_spacing(path, (1, 1, np.nan)), "spacing 1 x 1 x nan mm"),
        (lambda path: write_volume(path, np.zeros((6, 5, 3))), "label .* is 6x5x4 voxels but its image is 6x5x3"),
        (lambda path: write_volume(path, 0, np.eye(4)), "up to 4.387 mm away from its image"),
    ],
)
def test_what_is_wrong_with_an_image_is_told_by_row(good, tmp_path, write, message):
    path = tmp_path / "x.nii"
    path = write(path) if message.startswith("x.png") else (write(path), path)[1]
    with pytest.raises(InputError, match=rf"row 2 \(case 'c1'\): .*{message}") as caught:
        check_manifest(manifest(good, (path, good[1])))
    assert len(caught.value.problems) == 1


def test_a_truncated_volume_is_told(good, tmp_path):
    path = tmp_path / "cut.nii.gz"
    path.write_bytes((tmp_path / "good.nii.gz").read_bytes()[:150])
    with pytest.raises(InputError, match=r"cut.nii.gz' cannot be read"):
        check_manifest(manifest((path, good[1])))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1.5), "has the values 0, 1.5; they must be whole numbers from 0"),
        ((0, -1), "has the values -1, 0"),
        ((0, np.nan), "has the values 0, nan"),
    ],
)
def test_labels_hold_whole_numbers_from_0(good, tmp_path, values, message):
    label = np.zeros((6, 5, 4))
    label[0, 0, 0], label[1, 1, 1] = values
    with pytest.raises(InputError, match=message):
        check_manifest(manifest((good[0], write_volume(tmp_path / "x_seg.nii", label))))


def test_all_problems_of_all_volumes_and_pictures_come_at_once_in_their_order(good, tmp_path):
    bad = write_volume(tmp_path / "bad.nii", np.full((6, 5, 4), np.nan))
    label = write_volume(tmp_path / "bad_seg.nii", np.full((6, 5, 3), -1.0))
    with pytest.raises(InputError) as caught:
        check_manifest(manifest((tmp_path / "absent.png", tmp_path / "absent_mask.png"), (bad, label), good))
    assert [problem[:5] for problem in caught.value.problems] == ["row 1"] * 2 + ["row 2"] * 3


def test_a_series_that_is_not_whole_is_told_with_its_folder(tmp_path):
    series = write_series(tmp_path / "series", slices=5)
    (tmp_path / "series" / "IM0002").unlink()
    label = write_label(tmp_path / "label.nii", shape=(6, 5, 4))
    with pytest.raises(InputError, match=r"image '.*series' \(DICOM series\) has uneven slices: 4 mm from 2 to 6 mm"):
        check_manifest(manifest((series, label)))


def test_a_series_with_truncated_pixels_is_told(tmp_path):
    series = write_series(tmp_path / "series", PixelData=b"too few ")
    with pytest.raises(
        InputError, match=r"series' cannot be read .* correct the headers, or convert the series to NIf"
    ):
        check_manifest(manifest((series, write_label(tmp_path / "label.nii"))))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_series_whose_direction_the_reader_leaves_out_is_told(tmp_path):
    series = write_series(tmp_path / "series")
    put_bytes(series, "ImageOrientationPatient", b"1\\0\\0\\0\\1\\-0.00000000000000000012 ")
    with pytest.raises(InputError, match=r"ImageOrientationPatient .* 16 characters, .*; correct the headers"):
        check_manifest(manifest((series, write_label(tmp_path / "label.nii"))))


def test_what_stands_out_is_logged_once_per_kind_with_an_example(good, tmp_path, caplog):
    far = write_volume(tmp_path / "far.nii", np.random.default_rng(0).integers(0, 10**6, (6, 5, 4)).astype(np.int32))
    lost = write_volume(tmp_path / "lost.nii", 3, sform=0, qform=0)
    affine = nibabel.load(lost).affine
    thick = write_volume(tmp_path / "thick.nii", 4, np.diag([1, 1, 6, 1]))
    empty = write_volume(tmp_path / "empty.nii", np.zeros((6, 5, 4), dtype=np.uint8), np.diag([1, 1, 6, 1]))
    with caplog.at_level(logging.WARNING):
        check_manifest(manifest(good, (far, good[1]), (lost, write_label(tmp_path / "l.nii", affine)), (thick, empty)))
    told = {record.getMessage()[:40]: record.getMessage() for record in caplog.records}
    assert len(told) == 4
    text = caplog.text
    assert "1 of 4 volumes have intensities far beyond the others, such as row 2 (case 'c1'): 99.5th percentile" in text
    assert "1 of 4 volumes do not give their orientation" in text
    assert "1 of 4 volumes have strongly anisotropic voxels, such as row 4 (case 'c3'): 1 x 1 x 6 mm" in text
    assert "1 of 4 labels have no structure, such as row 4 (case 'c3')" in text


def test_the_real_volumes_are_in_order_and_some_have_intensities_far_beyond(real_data, caplog):
    images = sorted((real_data / "hippocampus" / "images").iterdir())[:40]
    check_manifest(manifest(*((file, file.parents[1] / "labels" / file.name) for file in images)))
    (record,) = caplog.records
    assert "intensities far beyond the others" in record.getMessage()


def test_the_real_ct_and_series_have_labels_in_their_place(real_data, caplog):
    folder = real_data / "ct_example"
    rows = manifest((folder / "dicom", folder / "dicom_seg.nii.gz"), (folder / "ct.nii.gz", folder / "seg.nii.gz"))
    with pytest.raises(InputError, match=r"11: 11, 13: 12, 14: 13"):  # the two show only some of the organs
        check_manifest(rows)
    check_manifest(rows, classes=[f"organ {number}" for number in range(200)])
    assert caplog.text == ""


@pytest.mark.parametrize("which", [0, 1], ids=["image", "label"])
@pytest.mark.parametrize("place", [-8, -4], ids=["checksum", "length"])
def test_a_compressed_file_is_read_to_its_checksum(tmp_path, which, place):
    """nibabel stops where the voxels end, and takes changed ones."""
    noise = np.random.default_rng(0).integers(0, 4, (48, 48, 48))
    good = [write_volume(tmp_path / f"{name}.nii.gz", noise.astype(np.uint8)) for name in ("good", "good_seg")]
    check_manifest(manifest(good))
    file = Path(good[which])
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    nibabel.load(good[which]).get_fdata()
    with pytest.raises(InputError, match=r"good.*\.nii\.gz' cannot be read \(BadGzipFile"):
        check_manifest(manifest(good))


def test_what_is_not_an_ordinary_file_is_never_opened(good, tmp_path):
    series = Path(write_series(tmp_path / "series"))
    os.mkfifo(series / "9.dcm")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    with pytest.raises(InputError) as caught:
        check_manifest(manifest((tmp_path / "pipe.nii.gz", good[1]), (series, good[1])))
    assert caught.match(r"pipe\.nii\.gz' is not an ordinary file")
    assert caught.match(r"must not be opened: '.*9\.dcm'")


def test_a_volume_in_microns_is_not_taken_for_one_in_mm(good, tmp_path):
    image = nibabel.load(good[0])
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "small.nii.gz")
    with pytest.raises(InputError, match="gives its sizes and its place in microns"):
        read_volume(str(tmp_path / "small.nii.gz"))


@pytest.mark.parametrize(("shape", "allowed"), [((6, 5, 4, 1), True), ((6, 5, 4, 1, 1), False)])
def test_one_further_axis_of_one_is_the_channel_and_no_more(tmp_path, shape, allowed):
    path = write_volume(tmp_path / "a.nii.gz", np.zeros(shape, dtype=np.int16))
    if allowed:
        assert read_volume(path).values.shape == (6, 5, 4)
    else:
        with pytest.raises(InputError, match="which is not three-dimensional"):
            read_volume(path)
