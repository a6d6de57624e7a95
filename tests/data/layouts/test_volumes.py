from __future__ import annotations

import gzip
import json
import logging
import shutil

import pandas as pd
import pytest

from mu_monai.data import (
    ForgetIds,
    SplitSettings,
    check_manifest,
    load_split,
    make_split,
    open_split,
    read_decathlon,
    read_dicom,
    read_layout,
    read_volumes,
    reselect,
    write_split,
)
from mu_monai.data.pseudonyms import pseudonym
from mu_monai.errors import InputError
from mu_monai.files import read_json, write_json
from tests.data.conftest import make_decathlon, make_dicom, write_label, write_series, write_volume

SALT = "not to be guessed"


def make_volumes(folder):
    write_volume(folder / "images" / "a.nii.gz", 1)
    write_volume(folder / "images" / "b.1.nii", 2)
    write_series(folder / "images" / "c")
    for name in ("a.nii.gz", "b.1_seg.nii.gz", "c.nii"):
        write_label(folder / "labels" / name)
    return folder


def test_volumes_pair_files_and_series_with_their_labels(tmp_path, caplog):
    source = read_layout(make_volumes(tmp_path))
    assert source.layout == "volumes"
    assert source.manifest["case_id"].tolist() == ["a", "b.1", "c"]
    assert source.manifest["image"].tolist()[2] == str(tmp_path / "images" / "c")
    assert source.manifest["label"].tolist()[1] == str(tmp_path / "labels" / "b.1_seg.nii.gz")
    assert "3 of 3 images have no patient id" in caplog.text


def test_volumes_take_patients_from_the_metadata(tmp_path):
    (make_volumes(tmp_path) / "metadata.csv").write_text("image_id,patient_id,site\na,1,x\nb.1,1,y\nc,02,y\n")
    manifest = read_volumes(tmp_path)
    assert manifest["patient_id"].tolist() == ["1", "1", "02"]
    assert manifest["site"].tolist() == ["x", "y", "y"]


def test_volumes_without_partner_and_of_one_name_are_all_told(tmp_path):
    make_volumes(tmp_path)
    (tmp_path / "labels" / "a.nii.gz").unlink()
    write_label(tmp_path / "labels" / "d_seg.nii")
    with pytest.raises(InputError, match="2 problems") as caught:
        read_volumes(tmp_path)
    assert "a.nii.gz' has no label; expected 'labels/<name>.nii.gz or" in caught.value.problems[0]
    assert "d_seg.nii' has no image" in caught.value.problems[1]
    write_volume(tmp_path / "images" / "a.nii", 9)
    with pytest.raises(InputError, match=r"a.nii' and .*a.nii.gz' .*; keep one of them"):
        read_volumes(tmp_path)


def test_the_real_hippocampus_is_recognized(real_data):
    source = read_layout(real_data / "hippocampus")
    assert source.layout == "volumes"
    assert len(source.manifest) == 156


def test_the_decathlon_is_read_from_its_folder_and_from_its_file(tmp_path, caplog):
    make_decathlon(tmp_path)
    with caplog.at_level(logging.INFO):
        source, other = read_layout(tmp_path), read_layout(tmp_path / "dataset.json")
    assert source.layout == other.layout == "decathlon"
    pd.testing.assert_frame_equal(source.manifest, other.manifest)
    assert source.classes == ("background", "Anterior", "Posterior")
    assert source.manifest["case_id"].tolist() == ["a_01", "a_02"]
    assert source.manifest["image"].tolist()[0] == str(tmp_path / "imagesTr" / "a_01.nii.gz")
    assert source.manifest["fold"].tolist() == [1, 1]
    assert "1 images of the list 'test' of" in caplog.text
    assert """--set classes='["background", "Anterior", "Posterior"]'""" in caplog.text


def test_the_classes_stand_in_the_split(tmp_path):
    settings = SplitSettings(forget=None, validation=0, test=0.5)
    content = make_split(read_layout(make_decathlon(tmp_path)), settings)
    assert content["provenance"]["classes"] == ["background", "Anterior", "Posterior"]


def test_cases_of_other_lists_are_counted_and_values_that_do_not_fit_are_told(tmp_path, caplog):
    file = make_decathlon(tmp_path) / "dataset.json"
    content = read_json(file)
    content["validation"] = [content["training"].pop()]
    content["training"][0] |= {"box": [1, 2]}
    del content["test"]
    write_json(tmp_path / "dataset_0.json", content)
    file.unlink()
    source = read_layout(tmp_path / "dataset_0.json")
    assert source.manifest["case_id"].tolist() == ["a_01"]
    assert "1 images of the list 'validation' of" in caplog.text
    assert "box of the entries in" in caplog.text
    with pytest.raises(InputError, match=r"1 images of the list 'validation' of .*a_02"):
        read_layout(tmp_path / "dataset_0.json", strict=True)


@pytest.mark.parametrize("labels", [None, {"1": "a", "2": "b"}, {"background": 0}])
def test_decathlon_classes_that_are_not_numbered_from_0_are_left_to_the_user(tmp_path, labels):
    assert read_layout(make_decathlon(tmp_path, labels=labels)).classes == ()


def test_decathlon_entries_are_one_image_with_one_label(tmp_path):
    make_decathlon(tmp_path, training=[{"image": "a.nii"}, {"image": ["a.nii", "b.nii"], "label": "c.nii"}, "a"])
    with pytest.raises(InputError, match=r"(?s)3 problems.*training, entry 1: {'image': 'a.nii'} is not one image"):
        read_decathlon(tmp_path)


def test_a_decathlon_without_an_entry_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"dataset.json', training, is empty; list at least one image"):
        read_layout(make_decathlon(tmp_path, training=[]))


def test_dicom_identifiers_stand_nowhere_in_the_manifest(tmp_path):
    source = read_layout(make_dicom(tmp_path))
    assert source.layout == "dicom"
    text = source.manifest.to_csv()
    assert "Anna" not in text
    assert "1.2.826" not in text
    assert source.manifest["patient_id"].str.fullmatch("patient-[0-9a-f]{12}").all()
    assert source.manifest["case_id"].str.fullmatch("series-[0-9a-f]{12}").all()
    assert source.manifest["patient_id"].tolist()[0] == pseudonym("patient", "Anna", source.salt)


def test_dicom_headers_become_columns(tmp_path):
    manifest = read_dicom(make_dicom(tmp_path), "salt")
    columns = ["manufacturer", "model_name", "study_date", "modality", "sex", "age"]
    assert manifest[columns].iloc[0].tolist() == ["SIEMENS", "mCT", "20221231", "CT", "F", 45.0]
    check_manifest(manifest)


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
@pytest.mark.parametrize(("age", "years"), [("018M", 1.5), ("010D", 0.03), ("052W", 1.0), ("45", None), ("", None)])
def test_ages_come_in_years(tmp_path, age, years):
    for name, value in (("s", age), ("t", "045Y")):
        write_series(tmp_path / name, patient=name, PatientAge=value)
        write_label(tmp_path / f"{name}_seg.nii")
    found = read_dicom(tmp_path, "salt")["age"].tolist()[0]
    assert found == years if years is not None else pd.isna(found)


def test_dicom_labels_may_lie_in_one_folder_and_belong_to_one_series(tmp_path):
    write_series(tmp_path / "a" / "scan")
    write_label(tmp_path / "labels" / "scan.nii.gz")
    assert read_dicom(tmp_path, "s")["label"].tolist() == [str(tmp_path / "labels" / "scan.nii.gz")]
    write_series(tmp_path / "b" / "scan")
    with pytest.raises(InputError, match=r"labels/scan.nii.gz' belongs to 2 series: .*put a label .* each"):
        read_dicom(tmp_path, "s")


def test_dicom_series_without_identifiers_or_label_are_told_with_their_folder(tmp_path):
    write_series(tmp_path / "scan", patient="", SeriesInstanceUID=None)
    with pytest.raises(InputError, match="3 problems") as caught:
        read_dicom(tmp_path, "s")
    assert f"series '{tmp_path / 'scan'}' has no PatientID" in caught.value.problems[0]
    assert "has no SeriesInstanceUID" in caught.value.problems[1]
    assert "has no label; expected 'scan_seg.nii.gz'" in caught.value.problems[2]


def test_a_salt_gives_the_same_names_again_and_none_draws_another(tmp_path):
    make_dicom(tmp_path)
    first, again = (read_layout(tmp_path, salt=SALT).manifest for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert not set(first["case_id"]) & set(read_layout(tmp_path).manifest["case_id"])


def test_a_salt_for_a_layout_that_hashes_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a salt has no effect in layout 'volumes'.*leave --salt out"):
        read_layout(make_volumes(tmp_path), salt="x")


@pytest.mark.parametrize("salt", ["", "s", "fifteen letters"])
def test_a_salt_that_can_be_guessed_is_refused(tmp_path, salt):
    with pytest.raises(
        InputError, match=rf"salt has {len(salt)} characters; give 16 or more, .*'openssl rand -hex 16'"
    ):
        read_layout(make_dicom(tmp_path, ["Anna"]), salt=salt)


def test_patients_are_forgotten_by_their_real_ids_and_only_names_are_kept(tmp_path):
    source = read_layout(make_dicom(tmp_path / "in"), salt=SALT)
    content = make_split(source, SplitSettings(forget=ForgetIds(("Bert",)), validation=0.2, test=0.2))
    bert = pseudonym("patient", "Bert", SALT)
    assert [case["patient_id"] for case in content["forget"]] == [bert]
    assert content["provenance"]["selector"] == {"kind": "ids", "value": [bert]}
    assert content["provenance"]["salt"] == SALT
    path = write_split(tmp_path / "split.json", content)
    assert "Bert" not in path.read_text()
    load_split(path, verify=True)
    later = next(name for name in ("Anna", "Cleo", "Dora", "Emil") if named(content["retain"], name))
    request = reselect(open_split(path), ForgetIds((later,)))
    assert {case["patient_id"] for case in request["forget"]} == {bert, pseudonym("patient", later, SALT)}
    assert later not in json.dumps(request["provenance"]["selector"])
    with pytest.raises(InputError, match="'Zoe' to forget is neither PatientID nor SeriesInstanceUID"):
        reselect(open_split(path), ForgetIds(("Zoe",)))
    held_out = next(name for name in ("Anna", "Cleo", "Dora", "Emil") if named(content["test"], name))
    with pytest.raises(InputError, match="to forget is in 'test'"):
        reselect(open_split(path), ForgetIds((held_out,)))


def named(cases, patient):
    return pseudonym("patient", patient, SALT) in [case["patient_id"] for case in cases]


def test_a_changed_or_missing_slice_is_a_changed_file(tmp_path):
    source = read_layout(make_dicom(tmp_path / "in"))
    path = write_split(tmp_path / "split.json", make_split(source, SplitSettings(forget=None)))
    image = source.manifest["image"].tolist()[0]
    (tmp_path / "in" / "site-0" / "scan-0" / "IM0001").unlink()
    with pytest.raises(InputError, match=f"file '{image}' changed after the split was made"):
        load_split(path, verify=True)


def test_a_volume_that_was_compressed_again_is_a_copy(tmp_path):
    make_volumes(tmp_path)
    volume = gzip.decompress((tmp_path / "images" / "a.nii.gz").read_bytes())
    (tmp_path / "images" / "d.nii.gz").write_bytes(gzip.compress(volume, compresslevel=1))
    write_label(tmp_path / "labels" / "d.nii.gz")
    with pytest.raises(InputError, match=r"same content: 'a' .*, 'd'"):
        make_split(read_layout(tmp_path), SplitSettings(forget=None))


def test_a_copied_series_is_a_copy(tmp_path):
    make_dicom(tmp_path)
    shutil.copytree(tmp_path / "site-0", tmp_path / "copied")
    with pytest.raises(InputError, match="same id and content: 'series-"):
        make_split(read_layout(tmp_path), SplitSettings(forget=None))


def test_the_patients_of_a_decathlon_are_those_that_it_names(tmp_path, caplog):
    entries = [
        {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz", "patient_id": 7, "site": "x"}
        for name in ("a_01", "a_02")
    ]
    manifest = read_decathlon(make_decathlon(tmp_path, training=entries))
    assert manifest["patient_id"].tolist() == ["7", "7"]
    assert "no patient id" not in caplog.text


def test_patients_of_a_series_who_may_be_one_are_counted_and_not_named(tmp_path, caplog):
    read_dicom(make_dicom(tmp_path, ("AB-1", "ab-1", "007", "7")), salt="a salt")
    (line,) = [record.message for record in caplog.records if "PatientIDs are the same but for" in record.message]
    assert line.startswith("2 times")
    assert "007" not in line
