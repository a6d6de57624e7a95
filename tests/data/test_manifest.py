from __future__ import annotations

import os
import struct
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile

from mu_monai.data import check_manifest, read_manifest
from mu_monai.data.pictures import opening
from mu_monai.errors import InputError


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_ids_and_labels_stay_text_and_metadata_gets_types(tmp_path):
    manifest = read_manifest(
        write_csv(tmp_path, "case_id,patient_id,image,label,age\n007,01,a.png,1,5\nNA,02,/x/b.png,None,\n")
    )
    assert manifest["case_id"].tolist() == ["007", "NA"]
    assert manifest["patient_id"].tolist() == ["01", "02"]
    assert manifest["label"].tolist() == ["1", "None"]
    assert manifest["image"].tolist() == [str(tmp_path / "a.png"), "/x/b.png"]
    assert manifest["age"].iloc[0] == 5
    assert np.isnan(manifest["age"].iloc[1])


def test_relative_paths_are_relative_to_the_csv(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    write_csv(tmp_path, "case_id,patient_id,image,label\n1,1,images/a.png,../m.png\n")
    monkeypatch.chdir(tmp_path / "below")
    row = read_manifest("../manifest.csv").iloc[0]
    assert row["image"] == str(tmp_path / "images" / "a.png")
    assert row["label"] == str(tmp_path.parent / "m.png")


def test_spaces_around_ids_do_not_make_another_patient(tmp_path):
    manifest = read_manifest(write_csv(tmp_path, "case_id,patient_id,image,label\n1 ,anna,a.png,x\n 2,anna ,b.png,x\n"))
    assert manifest["case_id"].tolist() == ["1", "2"]
    assert manifest["patient_id"].tolist() == ["anna", "anna"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    assert "case_id" in read_manifest(write_csv(tmp_path, "\ufeffcase_id,patient_id,image,label\n1,1,a.png,x\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2,3\n4,5,6,7,8\n", "line 2 has 3 cells, line 3 has 5 cells, and the header has 2"),
        (b"a,b\n1\n", "line 2 has 1 cells"),
        (b"a,b\n\0,1\n", r"line 2 holds the control character '\\x00'"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / "x.csv")


def test_an_absent_csv_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nothing.csv' does not exist; give the path"):
        read_manifest(tmp_path / "nothing.csv")


def test_a_good_manifest_passes(make_manifest):
    check_manifest(make_manifest())
    check_manifest(make_manifest().assign(label="nevus"))


def test_missing_columns_come_with_the_nearest_names(make_manifest):
    manifest = make_manifest().rename(columns={"patient_id": "patientid", "case_id": "zzz"})
    with pytest.raises(InputError) as caught:
        check_manifest(manifest)
    assert any("'patient_id' is missing; did you mean 'patientid'?" in problem for problem in caught.value.problems)
    assert any("'case_id' is missing; there are 'zzz'" in problem for problem in caught.value.problems)


def test_a_table_without_columns_or_rows_is_refused(make_manifest):
    with pytest.raises(InputError, match="there are no columns"):
        check_manifest(pd.DataFrame())
    with pytest.raises(InputError, match="the manifest has no rows"):
        check_manifest(make_manifest().iloc[:0])


def test_the_column_subset_is_reserved(make_manifest):
    with pytest.raises(InputError, match=r"'subset' .*rename it"):
        check_manifest(make_manifest().assign(subset="train"))


def test_every_problem_is_reported_at_once_with_its_row(make_manifest):
    manifest = make_manifest(patients=9, images=1)
    image, label = manifest["image"], manifest["label"]
    manifest.loc[0, "patient_id"] = ""
    manifest.loc[1, "case_id"] = manifest.loc[2, "case_id"]
    manifest.loc[3, "image"] = "/nowhere/a.png"
    whole = Path(image[4]).read_bytes()
    Path(image[4]).write_bytes(whole[: len(whole) // 2])
    Image.new("L", (7, 5)).save(label[5])
    Image.fromarray(np.array([[0, 1, 2]] * 20, dtype=np.uint8).repeat(8, axis=1)).save(label[6])
    noisy = np.random.default_rng(0).integers(0, 20, (20, 24)).astype(np.uint8)
    noisy[5:10] = 250
    Image.fromarray(noisy).save(label[7])
    Image.new("RGB", (24, 20)).save(label[8])
    with pytest.raises(InputError) as caught:
        check_manifest(manifest)
    problems = caught.value.problems
    assert len(problems) == 8
    for expected in (
        "row 1 (case 'c00_0'): patient_id is empty",
        "case_id 'c02_0' occurs 2 times, in rows 2, 3",
        "row 4 (case 'c03_0'): image '/nowhere/a.png' does not exist",
        "row 5 (case 'c04_0'): image",
        "is 7x5 but its image",
        "has 3 values (0, 1, 2); a binary mask holds {0, 1} or {0, 255}",
        "this looks like JPEG noise around 0 and 255",
        "has 3 channels; save it with a single channel",
    ):
        assert sum(expected in problem for problem in problems) == 1, expected
    assert "may be truncated" in next(problem for problem in problems if problem.startswith("row 5"))
    assert not any("JPEG" in problem for problem in problems if "(0, 1, 2)" in problem)


def test_mixed_labels_are_refused_and_the_fewer_named(make_manifest):
    manifest = make_manifest()
    manifest.loc[3, "label"] = "nevus"
    with pytest.raises(
        InputError, match=r"19 labels are mask files and 1 are class names; .*row 4 \(case 'c01_1'\) 'nevus'"
    ):
        check_manifest(manifest)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0,), (255,)])
def test_binary_masks_pass(make_manifest, values):
    manifest = make_manifest(patients=1, images=1)
    pixels = np.resize(np.array(values, dtype=np.uint8), (20, 24))
    Image.fromarray(pixels).save(manifest["label"][0])
    check_manifest(manifest)
    Image.fromarray(pixels > 0).save(manifest["label"][0])
    check_manifest(manifest)


def test_repeated_ids_can_be_left_to_the_duplicates_policy(make_manifest):
    manifest = make_manifest()
    manifest.loc[1, "case_id"] = manifest.loc[0, "case_id"]
    check_manifest(manifest, allow_repeated_ids=True)
    with pytest.raises(InputError, match=r"in rows 1, 2 under 2 labels .*drop or together"):
        check_manifest(manifest)


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/environ", "pipe"])
@pytest.mark.parametrize("column", ["image", "label"])
def test_what_is_not_an_ordinary_file_is_never_opened(make_manifest, tmp_path, path, column):
    if path == "pipe":
        path = str(tmp_path / "pipe.png")
        os.mkfifo(path)
    elif not Path(path).exists():
        pytest.skip(f"this system has no {path}")
    link = tmp_path / "link.png"
    link.symlink_to(path)
    manifest = make_manifest()
    manifest.loc[3, column] = str(link)
    with pytest.raises(InputError, match=r"(image|mask) .*link\.png' is not an ordinary file"):
        check_manifest(manifest)


def test_a_picture_with_too_many_pixels_is_told_by_its_header(make_manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    manifest = make_manifest().head(2)
    for number, size in enumerate([(30_000, 3_000), (30_000, 30_000)]):
        header = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
        chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10**6) + b"IDAT")
        manifest.loc[number, ["image", "label"]] = [str(tmp_path / f"{number}.png"), "nevus"]
    with pytest.raises(InputError) as caught:
        check_manifest(manifest)
    assert caught.match(r"image '.*0\.png' is too large \(30000x3000 pixels\); at most 89,478,485 pixels")
    assert caught.match(r"image '.*1\.png' is too large \(.*900000000 pixels.*\)")


def test_large_pictures_are_decoded_one_at_a_time(make_manifest, monkeypatch):
    monkeypatch.setattr(opening, "_LARGE", 10)
    at_once, most, lock, load = 0, 0, threading.Lock(), ImageFile.ImageFile.load

    def slow(picture):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1
        return load(picture)

    monkeypatch.setattr(ImageFile.ImageFile, "load", slow)
    check_manifest(make_manifest())
    assert most == 1


def test_patients_whose_names_look_like_nothing_stay_text(tmp_path):
    names = ["NA", "null", "None", "nan", "007"]
    rows = "".join(f"{name},{name},a.png,NA,NA\n" for name in names)
    manifest = read_manifest(write_csv(tmp_path, "case_id,patient_id,image,label,age\n" + rows))
    assert [manifest[name].tolist() for name in ("case_id", "patient_id", "label")] == [names, names, ["NA"] * 5]
    assert manifest["age"].isna().all()


@pytest.mark.parametrize(
    ("column", "forms"),
    [
        ("patient_id", ("007", "7")),
        ("case_id", ("AB-1", "ab-1")),
        ("label", ("nevus", "Nevus")),
        ("device", ("J  Doe", "J Doe")),
        ("site", ("Jos\u00e9", "Jose\u0301")),
    ],
)
def test_ids_and_values_that_nearly_agree_are_warned_of_with_both_forms(make_manifest, caplog, column, forms):
    manifest = make_manifest().assign(label="melanoma", device="a", site="b")
    manifest.loc[[0, 5], column] = list(forms)
    check_manifest(manifest)
    (record,) = caplog.records
    assert f"1 times, values of {column} are the same but for case, spaces, leading zeros" in record.getMessage()
    assert all(repr(form) in record.getMessage() or ascii(form) in record.getMessage() for form in forms)


@pytest.mark.parametrize("label", ["melanoma ", " nevus", "\u00a0nevus\u00a0"])
def test_spaces_around_labels_and_paths_make_no_other_class(tmp_path, label):
    manifest = read_manifest(write_csv(tmp_path, f"case_id,patient_id,image,label\n1,1, a.png ,{label}\n"))
    assert manifest[["image", "label"]].values.tolist() == [[str(tmp_path / "a.png"), label.strip()]]


@pytest.mark.parametrize("name", [b"l\xe9sion.png", b"\xff.png", "l\u00e9sion".encode("utf-16-le") + b"\xd8.png"])
@pytest.mark.parametrize("column", ["case_id", "image"])
def test_a_name_that_is_not_utf_8_is_refused_by_its_row(make_manifest, name, column):
    manifest = make_manifest()
    manifest.loc[2, column] = os.fsdecode(name.replace(b"\0", b""))
    with pytest.raises(InputError, match=rf"row 3 .*: {column} .* has bytes that are not UTF-8, often of a name from"):
        check_manifest(manifest)


@pytest.mark.parametrize("entry", ["images\\a.png", "C:\\data\\a.png"])
def test_paths_of_another_system_come_with_a_hint(make_manifest, entry):
    manifest = make_manifest()
    manifest.loc[0, "image"] = entry
    with pytest.raises(InputError, match=r"does not exist; .* folders are separated by / here, and not by \\"):
        check_manifest(manifest)


def with_veins(folder, *veins):
    """A manifest of three cases with a column `vein`."""
    for name in ("a", "b", "c"):
        Image.new("L", (8, 8)).save(folder / f"{name}.png")
    rows = [f"{name},{name},{name}.png,x,{vein}" for name, vein in zip("abc", veins, strict=True)]
    return write_csv(folder, "\n".join(["case_id,patient_id,image,label,vein", *rows, ""]))


def test_an_input_of_which_a_file_is_missing_is_not_dropped(tmp_path, caplog):
    assert read_manifest(with_veins(tmp_path, "b.png", "c.png", "a.png"))["vein"][0] == str(tmp_path / "b.png")
    assert caplog.text == ""
    with pytest.raises(InputError, match=r"row 2: vein .*gone.png' does not exist, and others of this column do"):
        read_manifest(with_veins(tmp_path, "b.png", "gone.png", "a.png"))
    with pytest.raises(InputError, match=r"row 3: vein .*gone.png' does not exist"):
        read_manifest(with_veins(tmp_path, "b.png", "", "gone.png"))
    read_manifest(with_veins(tmp_path, "b.png", "", "a.png"))
    assert "column 'vein' holds a file for 2 of 3 cases, so that it is not an input of a model" in caplog.text
    assert read_manifest(with_veins(tmp_path, "one.png", "two.png", "three.png"))["vein"].tolist()[0] == "one.png"
