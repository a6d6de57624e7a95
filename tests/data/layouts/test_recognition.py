"""A folder is recognized for sure, or refused; nothing is left out without a count."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from mu_monai import workflow
from mu_monai.data import Patterns, read_class_folders, read_dicom, read_layout
from mu_monai.errors import InputError
from tests.data.conftest import make_dicom, write_image, write_label, write_mask, write_series, write_volume


def classes(folder, names=("benign", "malignant"), pictures=4, picture="{name}_{n}.jpg"):
    for kind, name in enumerate(names):
        for n in range(pictures):
            write_image(folder / name / picture.format(name=name, n=n), 50 * kind + n)
    return folder


def with_masks_beside(folder, image="{n}.jpg", mask="{n}_seg.jpg"):
    for place in ("left", "right"):
        for n in range(4):
            write_image(folder / place / image.format(n=n), n + 10 * len(place))
            write_mask(folder / place / mask.format(n=n), n)


def with_file(name, content):
    def make(folder):
        classes(folder)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    return make


def with_sibling_masks(suffix):
    def make(folder):
        classes(folder, ["photographs"], picture="{n}." + suffix)
        for n in range(4):
            write_mask(folder / "vessels" / f"{n}.{suffix}", n, (96, 80))

    return make


DOUBTS = {
    "table": (
        with_file("meta.csv", "image_id,dx,lesion\nbenign_1,nv,a\n"),
        "'meta.csv' describes pictures, such as 'benign_1'",
    ),
    "table with tabs": (with_file("list.tsv", "file\tdx\nbenign/benign_2.jpg\tnv\n"), "'list.tsv' describes pictures"),
    "table without suffix": (
        with_file("HAM_metadata", "a;b\nmalignant_3.jpg;1\n"),
        "'HAM_metadata' describes pictures",
    ),
    "workbook": (with_file("patients.xlsx", "PK"), "'patients.xlsx' may say what the pictures show"),
    "dataset.json": (with_file("dataset.json", "{}"), "'dataset.json' describes the folder"),
    "annotation beside": (with_file("benign/benign_1.xml", "<a/>"), "1 files have the name of a picture"),
    "deeper pictures": (
        lambda f: write_image(classes(f) / "benign" / "anna" / "1.jpg", 7),
        "images are not in a class",
    ),
    "volumes": (lambda f: write_volume(classes(f) / "scan.nii.gz", 7), "1 images are not in a class folder"),
    "parts of an archive": (
        lambda f: classes(f, ("HAM10000_images_part_1", "HAM10000_images_part_2")),
        "part of an archive",
    ),
    "input and ground truth": (
        lambda f: classes(f, ("Task3_Input", "lesions")),
        "'Task3_Input' has the name of a part",
    ),
    "folds": (lambda f: classes(f, ("fold0", "fold1")), "'fold0' has the name of a part of an archive"),
    "patients": (lambda f: classes(f, ("P001", "P002", "P003")), "differ only by numbers, such as 'P001' and 'P002'"),
    "numbers": (lambda f: classes(f, ("1", "2", "3")), "differ only by numbers"),
    "one picture each": (lambda f: classes(f, ("anna", "bert", "cleo"), 1), "3 of 3 folders hold a single picture"),
    "masks beside": (
        with_masks_beside,
        r"8 pictures seem to be masks of others, such as 'left/0_seg.jpg' of 'left/0.jpg'",
    ),
    "masks of the same name": (with_sibling_masks("png"), "'vessels' have so few colors that they seem to be masks"),
    "masks as JPEG": (with_sibling_masks("jpg"), "'vessels' have so few colors that they seem to be masks"),
    "masks as bitmaps": (with_sibling_masks("bmp"), "'vessels' have so few colors that they seem to be masks"),
    "many folders": (lambda f: classes(f, [f"{a}{b}" for a in "abcdefg" for b in "uvwxyz"], 2), "there are 42 folders"),
}


@pytest.mark.parametrize("kind", DOUBTS)
def test_what_speaks_against_classes_forbids_them(tmp_path, kind):
    make, reason = DOUBTS[kind]
    make(tmp_path)
    with pytest.raises(InputError, match=reason) as caught:
        read_layout(tmp_path)
    assert "if it is right, give --layout class-folders" in str(caught.value)


@pytest.mark.parametrize("kind", ["table", "patients", "parts of an archive", "deeper pictures", "one picture each"])
def test_a_user_who_names_class_folders_gets_them(tmp_path, kind):
    DOUBTS[kind][0](tmp_path)
    assert read_layout(tmp_path, "class-folders").layout == "class-folders"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{n}.jpg", "{n}_seg.jpg"),
        ("x{n}.png", "x{n}_mask.png"),
        ("{n}a.jpg", "{n}a-Segmentation1.png"),
        ("{n}.tif", "{n}_GT.png"),
    ],
)
def test_masks_among_the_pictures_are_never_images(tmp_path, image, mask):
    with_masks_beside(tmp_path, image, mask)
    with pytest.raises(InputError, match="8 pictures seem to be masks of others") as caught:
        read_class_folders(tmp_path)
    advice = str(caught.value).split("as in --images '")[1]
    images, labels = advice.split("'")[0], advice.split("--labels '")[1].split("'")[0]
    found = read_layout(tmp_path, patterns=Patterns(images=images, labels=labels)).manifest
    assert len(found) == 8
    assert found["label"].map(os.path.basename).tolist()[0] == mask.format(n=0)


@pytest.mark.parametrize(
    "other", ["imagesTr", "labelsTr", "labels", "masksTs", "GroundTruth", "1st_manual", "annotations"]
)
def test_folders_of_a_segmentation_data_set_are_not_even_classes_by_name(tmp_path, other):
    classes(tmp_path, ("lesions", other))
    with pytest.raises(InputError, match="does not have the layout 'class-folders'"):
        read_layout(tmp_path, "class-folders")


@pytest.mark.parametrize("parts", [(), ("Train", "Test"), ("training", "val", "test")])
def test_where_files_are_numbered_anew_the_folder_is_part_of_the_id(tmp_path, parts):
    for seed, part in enumerate(parts or [""]):
        for kind in ("benign", "malignant"):
            for n in range(1, 6 - seed):
                write_image(tmp_path / part / kind / f"{n}.jpg", 100 * seed + 10 * len(kind) + n)
    manifest = read_layout(tmp_path).manifest
    ids, first = set(manifest["case_id"]), f"{parts[0]}/" if parts else ""
    assert len(ids) == len(manifest)
    assert ids.issuperset({f"{first}benign/1", f"{first}malignant/1"})
    assert (manifest["patient_id"] == manifest["case_id"]).all()


@pytest.mark.parametrize("names", [("ISIC_0024306", "ISIC_0031999"), ("anna", "bert"), ("x9000", "x17")])
def test_names_that_identify_a_picture_stay_its_id(tmp_path, caplog, names):
    for seed, kind in enumerate(("benign", "malignant")):
        for n, name in enumerate(names):
            write_image(tmp_path / kind / f"{name}.jpg", 10 * seed + n)
    assert sorted(set(read_layout(tmp_path).manifest["case_id"])) == sorted(names)
    assert "2 pictures have the name of another one" in caplog.text
    advised = Patterns(images=caplog.text.split("give --images '")[1].split("'")[0])
    assert read_layout(tmp_path, patterns=advised).manifest["case_id"].tolist()[0] == f"benign/{min(names)}"


@pytest.mark.parametrize("double", ["image", "mask", "mask with suffix"])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_one_name_for_two_files_is_an_error(tmp_path, double, number):
    for n in range(6):
        write_image(tmp_path / "images" / f"x{n}.jpg", n)
        write_mask(tmp_path / "masks" / f"x{n}.png", n)
    other = {"image": "images/x{}.png", "mask": "masks/x{}.bmp", "mask with suffix": "masks/x{}_segmentation.png"}[
        double
    ]
    for n in range(number):
        write_image(tmp_path / other.format(n), 50 + n)
    with pytest.raises(InputError, match="have the same name; keep one of them") as caught:
        read_layout(tmp_path)
    assert len(caught.value.problems) == number
    assert all(str(tmp_path / other.format(n)) in caught.value.problems[n] for n in range(number))


def test_several_layouts_that_fit_are_listed(tmp_path):
    for n in range(4):
        write_image(tmp_path / "images" / f"ISIC_{n}.jpg", n)
        write_mask(tmp_path / "masks" / f"ISIC_{n}.png", n)
    rows = "".join(f"ISIC_{n},nevus\n" for n in range(4))
    (tmp_path / "metadata.csv").write_text(f"isic_id,diagnosis\n{rows}")
    with pytest.raises(InputError, match="several layouts fit") as caught:
        read_layout(tmp_path)
    assert [problem.partition(":")[0] for problem in caught.value.problems[1:]] == [
        "--layout isic",
        "--layout isic-archive",
    ]


@pytest.mark.parametrize("kind", ["folder of a patient", "folder of all", "slices"])
def test_links_are_followed_and_said(tmp_path, caplog, kind):
    cohort = make_dicom(tmp_path / "archive" if kind == "folder of all" else tmp_path / "cohort")
    if kind == "folder of all":
        (tmp_path / "cohort").mkdir()
        for place in sorted(cohort.iterdir()):
            (tmp_path / "cohort" / place.name).symlink_to(place)
    elif kind == "folder of a patient":
        shutil.move(cohort / "site-0", tmp_path / "elsewhere")
        (cohort / "site-0").symlink_to(tmp_path / "elsewhere")
    else:
        for slice_ in sorted((cohort / "site-0" / "scan-0").iterdir()):
            shutil.move(slice_, tmp_path / slice_.name)
            slice_.symlink_to(tmp_path / slice_.name)
    with caplog.at_level("INFO"):
        assert len(read_layout(tmp_path / "cohort").manifest) == 5
    assert "links are followed, such as" in caplog.text


def test_a_link_back_to_where_it_is_ends(tmp_path, caplog):
    cohort = make_dicom(tmp_path / "cohort")
    (cohort / "site-0" / "again").symlink_to(cohort)
    (cohort / "gone").symlink_to(tmp_path / "nowhere")
    assert len(read_layout(cohort).manifest) == 5
    assert "2 links that lead nowhere or in a circle" in caplog.text


@pytest.mark.parametrize("modality", ["RTSTRUCT", "SEG", "SR"])
def test_other_objects_beside_a_series_are_left_out_and_counted(tmp_path, caplog, modality):
    make_dicom(tmp_path)
    for number in range(2):
        write_series(tmp_path / f"site-{number}" / "other", slices=1, Modality=modality)
    assert len(read_layout(tmp_path).manifest) == len(read_dicom(tmp_path, "0" * 16)) == 5
    assert "2 folders with other DICOM objects than images" in caplog.text
    assert "files of other types" not in caplog.text
    with pytest.raises(InputError, match="2 folders with other DICOM objects"):
        read_layout(tmp_path, strict=True)


def test_another_object_among_the_slices_is_refused_and_not_the_series_left_out(tmp_path):
    make_dicom(tmp_path)
    other = write_series(tmp_path / "other", slices=1, Modality="RTSTRUCT")
    shutil.copy(f"{other}/IM0000", tmp_path / "site-0" / "scan-0" / "A0000")
    shutil.rmtree(other)
    assert len(read_layout(tmp_path).manifest) == 5


LEFT = {
    "hidden file": (lambda f: (f / "images" / ".DS_Store").touch(), "1 hidden files or folders"),
    "of a file manager": (lambda f: (f / "masks" / "Thumbs.db").touch(), "1 hidden files or folders"),
    "hidden folder": (lambda f: (f / "__MACOSX").mkdir(), "1 hidden files or folders"),
    "other type": (lambda f: (f / "readme.txt").touch(), "1 files of other types, such as 'readme.txt'"),
    "raw file": (lambda f: (f / "images" / "a.CR2").touch(), "1 files of other types, such as 'images/a.CR2'"),
    "other picture": (lambda f: write_image(f / "cover.png", 3), "1 images or label files that belong to no case"),
    "link to nothing": (lambda f: (f / "images" / "x.jpg").symlink_to("nothing"), "1 links that lead nowhere"),
}


@pytest.mark.parametrize("kind", LEFT)
def test_what_is_left_out_is_counted_and_an_error_where_it_must_not_be(tmp_path, caplog, kind):
    for n in range(4):
        write_image(tmp_path / "images" / f"x{n}.jpg", n)
        write_mask(tmp_path / "masks" / f"x{n}.png", n)
    read_layout(tmp_path, strict=True)
    add, sentence = LEFT[kind]
    add(tmp_path)
    caplog.clear()
    assert len(read_layout(tmp_path).manifest) == 4
    assert [sentence in record.getMessage() for record in caplog.records].count(True) == 1
    with pytest.raises(InputError, match=sentence):
        read_layout(tmp_path, strict=True)
    with pytest.raises(InputError, match=sentence):
        workflow.split(tmp_path, out=tmp_path / "split.json", strict=True)


def make_patients(folder, suffix="png"):
    for patient in ("p01", "p02", "p12"):
        for side in ("left", "right"):
            seed = int(patient[1:]) * 10 + len(side)
            write_image(folder / "eyes" / patient / f"{patient}_{side}.{suffix}", seed)
            write_mask(folder / "vessels" / f"{patient}_{side}-v.png", seed)
    return folder


@pytest.mark.parametrize(
    ("images", "labels", "patient"),
    [
        ("eyes/{patient}/{case}.png", "vessels/{case}-v.png", None),
        ("eyes/*/{case}{ext}", "vessels/{case}-v{ext}", "(?P<patient>p[0-9]+)_"),
        ("**/{who:p[0-9]+}_{side:left|right}{case:}.png", "**/{who:p[0-9]+}_{side:left|right}{case:}-v.png", "{who}"),
        ("eyes/{_:p[0-9]+}/{case:(?P<patient>p[0-9]+)_(?P<side>[a-z]+)}.png", "vessels/{case}-v.*", "{patient}"),
    ],
)
def test_users_say_where_things_are(tmp_path, caplog, images, labels, patient):
    make_patients(tmp_path)
    with caplog.at_level("INFO"):
        source = read_layout(tmp_path, patterns=Patterns(images=images, labels=labels, patient=patient))
    assert source.layout == "patterns"
    assert source.manifest["patient_id"].tolist() == ["p01", "p01", "p02", "p02", "p12", "p12"]
    assert source.manifest["label"].map(os.path.basename).tolist()[:2] == ["p01_left-v.png", "p01_right-v.png"]
    assert ("3 patients; the first cases: " in caplog.text) == (patient is not None)


@pytest.mark.parametrize("layout", ["isic", "class-folders", "volumes"])
def test_the_patient_may_be_in_the_name_in_other_layouts(tmp_path, caplog, layout):
    for n in range(4):
        name = f"p{n // 2}_{n}"
        if layout == "volumes":
            write_volume(tmp_path / "images" / f"{name}.nii.gz", n)
            write_label(tmp_path / "labels" / f"{name}.nii.gz")
        else:
            write_image(tmp_path / ("images" if layout == "isic" else "ab"[n % 2]) / f"{name}.jpg", n)
            if layout == "isic":
                write_mask(tmp_path / "masks" / f"{name}.png", n)
    with caplog.at_level("INFO"):
        found = read_layout(tmp_path, patterns=Patterns(patient="(?P<patient>p[0-9])_"))
    assert found.layout == layout
    assert sorted(found.manifest["patient_id"]) == ["p0", "p0", "p1", "p1"]
    assert "2 patients; the first cases: p0_0 of p0" in caplog.text


def test_classes_may_be_in_the_path(tmp_path):
    classes(tmp_path, picture="{n}.jpg")
    found = read_layout(tmp_path, patterns=Patterns(images="{class}/{case}.jpg")).manifest
    assert found["case_id"].tolist()[0] == "benign/0"
    assert sorted(set(found["label"])) == ["benign", "malignant"]
    assert found["diagnosis"].tolist() == found["label"].tolist()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (Patterns(images="eyes/{case"), "has a brace that is not around a field"),
        (Patterns(images="eyes/{patient}.png"), "has no field {case}"),
        (Patterns(images="{label}/{case}.png"), "has a field 'label', which is a column of every split"),
        (Patterns(images="{subset}/*/{case}.png"), "has a field 'subset', which is a column of every split"),
        (Patterns(images="{case:[}.png"), "has an expression that cannot be used"),
        (
            Patterns(images="eyes/*/{case}.jpg", labels="vessels/{case}-v.png"),
            "has the pattern 'eyes/*/{case}.jpg'; it has files such as 'eyes/p01/p01_left.png'",
        ),
        (Patterns(images="eyes/*/{case}.png"), "has no field {class}, and no labels are given"),
        (Patterns(images="eyes/*/{case}.png", labels="vessels/{case}_v.png"), "p01_left.png' has no mask; expected"),
        (Patterns(labels="vessels/{case}-v.png"), "needs --images as well"),
        (
            Patterns(images="eyes/*/{case}.png", labels="vessels/{case}-v.png", patient="anna"),
            "says nothing of the file",
        ),
        (
            Patterns(images="eyes/*/{case}.png", labels="vessels/{case}-v.png", patient="{who}"),
            "the field 'who'; there are 'case'",
        ),
        (
            Patterns(images="eyes/*/{case}.png", labels="vessels/{case}-v.png", patient="(?P<patient>q)"),
            "finds no patient for 6 of 6",
        ),
        (
            Patterns(images="eyes/*/{case}.png", labels="vessels/{case}-v.png", patient="(?P<patient>["),
            "not a regular expression",
        ),
    ],
)
def test_patterns_that_do_not_fit_are_refused(tmp_path, patterns, expected):
    make_patients(tmp_path)
    with pytest.raises(InputError) as caught:
        read_layout(tmp_path, patterns=patterns)
    assert expected in str(caught.value)


def test_patterns_beside_a_layout_or_a_table_are_refused(tmp_path):
    make_patients(tmp_path)
    patterns = Patterns(images="eyes/*/{case}.png", labels="vessels/{case}-v.png")
    with pytest.raises(InputError, match="so does --layout 'isic'; give one of them"):
        read_layout(tmp_path, "isic", patterns=patterns)
    (tmp_path / "m.csv").write_text("case_id,patient_id,image,label\n1,2,a.png,x\n")
    with pytest.raises(InputError, match="is not one; leave it out"):
        read_layout(tmp_path / "m.csv", patterns=patterns)
    with pytest.raises(InputError, match="--patient has no effect in layout 'manifest'"):
        read_layout(tmp_path / "m.csv", patterns=Patterns(patient="(?P<patient>.)"))
    make_dicom(tmp_path / "dicom")
    with pytest.raises(InputError, match="--patient has no effect in layout 'dicom'"):
        read_layout(tmp_path / "dicom", patterns=Patterns(patient="(?P<patient>.)"))


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_images_without_a_label_are_left_out_with_their_number(tmp_path, caplog, missing):
    make_patients(tmp_path)
    for side in sorted((tmp_path / "vessels").iterdir())[:missing]:
        side.unlink()
    patterns = Patterns(images="eyes/{patient}/{case}.png", labels="vessels/{case}-v.png")
    assert len(read_layout(tmp_path, patterns=patterns).manifest) == 6 - missing
    assert f"{missing} images have no label, such as '{tmp_path}/eyes/p01/p01_left.png'; left out" in caplog.text
    with pytest.raises(InputError, match=f"{missing} images have no label"):
        read_layout(tmp_path, patterns=patterns, strict=True)


@pytest.mark.parametrize("lost", ["t1", "t2", "flair"])
def test_a_case_without_one_of_its_channels_is_refused(tmp_path, lost):
    for n in range(3):
        for k, name in enumerate(("t1", "t2", "flair")):
            write_volume(tmp_path / f"c{n}_{name}.nii.gz", 10 * n + k)
        write_label(tmp_path / f"c{n}_seg.nii.gz", np.diag([1.5, 1.5, 2, 1]))
    (tmp_path / f"c1_{lost}.nii.gz").unlink()
    patterns = Patterns(images="{case}_{channel:t1|t2|flair}.nii.gz", labels="{case}_seg.nii.gz")
    with pytest.raises(InputError, match=f"case 'c1' has no file for '{lost}', which other cases have"):
        read_layout(tmp_path, patterns=patterns)


@pytest.mark.parametrize(
    "labels", [["masks/a", "masks/b", "masks/c"], ["a.npy", "b.npy", "c.npy"], [r"D:\a", r"D:\b", "x"]]
)
def test_paths_in_a_table_are_not_classes(tmp_path, labels):
    rows = [f"{n},p{n},{write_image(tmp_path / f'{n}.png', n)},{label}" for n, label in enumerate(labels)]
    (tmp_path / "manifest.csv").write_text("\n".join(["case_id,patient_id,image,label", *rows]) + "\n")
    with pytest.raises(InputError, match="labels are paths and not class names"):
        workflow.split(tmp_path, out=tmp_path / "split.json")


@pytest.mark.parametrize("cases", [4, 6, 9])
def test_a_class_for_each_case_is_refused(tmp_path, cases):
    rows = [f"{n},p{n},{write_image(tmp_path / f'{n}.png', n)},patient {n}" for n in range(cases)]
    (tmp_path / "manifest.csv").write_text("\n".join(["case_id,patient_id,image,label", *rows]) + "\n")
    with pytest.raises(InputError, match=f"each of the {cases} cases has a class of its own"):
        workflow.split(tmp_path, out=tmp_path / "split.json")


@pytest.mark.parametrize("content", [b"", b"isic_id,site\nx,Z\xfcrich\n", b"isic_id,a\nx,y,z,1\n"])
def test_a_damaged_table_is_told_and_does_not_stop_a_layout_that_does_not_read_it(tmp_path, caplog, content):
    make_dicom(tmp_path)
    (tmp_path / "metadata.csv").write_bytes(content)
    assert read_layout(tmp_path).layout == "dicom"
    assert "metadata.csv" in caplog.text


@pytest.mark.parametrize("classes", ["1,1", "0,0", "2,1"])
def test_a_picture_without_one_class_among_columns_is_refused(tmp_path, classes):
    for n in range(4):
        write_image(tmp_path / "ISIC_2019_Training_Input" / f"ISIC_{n}.jpg", n)
    rows = [f"ISIC_{n},1,0" for n in range(3)]
    (tmp_path / "ISIC_2019_Training_GroundTruth.csv").write_text(
        "\n".join(["image,MEL,NV", *rows, f"ISIC_3,{classes}"]) + "\n"
    )
    with pytest.raises(InputError, match="has not one class but"):
        read_layout(tmp_path)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_rows_and_pictures_without_a_partner_are_counted(tmp_path, caplog, lost):
    rows = ["lesion_id,image_id,dx"]
    for n in range(8):
        rows += [f"l{n},ISIC_{n},{('nv', 'mel')[n % 2]}"] if n >= lost else []
        write_image(tmp_path / "HAM10000_images_part_1" / f"ISIC_{n}.jpg", n)
    rows += [f"m{n},ISIC_9{n},nv" for n in range(lost)] + ["e,ISIC_100,"]
    write_image(tmp_path / "HAM10000_images_part_2" / "ISIC_100.jpg", 100)
    (tmp_path / "HAM10000_metadata.csv").write_text("\n".join(rows) + "\n")
    assert len(read_layout(tmp_path).manifest) == 8 - lost
    assert f"{lost} rows of the table have no picture, such as 'ISIC_90'" in caplog.text
    assert f"{lost} pictures are not in the table, such as" in caplog.text
    assert "1 pictures have no class in the table" in caplog.text
    assert "belong to no case" not in caplog.text
