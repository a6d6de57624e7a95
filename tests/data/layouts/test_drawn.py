from __future__ import annotations

import shutil

import nibabel
import numpy as np
import pydicom
import pytest

from mu_monai import workflow
from mu_monai.data import open_split, read_layout
from mu_monai.errors import InputError
from tests.data.conftest import write_label, write_series
from tests.data.dicom_objects import box, headers, write_contours, write_segmentation

LIVER = box(slice(0, 3), slice(1, 4), slice(1, 5))
TUMOR = box(slice(1, 2), slice(4, 5), slice(2, 4))
SQUARE = [(0.6, 0.6), (4.4, 0.6), (4.4, 3.4), (0.6, 3.4)]  # encloses the centers of LIVER
PATIENTS = ("Anna", "Bert", "Cleo", "Dora", "Emil")


@pytest.fixture
def cohort(tmp_path):
    for patient in PATIENTS:
        series = tmp_path / "export" / patient / "ct"
        write_series(series, patient=patient)
        segments = {1: ("liver", LIVER), 2: ("tumor", TUMOR)}
        write_segmentation(series.parent / "seg" / "expert.dcm", series, segments)
    return tmp_path / "export"


@pytest.fixture
def series(tmp_path):
    made = tmp_path / "one" / "ct"
    write_series(made, patient="Anna")
    return made


def drawn(series, **options):
    """The classes, and the label as `(slices, rows, columns)`."""
    source = read_layout(series.parent, "dicom", drawn_to=series.parent.parent / "labels", **options)
    values = np.asanyarray(nibabel.load(source.manifest["label"][0]).dataobj)
    return source.classes, values.transpose(2, 1, 0)


def test_a_split_of_series_with_segmentations(cohort, tmp_path):
    out = tmp_path / "split.json"
    assert "classes: background, liver, tumor" in workflow.split(cohort, out=out)
    split = open_split(out)
    assert len(split.table) == 5
    for row in split.table.itertuples():
        assert row.label.startswith("split_labels/series-")
        assert np.array_equal(
            np.asanyarray(nibabel.load(tmp_path / row.label).dataobj).transpose(2, 1, 0), LIVER + 2 * TUMOR
        )


def test_whatever_fails_leaves_no_labels(cohort, tmp_path):
    (cohort / "Anna" / "ct" / "IM0001").unlink()
    with pytest.raises(InputError, match="uneven slices"):
        workflow.split(cohort, out=tmp_path / "split.json")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_every_kind_of_segmentation(series, kind):
    value = {"BINARY": 1, "FRACTIONAL": 255, "LABELMAP": 1}[kind]
    write_segmentation(series.parent / "s.dcm", series, {1: ("liver", LIVER * value)}, kind)
    classes, label = drawn(series)
    assert classes == ("background", "liver")
    assert np.array_equal(label, LIVER)


def test_structures_by_name_number_and_several_names(series, caplog):
    segments = {3: ("liver", LIVER), 5: ("tumor", TUMOR)}
    write_segmentation(series.parent / "s.dcm", series, segments)
    assert drawn(series, structures=["5", "liver"])[0] == ("background", "tumor", "liver")
    classes, label = drawn(series, structures=["tumor"])
    assert classes == ("background", "tumor")
    assert np.array_equal(label, TUMOR)
    assert "1 structures were not chosen, such as 'liver'" in caplog.text
    classes, label = drawn(series, structures=["liver|tumor"])
    assert classes == ("background", "liver")
    assert np.array_equal(label, LIVER | TUMOR)
    with pytest.raises(InputError, match=r"--structure 'spleen' is in none of the objects"):
        drawn(series, structures=["spleen"])


def test_segments_of_one_label_are_one_class(series):
    write_segmentation(series.parent / "s.dcm", series, {1: ("lesion", LIVER), 2: ("lesion", TUMOR)})
    classes, label = drawn(series)
    assert classes == ("background", "lesion")
    assert np.array_equal(label, LIVER | TUMOR)


def test_a_number_that_means_several_structures_is_refused(cohort, tmp_path):
    ct = cohort / "Bert" / "ct"
    write_segmentation(cohort / "Bert" / "seg" / "expert.dcm", ct, {1: ("spleen", LIVER)})
    with pytest.raises(InputError, match="--structure 1 is 'liver' or 'spleen', which are different"):
        workflow.split(cohort, out=tmp_path / "s.json", structures=["1"])


def test_an_object_without_a_structure_is_told(cohort, tmp_path, caplog):
    write_segmentation(cohort / "Bert" / "seg" / "expert.dcm", cohort / "Bert" / "ct", {1: ("liver", LIVER)})
    workflow.split(cohort, out=tmp_path / "s.json")
    assert "1 of 5 objects have no structure 'tumor'" in caplog.text


def test_names_that_nearly_agree_are_told(series, caplog):
    write_segmentation(series.parent / "s.dcm", series, {1: ("Liver", LIVER), 2: ("liver", TUMOR)})
    drawn(series)
    assert (
        "'Liver' and 'liver' are different structures here; if they are one, give --structure 'Liver|liver'"
        in caplog.text
    )


def test_structures_that_overlap_are_refused(series):
    write_segmentation(series.parent / "s.dcm", series, {1: ("liver", LIVER), 2: ("all", LIVER | TUMOR)})
    with pytest.raises(InputError, match=r"structures 'liver' and 'all' in the same voxels \(36 of them\)"):
        drawn(series)


def test_several_objects_of_one_series_are_chosen_by_name(series):
    for name, mask in (("expert", LIVER), ("resident", TUMOR)):
        write_segmentation(series.parent / "seg" / f"{name}.dcm", series, {1: ("liver", mask)})
    with pytest.raises(InputError, match="choose one with --label-set: expert, resident"):
        drawn(series)
    assert np.array_equal(drawn(series, label_set="resident")[1], TUMOR)
    shutil.copy(series.parent / "seg" / "expert.dcm", series.parent / "seg" / "again.dcm")
    with pytest.raises(InputError, match=r"has 3 objects with structures, .*of which 2 are taken"):
        drawn(series, label_set="expert")


def test_contours_with_a_hole_and_one_that_is_given_twice(series):
    hole = [(1.6, 1.6), (2.4, 1.6), (2.4, 2.4), (1.6, 2.4)]
    contours = [(0, hole), (0, SQUARE), (0, SQUARE), (2, SQUARE)]
    write_contours(series.parent / "rs.dcm", series, {"liver": contours, "marker": []})
    classes, label = drawn(series)
    expected = box(slice(0, 1), slice(1, 4), slice(1, 5)) | box(slice(2, 3), slice(1, 4), slice(1, 5))
    expected[0, 2, 2] = False
    assert classes == ("background", "liver")
    assert np.array_equal(label, expected)


def test_contours_through_the_centers_of_voxels_enclose_them(series):
    corners = [(1, 1), (4, 1), (4, 3), (1, 3)]
    write_contours(series.parent / "rs.dcm", series, {"liver": [(0, corners)]})
    assert np.array_equal(drawn(series)[1], box(slice(0, 1), slice(1, 4), slice(1, 5)))


WRONG = {
    "another grid": (
        {"SharedFunctionalGroupsSequence": {
            "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            "PixelMeasuresSequence": {"PixelSpacing": [0.75, 0.75]},
        }},
        "pixels of another size or direction",
    ),
    "mirrored": (
        {"SharedFunctionalGroupsSequence": {
            "PlaneOrientationSequence": {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]},
            "PixelMeasuresSequence": {"PixelSpacing": [1.5, 1.5]},
        }},
        "reaches beyond its image",
    ),
    "another kind": ({"SegmentationType": "SURFACE"}, "SegmentationType SURFACE, which is not known"),
    "without a label": ({"SegmentSequence": {"SegmentNumber": 1}}, "segment without SegmentLabel"),
    "too large": ({"Rows": 65535, "Columns": 65535}, "is too large"),
    "too short": ({"PixelData": b"\0\0"}, "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_segmentation_that_is_not_on_its_image_is_refused_by_name(series, kind):
    changes, message = WRONG[kind]
    write_segmentation(series.parent / "s.dcm", series, {1: ("liver", LIVER)}, **changes)
    with pytest.raises(InputError, match=rf"object '.*s\.dcm' .*{message}"):
        drawn(series)


def test_shares_of_voxels_are_refused(series):
    write_segmentation(series.parent / "s.dcm", series, {1: ("liver", LIVER * 100)}, "FRACTIONAL")
    with pytest.raises(InputError, match="shares between 0 and 255 of a voxel"):
        drawn(series)


def test_a_frame_that_refers_to_another_slice_or_series_is_refused(series, tmp_path):
    write_segmentation(series.parent / "s.dcm", series, {1: ("liver", LIVER)})
    uids = [header.SOPInstanceUID for header in headers(series)]
    write_series(series, patient="Anna")  # the same positions, other instances
    with pytest.raises(InputError, match="refers to an image that its series does not have"):
        drawn(series)
    turned = dict(zip(sorted(series.iterdir()), reversed(uids), strict=True))
    for file, uid in turned.items():
        header = pydicom.dcmread(file)
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = uid
        header.save_as(file)
    with pytest.raises(InputError, match="lies on slice 1, but refers to the image of slice 4"):
        drawn(series)


CONTOURS = {
    "between slices": ({"ContourData": [0, 0, 1, 3, 0, 1, 3, 3, 1]}, "is not on a slice of its image"),
    "outside": ({"ContourData": [0, 0, 0, 30, 0, 0, 3, 3, 0]}, "reaches beyond its image"),
    "a line": ({"ContourData": [0, 0, 0, 3, 0, 0]}, "not three or more points"),
}


@pytest.mark.parametrize("kind", CONTOURS)
def test_contours_that_are_not_on_their_image_are_refused(series, kind):
    changes, message = CONTOURS[kind]
    write_contours(series.parent / "rs.dcm", series, {"liver": [(0, SQUARE)]}, **changes)
    with pytest.raises(InputError, match=message):
        drawn(series)


def test_a_label_file_goes_before_objects_and_nothing_else_needs_a_structure(cohort, tmp_path, caplog):
    for patient in PATIENTS:
        write_label(cohort / patient / "ct_seg.nii.gz", np.diag([-1.5, -1.5, 2, 1]))
    workflow.split(cohort, out=tmp_path / "s.json")
    assert not (tmp_path / "s_labels").exists()
    assert "5 folders with other DICOM objects" in caplog.text
    with pytest.raises(InputError, match="--structure has no effect"):
        workflow.split(cohort, out=tmp_path / "t.json", structures=["liver"])
    with pytest.raises(InputError, match=r"--structure liver has no effect on a split\.json"):
        workflow.split(
            tmp_path / "s.json",
            out=tmp_path / "t.json",
            structures=["liver"],
            forget=workflow.ForgetChoice(fraction=0.1),
        )
