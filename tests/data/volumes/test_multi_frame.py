from __future__ import annotations

import nibabel
import numpy as np
import pytest
from monai.transforms import LoadImage

from mu_monai.data import read_layout
from mu_monai.data.manifest import check_manifest
from mu_monai.data.volumes.files import promised_too_much, read_volume
from mu_monai.errors import InputError
from tests.data.conftest import write_label, write_series
from tests.data.dicom_objects import SHARED, plane, write_multi_frame

STORED = np.arange(4 * 5 * 6).reshape(4, 5, 6)
PLACES = [plane([10, 20, z]) for z in (6.0, 0.0, 4.0, 2.0)]  # not in the order of their positions


def scaled(slope, intercept):
    return {"PixelValueTransformationSequence": {"RescaleSlope": slope, "RescaleIntercept": intercept}}


def test_frames_are_put_in_the_order_of_their_positions_with_their_own_scale(tmp_path):
    frames = [place | scaled(n + 1, -n) for n, place in enumerate(PLACES)]
    volume = read_volume(str(write_multi_frame(tmp_path / "a.dcm", STORED, frames)))
    expected = [STORED[n].T * (n + 1) - n for n in (1, 3, 2, 0)]
    assert np.array_equal(volume.values, np.stack(expected, axis=-1))
    assert np.allclose(volume.affine, [[-1.5, 0, 0, -10], [0, -1.5, 0, -20], [0, 0, 2, 0], [0, 0, 0, 1]])


def test_what_all_frames_share_holds_for_each(tmp_path):
    shared = SHARED | scaled(2, -1024)
    file = write_multi_frame(tmp_path / "a.dcm", STORED, PLACES, SharedFunctionalGroupsSequence=shared)
    assert read_volume(str(file)).values[0, 0].tolist() == (STORED[[1, 3, 2, 0], 0, 0] * 2 - 1024).tolist()


@pytest.mark.parametrize("scale", [{"RescaleIntercept": -1024}, {"RescaleSlope": 2, "RescaleIntercept": -1024}])
def test_a_scale_beside_the_frames_holds_for_each(tmp_path, scale):
    file = write_multi_frame(tmp_path / "a.dcm", STORED, PLACES, **scale)
    expected = STORED[[1, 3, 2, 0], 0, 0] * scale.get("RescaleSlope", 1) - 1024
    assert read_volume(str(file)).values[0, 0].tolist() == expected.tolist()


def test_training_reads_what_the_checks_read_and_as_a_series(tmp_path):
    file = write_multi_frame(tmp_path / "a.dcm", STORED, PLACES)
    loaded = LoadImage(reader=["PydicomReader", "NibabelReader"])(file)
    assert np.array_equal(loaded.numpy(), read_volume(str(file)).values)
    assert np.allclose(loaded.affine, read_volume(str(file)).affine)
    assert nibabel.load(file).shape == (6, 5, 4)
    series = write_series(tmp_path / "series", ImagePositionPatient=[0, 0, 0])  # the same axes
    with pytest.raises(InputError, match="slices at the position of another one"):
        read_volume(series)


WRONG = {
    "an echo more": ({}, [*PLACES[:3], PLACES[0]], "1 slices at the position of another one"),
    "a gap": ({}, [plane([0, 0, z]) for z in (0, 2, 4, 9)], "uneven slices: 5 mm"),
    "tilted": ({}, [plane([z, 0, z]) for z in (0, 2, 4, 5.9)], "uneven|beside one another"),
    "beside": ({}, [plane([float(z == 2), 0, z]) for z in (0, 2, 4, 6)], "up to 1 mm beside one another"),
    "no place": ({}, [{}] * 4, "no ImagePositionPatient of 3 finite numbers for frame 1"),
    "a description too few": ({}, PLACES[:3], "has 4 frames and describes 3"),
    "some scaled": ({}, [PLACES[0] | scaled(1, 0), *PLACES[1:]], "for some of its frames only"),
    "two directions": (
        {},
        [PLACES[0] | {"PlaneOrientationSequence": {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}}, *PLACES[1:]],
        "several directions",
    ),
    "colors": ({"SamplesPerPixel": 3}, PLACES, "3 values per pixel"),
    "one slice": ({"NumberOfFrames": 1}, PLACES, "holds one slice; give the folder"),
    "no number": ({"NumberOfFrames": "1"}, [], "holds one slice; give the folder"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_one_volume_is_refused(tmp_path, kind):
    changes, frames, message = WRONG[kind]
    file = write_multi_frame(tmp_path / "a.dcm", STORED, frames, **changes)
    with pytest.raises(InputError, match=message):
        read_volume(str(file))


@pytest.mark.parametrize("changes", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 10**9}])
def test_a_header_that_promises_too_much_is_refused_before_anything_is_read(tmp_path, changes):
    file = write_multi_frame(tmp_path / "a.dcm", STORED, PLACES, **changes)
    assert "too large" in promised_too_much(str(file))[0]
    with pytest.raises(InputError, match="is too large"):
        read_volume(str(file))


def test_a_series_that_promises_too_much_is_refused(tmp_path):
    series = write_series(tmp_path / "series", Rows=65535, Columns=65535)
    assert "is too large (65535x65535x4 voxels)" in promised_too_much(series)[0]
    with pytest.raises(InputError, match="is too large"):
        read_volume(series)


def test_files_of_several_frames_are_series_of_the_layout(tmp_path):
    for name in "abcde":
        write_multi_frame(tmp_path / name / "volume.dcm", STORED, PLACES)
        write_label(tmp_path / f"{name}_seg.nii.gz", read_volume(str(tmp_path / name / "volume.dcm")).affine)
    source = read_layout(tmp_path)
    check_manifest(source.manifest)
    assert source.layout == "dicom"
    assert source.manifest["patient_id"].nunique() == 5
    assert all(image.endswith("volume.dcm") for image in source.manifest["image"])
    (tmp_path / "a" / "volume.dcm").rename(tmp_path / "a" / "volume")
    with pytest.raises(InputError, match=r"rename it, so that it ends in \.dcm"):
        read_layout(tmp_path)


def test_the_layout_volumes_takes_them_and_leaves_slices_alone(tmp_path):
    write_multi_frame(tmp_path / "images" / "a.dcm", STORED, PLACES)
    write_label(tmp_path / "labels" / "a.nii.gz")
    assert read_layout(tmp_path).manifest["case_id"].tolist() == ["a"]
