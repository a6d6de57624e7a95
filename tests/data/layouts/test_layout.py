from __future__ import annotations

import logging

import pytest

from mu_monai.data import LAYOUTS, read_chase, read_class_folders, read_isic, read_layout
from mu_monai.errors import InputError
from tests.data.conftest import write_image, write_label, write_mask, write_volume


def make_isic(folder, ids=("ISIC_0000001", "ISIC_0000002"), images="images", masks="masks"):
    for seed, name in enumerate(ids):
        write_image(folder / images / f"{name}.jpg", seed)
        write_mask(folder / masks / f"{name}_segmentation.png", seed)
    return folder


def make_chase(folder):
    for number, eye in ((1, "L"), (1, "R"), (2, "L")):
        name = f"Image_{number:02d}{eye}"
        write_image(folder / f"{name}.jpg", number)
        for observer in ("1stHO", "2ndHO"):
            write_mask(folder / f"{name}_{observer}.png", number)
    return folder


def make_classes(folder, **files):
    """Class folders with pictures: `nevus=("a.jpg", "b.jpg")`."""
    for name, pictures in files.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            write_image(folder / name / picture, sum(f"{name}{picture}".encode()))
    return folder


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
        ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    ],
)
def test_isic_folders_are_recognized_under_all_their_names(tmp_path, images, masks):
    make_isic(tmp_path, images=images, masks=masks)
    write_image(tmp_path / images / "ISIC_0000001_superpixels.png", 5)
    (tmp_path / images / "ATTRIBUTION.txt").touch()
    (tmp_path / masks / "LICENSE.txt").touch()
    source = read_layout(tmp_path)
    assert source.layout == "isic"
    assert source.manifest["case_id"].tolist() == ["ISIC_0000001", "ISIC_0000002"]
    assert source.manifest["label"][0] == str(tmp_path / masks / "ISIC_0000001_segmentation.png")


def test_several_official_archives_are_read_together(tmp_path):
    make_isic(tmp_path, ["ISIC_1"], "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth")
    make_isic(tmp_path, ["ISIC_2"], "ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth")
    assert len(read_isic(tmp_path)) == 2


def test_isic_says_that_it_has_no_patient_ids(tmp_path, caplog):
    manifest = read_isic(make_isic(tmp_path))
    assert manifest["patient_id"].tolist() == manifest["case_id"].tolist()
    assert "2 of 2 images have no patient id" in caplog.text


def test_isic_metadata_gives_columns_and_patients(tmp_path, caplog):
    make_isic(tmp_path)
    (tmp_path / "metadata.csv").write_text("image_id,lesion_id,age\nISIC_0000002,007,30\nISIC_9,8,1\n")
    manifest = read_isic(tmp_path)
    assert manifest["patient_id"].tolist() == ["ISIC_0000001", "007"]
    assert manifest["age"].tolist()[1] == 30
    assert manifest.columns[:4].tolist() == ["case_id", "patient_id", "image", "label"]
    assert "1 of 2 images have no patient id" in caplog.text


def test_isic_patient_id_goes_before_lesion_id_without_a_word(tmp_path, caplog):
    make_isic(tmp_path)
    (tmp_path / "metadata.csv").write_text("image_id,lesion_id,patient_id\nISIC_0000001,a,p\nISIC_0000002,b,p\n")
    assert read_isic(tmp_path)["patient_id"].tolist() == ["p", "p"]
    assert not caplog.text


def test_isic_patients_are_filled_row_by_row(tmp_path, caplog):
    make_isic(tmp_path, [f"ISIC_{number}" for number in range(1, 7)])
    (tmp_path / "metadata.csv").write_text(
        "image_id,patient_id,lesion_id\nISIC_1,p ,a\nISIC_2,,b\n ISIC_3,,b\nISIC_4, ,\nISIC_5,,a\n"
    )
    assert read_isic(tmp_path)["patient_id"].tolist() == ["p", "b", "b", "ISIC_4", "p", "ISIC_6"]
    assert "2 of 6 images have no patient id" in caplog.text


def test_isic_metadata_without_ids_or_with_repeated_ids_is_refused(tmp_path):
    make_isic(tmp_path)
    (tmp_path / "metadata.csv").write_text("imageid,age\nISIC_0000001,3\n")
    with pytest.raises(InputError, match="has the column 'imageid' and not 'image_id'; rename it"):
        read_isic(tmp_path)
    (tmp_path / "metadata.csv").write_text("image_id,age\nISIC_0000001,3\nISIC_0000001,4\n")
    with pytest.raises(InputError, match="describes image_id 'ISIC_0000001' more than once"):
        read_isic(tmp_path)


def test_images_without_mask_and_masks_without_image_are_all_listed(tmp_path):
    make_isic(tmp_path)
    write_image(tmp_path / "images" / "ISIC_3.jpg", 3)
    write_image(tmp_path / "images" / "ISIC_4.jpg", 3)
    write_mask(tmp_path / "masks" / "ISIC_5_segmentation.png", 3)
    with pytest.raises(InputError) as caught:
        read_layout(tmp_path)
    assert len(caught.value.problems) == 3
    assert "ISIC_3.jpg' has no mask; expected '<image id>_segmentation.png'" in caught.value.problems[0]
    assert "ISIC_5_segmentation.png' has no image" in caught.value.problems[2]


@pytest.mark.parametrize("observer", ["1stHO", "2ndHO"])
def test_chase_number_is_the_patient(tmp_path, observer):
    source = read_layout(make_chase(tmp_path), label_set=observer)
    assert (source.layout, source.label_set) == ("chase", observer)
    assert source.manifest["patient_id"].tolist() == ["01", "01", "02"]
    assert source.manifest["eye"].tolist() == ["L", "R", "L"]
    assert source.manifest["label"][2] == str(tmp_path / f"Image_02L_{observer}.png")


def test_chase_takes_the_first_observer_unless_told(tmp_path):
    source = read_layout(make_chase(tmp_path))
    assert source.label_set == "1stHO"
    assert source.manifest.equals(read_chase(tmp_path))


def test_chase_image_without_mask_is_refused(tmp_path):
    (make_chase(tmp_path) / "Image_01R_2ndHO.png").unlink()
    with pytest.raises(InputError, match=r"Image_01R.jpg' has no mask; expected '<image>_2ndHO.png'"):
        read_layout(tmp_path, "chase", "2ndHO")


def test_class_folders_are_recognized_and_name_the_labels(tmp_path):
    source = read_layout(make_classes(tmp_path, nevus=("b.jpg", "a.PNG"), melanoma=("c.jpg",)))
    assert (source.layout, source.label_set) == ("class-folders", None)
    assert source.manifest["case_id"].tolist() == ["c", "a", "b"]
    assert source.manifest["label"].tolist() == source.manifest["diagnosis"].tolist() == ["melanoma", "nevus", "nevus"]
    assert source.manifest["image"][1] == str(tmp_path / "nevus" / "a.PNG")
    assert source.manifest.columns.tolist() == ["case_id", "patient_id", "image", "label", "diagnosis"]


def test_class_folders_may_be_divided_into_parts(tmp_path):
    make_classes(tmp_path / "Train", nevus=("a.jpg", "a (1).jpg"), melanoma=("b.jpg",))
    make_classes(tmp_path / "Test", nevus=("b.jpg",))
    manifest = read_layout(tmp_path).manifest
    assert manifest["case_id"].tolist() == ["b", "b", "a (1)", "a"]
    assert manifest["folder"].tolist() == ["Test", "Train", "Train", "Train"]
    assert manifest["label"].tolist() == ["nevus", "melanoma", "nevus", "nevus"]


def test_what_class_folders_leave_out_is_logged(tmp_path, caplog):
    make_classes(tmp_path, nevus=("a.jpg", "deep/b.jpg"), melanoma=("c.jpg",), empty=())
    (tmp_path / "readme.txt").touch()
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "melanoma" / "Thumbs.db").touch()
    (tmp_path / ".cache").mkdir()
    assert read_layout(tmp_path, "class-folders").manifest["case_id"].tolist() == ["c", "a"]
    assert f"class folder '{tmp_path / 'empty'}' has no pictures" in caplog.text
    assert f"3 hidden files or folders, such as '{tmp_path / '.DS_Store'}'; left out" in caplog.text
    assert "1 images or label files that belong to no case, such as 'nevus/deep/b.jpg'; left out" in caplog.text
    assert "1 files of other types, such as 'readme.txt'; left out" in caplog.text


def test_class_folders_without_leftovers_say_nothing_of_them(tmp_path, caplog):
    (make_classes(tmp_path, a=("1.jpg",), b=("2.jpg",)) / "metadata.csv").write_text("image_id,patient_id\n1,p\n2,q\n")
    read_class_folders(tmp_path)
    assert not caplog.text


def test_class_folders_take_metadata_but_not_what_the_folders_say(tmp_path, caplog):
    make_classes(tmp_path / "Train", nevus=("1.jpg",), melanoma=("1.jpg", "2.jpg"))
    (tmp_path / "metadata.csv").write_text(
        "file,image_id,folder,diagnosis,lesion_id,age\n"
        "Train/nevus/1.jpg,1,train,nevus,007,30\nTrain/melanoma/1.jpg,1,train,melanoma,007,30\n"
    )
    manifest = read_class_folders(tmp_path)
    assert manifest["patient_id"].tolist() == ["007", "2", "007"]
    assert manifest["age"].tolist()[0] == 30
    assert manifest["folder"].unique().tolist() == ["Train"]
    assert manifest["diagnosis"].tolist() == ["melanoma", "melanoma", "nevus"]
    assert "file" not in manifest
    assert "1 of 3 images have no patient id" in caplog.text


def test_class_folders_refuse_metadata_that_contradicts_itself(tmp_path):
    make_classes(tmp_path, nevus=("1.jpg",), melanoma=("2.jpg",))
    (tmp_path / "metadata.csv").write_text("image_id,age\n1,30\n1,40\n")
    with pytest.raises(InputError, match="describes image_id '1' more than once"):
        read_class_folders(tmp_path)


def test_a_single_class_is_refused(tmp_path):
    make_classes(tmp_path, nevus=("a.jpg",), melanoma=())
    with pytest.raises(InputError, match=r"has pictures of 1 classes \('nevus'\); a classifier needs two or more"):
        read_layout(tmp_path)
    with pytest.raises(InputError, match=r"has pictures of 0 classes \(none\)"):
        read_class_folders(tmp_path / "melanoma")


@pytest.mark.parametrize("other", ["masks", "labels", "Mask"])
def test_folders_of_a_segmentation_data_set_are_no_classes(tmp_path, other):
    make_classes(tmp_path, pictures=("a.jpg",), **{other: ("a.png",)})
    with pytest.raises(InputError, match="no layout fits"):
        read_layout(tmp_path)
    with pytest.raises(InputError, match="the layout 'class-folders', which is a folder with"):
        read_layout(tmp_path, "class-folders")


def test_a_csv_or_a_folder_with_one_is_a_manifest(tmp_path, caplog):
    (tmp_path / "manifest.csv").write_text("case_id,patient_id,image,label\n1,2,a.png,x\n")
    with caplog.at_level(logging.INFO):
        assert read_layout(tmp_path / "manifest.csv").layout == "manifest"
    assert "recognized as 'manifest'" in caplog.text
    assert read_layout(tmp_path).manifest["image"][0] == str(tmp_path / "a.png")


def test_a_folder_that_fits_no_layout_names_all_that_were_tried(tmp_path):
    with pytest.raises(InputError, match="no layout fits") as caught:
        read_layout(tmp_path)
    for name, layout in LAYOUTS.items():
        assert f"{name}: {layout.looks_for}" in caught.value.problems


@pytest.mark.parametrize(
    ("layout", "label_set", "expected"),
    [
        ("isik", None, "layout 'isik' is unknown; did you mean 'isic'"),
        ("isic", None, "the layout 'isic', which is a folder with images/ and masks/"),
        ("chase", "3rdHO", "'3rdHO' does not exist in layout 'chase'; choose '1stHO' or '2ndHO'"),
    ],
)
def test_a_wrong_layout_or_label_set_is_refused(tmp_path, layout, label_set, expected):
    with pytest.raises(InputError, match=expected):
        read_layout(make_chase(tmp_path), layout, label_set)


def test_a_label_set_where_there_is_only_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="leave --label-set out"):
        read_layout(make_isic(tmp_path), label_set="1stHO")


def test_an_absent_source_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist; give a folder or a CSV file"):
        read_layout(tmp_path / "nothing")


IDS = ("ISIC_0000001", "ISIC_0000002", "ISIC_0000003")


@pytest.mark.parametrize(
    ("written", "example"),
    [
        (lambda name: f"{name}.jpg", "'ISIC_0000001.jpg'"),
        (str.lower, "'isic_0000001'"),
        (lambda name: name[5:], "'0000001'"),
        (lambda name: "", "no row"),
    ],
)
@pytest.mark.parametrize("make", ["isic", "classes", "volumes"])
def test_metadata_of_no_image_are_refused_with_examples_of_both(tmp_path, written, example, make):
    if make == "isic":
        make_isic(tmp_path, IDS)
    elif make == "classes":
        make_classes(tmp_path, nevus=[f"{name}.jpg" for name in IDS[:2]], melanoma=[f"{IDS[2]}.jpg"])
    else:
        for name in IDS:
            write_volume(tmp_path / "images" / f"{name}.nii.gz")
            write_label(tmp_path / "labels" / f"{name}.nii.gz")
    rows = "".join(f"{written(name)},p1\n" for name in IDS)
    (tmp_path / "metadata.csv").write_text("image_id,patient_id\n" + rows)
    with pytest.raises(
        InputError, match=rf"describes none of the 3 images: its image_id holds {example}.*'ISIC_00"
    ) as e:
        read_layout(tmp_path)
    assert e.match(".ISIC_0000001.*without their suffix, letter for letter")


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (IDS[:1], "describes 1 of 3 images; such as 'ISIC_0000002' is not among its 1 rows"),
        ((*IDS[:2], "x"), "describes 2 of 3 images; such as 'ISIC_0000003' is not among its 3 rows"),
        ((*IDS[:2], "isic_3"), "not among its 3 rows, but nearly: 'ISIC_0000003' and 'isic_3' (1 times)"),
    ],
)
def test_images_without_metadata_are_counted(tmp_path, caplog, described, said):
    make_isic(tmp_path, IDS)
    rows = "".join(f"{name},p1\n" for name in described)
    (tmp_path / "metadata.csv").write_text("image_id,patient_id\n" + rows)
    read_layout(tmp_path)
    assert said in caplog.text


def test_a_workbook_is_told_as_such(tmp_path):
    for name in ("a.xlsx", "b.csv"):
        (tmp_path / name).write_bytes(b"PK\x03\x04rest of a workbook")
        with pytest.raises(InputError, match=rf"{name}' is a workbook"):
            read_layout(tmp_path / name)


def test_a_table_with_tabs_is_a_manifest(tmp_path):
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "list.tsv").write_text("case_id\tpatient_id\timage\tlabel\nc1\tp1\ta.png\tnevus\n")
    assert read_layout(tmp_path / "list.tsv").manifest["image"].tolist() == [str(tmp_path / "a.png")]
