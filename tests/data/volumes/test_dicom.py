from __future__ import annotations

import re

import numpy as np
import pytest
from monai.transforms import Compose, LoadImaged, Orientationd

from mu_monai.data.check_volume import CheckVolumed
from mu_monai.data.volumes.dicom import find_series, read_header, series_problems, text
from tests.data.conftest import put_bytes, slice_header, write_series


def replace_slice(folder, number, **changes):
    """Write one slice of a series again, with other header elements."""
    shared = {"PatientID": "Anna", "SeriesInstanceUID": read_header(folder).SeriesInstanceUID}
    header = slice_header(number, **{**shared, **changes})
    header.save_as(folder / f"IM{number:04d}", enforce_file_format=True)


@pytest.fixture
def series(tmp_path):
    write_series(tmp_path / "s", slices=6)
    return tmp_path / "s"


def test_a_whole_series_has_no_problems(series):
    (series / ".DS_Store").write_bytes(b"hidden files do not count")
    assert series_problems(series) == []


def test_slices_may_come_from_above_and_lie_oblique(tmp_path):
    direction = [0.8, 0.6, 0, -0.48, 0.64, 0.6]
    normal = np.cross(direction[:3], direction[3:])
    write_series(tmp_path / "s", ImageOrientationPatient=direction)
    for number in range(4):
        position = (-3.0 * number * normal).round(5).tolist()
        replace_slice(tmp_path / "s", number, ImageOrientationPatient=direction, ImagePositionPatient=position)
    assert series_problems(tmp_path / "s") == []


def test_a_missing_slice_is_told_by_its_place(series):
    (series / "IM0002").unlink()
    assert series_problems(series) == [
        "has uneven slices: 4 mm from 2 to 6 mm along their normal, instead of the usual 2 mm (1 such places); add the "
        "missing slices, or resample the series"
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"SeriesInstanceUID": "1.2.3"}, "mixes 2 values of SeriesInstanceUID: 5 slices, 1 slices; give each series"),
        ({"PatientID": "Bert"}, "mixes 2 values of PatientID: 5 slices, 1 slices; give each patient's"),
        ({"Rows": 3, "Columns": 10}, r"mixes 2 values of Rows: 5 \(5 slices\), 3 \(1 slices\)"),
        ({"PixelSpacing": [1.5, 1.4]}, r"mixes 2 values of PixelSpacing: \[1.5, 1.5\] .*\[1.5, 1.4\]"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "ImageOrientationPatient: .*such as a localizer"),
        ({"ImagePositionPatient": [0, 0, 2]}, "holds 1 slices at the position of another one, such as at 2 mm"),
        ({"InstanceNumber": 1}, r"numbers its slices \(InstanceNumber\) in another order"),
        ({"InstanceNumber": 40}, r"numbers its slices \(InstanceNumber\) in another order"),
        ({"InstanceNumber": None}, r"holds 1 files that are not slices .*'IM0004' \(CT\)"),
        ({"NumberOfFrames": 20}, "several frames"),
        ({"ImagePositionPatient": None, "Modality": "SR"}, r"holds 1 files that are not slices .*'IM0004' \(SR\)"),
    ],
)
def test_one_slice_that_does_not_belong_is_told(series, changes, problem):
    replace_slice(series, 4, **changes)
    (found,) = [told for told in series_problems(series) if "Columns:" not in told]
    assert_matches(found, problem)


def test_files_that_are_no_dicom_and_folders_are_told_at_once(series):
    (series / "notes.txt").write_text("x")
    (series / "more").mkdir()
    folder, file = series_problems(series)
    assert_matches(folder, "holds the folder 'more'")
    assert_matches(file, r"holds 1 files that cannot be read as DICOM, such as 'notes.txt' \(.*\); replace them")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("InstanceNumber", b"1e400 ", "InstanceNumber: cannot convert float infinity to integer"),
        ("InstanceNumber", b"abc ", "InstanceNumber: .*'abc'"),
        ("PixelSpacing", b"abc ", "PixelSpacing: could not convert string to float: 'abc'"),
        ("PixelSpacing", b"1.5 ", "PixelSpacing is 1.5, but must be 2 finite numbers"),
        ("ImagePositionPatient", b"1\\2 ", r"ImagePositionPatient is \[1, 2\], but must be 3 finite numbers"),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\1\\nan ", "ImageOrientationPatient is .*nan.*"),
        ("RescaleSlope", b"abc ", "RescaleSlope: could not convert string to float: 'abc'"),
        ("Rows", b"\5\0\5\0", r"Rows is \[5, 5\], but must be 1 finite numbers"),
    ],
)
def test_a_header_value_that_is_no_number_is_told_with_its_element(series, keyword, value, told):
    put_bytes(series, keyword, value)
    (found,) = series_problems(series)
    assert_matches(
        found, rf"holds 6 files whose headers hold a wrong value, such as 'IM0000' \({told}\); correct these"
    )


def test_identifiers_stand_in_no_problem(series):
    replace_slice(series, 4, PatientID="Bert", SeriesInstanceUID="1.2.3")
    told = " ".join(series_problems(series))
    assert "mixes 2 values of PatientID" in told
    assert not any(name in told for name in ("Anna", "Bert", "1.2.826", "1.2.3"))


def test_a_dicomdir_beside_the_slices_is_told(series):
    (series / "DICOMDIR").write_bytes((series / "IM0000").read_bytes())
    (found,) = series_problems(series)
    assert_matches(found, "holds a DICOMDIR, the index of a medium, which would be read as a slice; move it elsewhere")


def test_a_path_that_is_a_pattern_is_told(tmp_path):
    (found,) = series_problems(write_series(tmp_path / "scan [1]"))
    assert_matches(found, "in its path, which would be read as a pattern; rename the folder")


def test_one_slice_is_no_volume(tmp_path):
    write_series(tmp_path / "s", slices=1)
    assert series_problems(tmp_path / "s") == ["holds 1 DICOM slices; a volume needs two or more"]


def test_series_are_found_at_any_depth_and_hidden_folders_are_not(tmp_path):
    for place in ("b", "a/deep/er", ".hidden"):
        write_series(tmp_path / place, slices=2)
    (tmp_path / "DICOMDIR").write_bytes((tmp_path / "b" / "IM0000").read_bytes())
    assert list(find_series(tmp_path)) == [tmp_path / "a/deep/er", tmp_path / "b"]


def test_header_text_is_stripped_and_empty_is_none(series):
    replace_slice(series, 0, Manufacturer=" GE ", PatientSex="")
    header = read_header(series)
    assert (text(header, "Manufacturer"), text(header, "PatientSex"), text(header, "PatientWeight")) == (
        "GE",
        None,
        None,
    )


def test_the_real_series_is_whole(real_data):
    assert series_problems(real_data / "ct_example" / "dicom") == []


def assert_matches(told, pattern):
    assert re.search(pattern, told), told


def test_the_real_series_has_the_voxels_of_its_label_and_hounsfield_units(real_data):
    folder = real_data / "ct_example"
    files = {"image": str(folder / "dicom"), "label": str(folder / "dicom_seg.nii.gz")}
    keys = ["image", "label"]
    load = LoadImaged(keys, reader=["NibabelReader", "PydicomReader"], ensure_channel_first=True)
    read = Compose([load, CheckVolumed(classes=list(map(str, range(118)))), Orientationd(keys, axcodes="RAS")])(files)
    image, label = read["image"], read["label"]
    assert image.shape == label.shape == (1, 512, 512, 20)
    np.testing.assert_allclose(image.affine, label.affine, atol=1e-4)
    assert image.min() == -1024
    assert 0 < image[label == 5].median() < 200  # the liver, in Hounsfield units
