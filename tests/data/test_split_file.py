from __future__ import annotations

import contextlib
import gzip
import json
import math
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import load_decathlon_datalist

from mu_monai.data import (
    ForgetFraction,
    ForgetWhere,
    Source,
    SplitSettings,
    check_manifest,
    load_leaving,
    load_split,
    make_split,
    open_split,
    phantom_split,
    read_layout,
    read_split,
    reselect,
    write_split,
)
from mu_monai.errors import InputError
from mu_monai.files import file_sha256
from mu_monai.keys import SUBSETS
from mu_monai.runs.stamp import told_split

FILES = ("image", "label")


@pytest.fixture
def split_file(make_manifest, tmp_path):
    source = Source(manifest=make_manifest(), path="somewhere", layout="manifest")
    return write_split(tmp_path / "source" / "split.json", make_split(source, SplitSettings()))


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_written_split_can_be_loaded_and_verified(split_file, make_manifest):
    cases = load_split(split_file, verify=True)
    manifest = make_manifest().set_index("case_id")
    assert list(cases) == list(SUBSETS)
    assert sum(map(len, cases.values())) == 20
    for subset in SUBSETS:
        for case in cases[subset]:
            row = manifest.loc[case["case_id"]]
            expected = {"patient_id": row["patient_id"], "image": row["image"], "label": row["label"]}
            assert case == {"case_id": row.name, "subset": subset, **expected}


def test_paths_are_relative_to_the_split_so_that_both_can_move(split_file, tmp_path):
    content = json.loads(split_file.read_text())
    assert content["forget"][0]["image"].startswith("pictures/c")
    assert set(content["provenance"]["sha256"]) == {
        case[key] for name in SUBSETS for case in content[name] for key in ("image", "label")
    }
    moved = tmp_path / "elsewhere"
    shutil.move(split_file.parent, moved)
    assert load_split(moved / "split.json", verify=True)["forget"][0]["image"].startswith(str(moved))


def test_paths_on_another_drive_stay_absolute(make_manifest, tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    split = make_split(Source(manifest=make_manifest(), path="somewhere", layout="manifest"))
    monkeypatch.setattr("os.path.relpath", refuse)
    path = write_split(tmp_path / "split.json", split)
    assert json.loads(path.read_text())["forget"][0]["image"] == split["forget"][0]["image"]
    load_split(path, verify=True)


@pytest.mark.parametrize("subset", SUBSETS)
def test_monai_loads_it_as_a_datalist(split_file, subset):
    ours = load_split(split_file)[subset]
    theirs = load_decathlon_datalist(str(split_file), data_list_key=subset)
    assert [(case["image"], case["label"]) for case in ours] == [(case["image"], case["label"]) for case in theirs]
    assert theirs[0].keys() == {"case_id", "patient_id", "image", "label", "device", "age"}


def test_class_names_are_no_paths(make_manifest, tmp_path):
    source = Source(manifest=make_manifest().assign(label="nevus"), path="somewhere", layout="manifest")
    path = write_split(tmp_path / "split.json", make_split(source))
    assert load_split(path)["forget"][0]["label"] == "nevus"
    assert load_decathlon_datalist(str(path), is_segmentation=False, data_list_key="forget")[0]["label"] == "nevus"


def test_labels_that_are_no_known_class_are_all_named(split_file, make_manifest, tmp_path):
    with pytest.raises(InputError, match=r"20 labels are mask files, such as .*; a classifier .* class names"):
        load_split(split_file, classes=["nevus"])
    labels = ["nevus", "melanoma", "melanoma", "navus"] * 5
    source = Source(manifest=make_manifest().assign(label=labels), path="somewhere", layout="manifest")
    path = write_split(tmp_path / "classes.json", make_split(source))
    with pytest.raises(InputError) as caught:
        load_split(path, classes=["nevus", "keratosis"])
    assert len(caught.value.problems) == 2
    assert "class 'melanoma' of 10 cases, such as 'c" in caught.value.problems[0]
    assert "there are 'nevus', 'keratosis'" in caught.value.problems[0]
    assert "class 'navus' of 5 cases" in caught.value.problems[1]
    assert "did you mean 'nevus'?" in caught.value.problems[1]
    assert load_split(path, classes=["melanoma", "navus", "nevus"]) == load_split(path)


def test_an_absent_or_broken_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist; make one with 'mu-monai split'"):
        load_split(tmp_path / "split.json")
    (tmp_path / "split.json").write_text("{")
    with pytest.raises(InputError, match="is not valid JSON"):
        load_split(tmp_path / "split.json")
    (tmp_path / "split.json").write_text("[]")
    with pytest.raises(InputError, match=r"holds an object with the keys retain, forget.*not a list"):
        load_split(tmp_path / "split.json")
    (tmp_path / "split.json").write_text(json.dumps({**{name: [] for name in SUBSETS}, "provenance": {}}))
    with pytest.raises(InputError, match="all subsets are empty"):
        load_split(tmp_path / "split.json")


def test_keys_that_hold_something_else_are_all_named(split_file):
    def change(content):
        content.update(retain=3, forget=None, test={"a": "b" * 50})
        content["provenance"]["sha256"] = []

    edit(split_file, change)
    with pytest.raises(InputError) as caught:
        load_split(split_file)
    assert len(caught.value.problems) == 4
    assert caught.match("key 'retain' holds 3, not a list of cases; make the split again")
    assert caught.match(r"key 'forget' holds None, not a list")
    assert caught.match(r"key 'test' holds \{'a': 'b+\.\.\., not a list")
    assert caught.match(r"provenance, sha256 holds a list instead of a mapping; make the split again")
    split_file.write_text('{"retain": 3}')
    with pytest.raises(InputError, match="key 'retain' holds 3, not a list of cases"):
        load_split(split_file)


def test_missing_keys_are_all_named(split_file):
    def change(content):
        del content["test"], content["provenance"], content["retain"][0]["image"]
        content["retain"][1]["patient_id"] = 7

    edit(split_file, change)
    with pytest.raises(InputError) as caught:
        load_split(split_file)
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    for expected in (
        "'test' is missing",
        "'provenance' is missing",
        "retain, case 1: image",
        "retain, case 2: patient_id",
    ):
        assert expected in text


def test_what_subsets_have_in_common_is_all_listed(split_file):
    def change(content):
        retained, forgotten = content["retain"], content["forget"]
        retained[0]["patient_id"] = forgotten[0]["patient_id"]
        retained[1]["case_id"] = content["test"][0]["case_id"]
        digests = content["provenance"]["sha256"]
        digests[retained[2]["image"]] = digests[forgotten[1]["image"]]

    edit(split_file, change)
    with pytest.raises(InputError) as caught:
        load_split(split_file)
    text = str(caught.value)
    for expected in (
        r"patient_id 'p\d+' occurs in retain \(",
        r"case_id 'c\d+_0' occurs in",
        "content with SHA-256 .* occurs in",
    ):
        assert caught.match(expected)
    assert "forgetting has no effect while a copy stays" in text


def test_a_case_that_stands_twice_in_one_subset_is_refused(split_file):
    edit(split_file, lambda content: content["retain"].append(content["retain"][0]))
    with pytest.raises(InputError, match=r"case_id .* occurs in retain \(.*\), retain \("):
        load_split(split_file)


def test_nothing_to_retain_is_refused(split_file):
    edit(split_file, lambda content: content["retain"].clear())
    with pytest.raises(InputError, match="subset 'retain' is empty"):
        load_split(split_file)


def test_nothing_to_forget_yet_is_a_split(split_file):
    edit(split_file, lambda content: content["forget"].clear())
    assert load_split(split_file)["forget"] == []


@pytest.mark.parametrize("label", ["@x", "mask.p[g", "nevus"])
def test_a_damaged_path_of_a_mask_is_not_taken_for_a_class(split_file, label):
    edit(split_file, lambda content: content["test"][0].update(label=label))
    with pytest.raises(InputError, match=r"1 of \d+ labels are not files, such as .* a split has masks or classes"):
        load_split(split_file)


def test_missing_and_changed_files_are_all_named(split_file):
    cases = load_split(split_file)
    shutil.copyfile(cases["retain"][0]["image"], cases["retain"][1]["image"])
    (split_file.parent / "new.png").write_bytes(b"x")
    edit(split_file, lambda content: content["test"][0].update(image="gone.png", label="new.png"))
    with pytest.raises(InputError, match=r"gone.png' does not exist; put it back") as caught:
        load_split(split_file)
    assert len(caught.value.problems) == 1
    with pytest.raises(InputError) as caught:
        load_split(split_file, verify=True)
    assert len(caught.value.problems) == 3
    assert caught.match("changed after the split was made; restore it")
    assert caught.match("new.png' has no digest from when the split was made")


def test_a_split_by_case_may_divide_patients_and_says_so(make_manifest, tmp_path, caplog):
    source = Source(manifest=make_manifest(), path="somewhere", layout="manifest")
    path = write_split(tmp_path / "split.json", make_split(source, SplitSettings(group_by="case_id")))
    load_split(path)
    assert "patients are in several subsets" in caplog.text
    edit(path, lambda content: content["provenance"].update(group_by="site"))
    with pytest.raises(InputError, match="column 'site', by which the split is grouped, is missing"):
        load_split(path)


@pytest.mark.parametrize(
    ("folder", "label_set", "cases"),
    [("chase_db1", "1stHO", 28), ("chase_db1", "2ndHO", 28), ("isic_lesion", None, 542)],
)
def test_real_images_go_from_folder_to_split(real_data, tmp_path, folder, label_set, cases):
    source = read_layout(real_data / folder, label_set=label_set)
    check_manifest(source.manifest)
    split = make_split(source)
    loaded = load_split(write_split(tmp_path / "split.json", split))
    assert sum(map(len, loaded.values())) == cases
    assert split["provenance"]["near_duplicates"] == []
    assert split["provenance"]["label_set"] == label_set


def test_the_real_nine_classes_go_from_folder_to_split(real_data, tmp_path):
    source = read_layout(real_data / "isic9")
    assert (source.layout, len(source.manifest)) == ("class-folders", 2359)
    assert source.manifest.groupby("folder").size().to_dict() == {"Test": 118, "Train": 2241}
    check_manifest(source.manifest, allow_repeated_ids=True)
    settings = SplitSettings(forget=ForgetWhere("diagnosis == 'nevus'"), on_duplicates="drop")
    split = make_split(source, settings)
    provenance = split["provenance"]
    assert len(provenance["classes"]) == 9
    assert provenance["classes"] == sorted(provenance["classes"])
    assert {"ISIC_0025509(1)", "ISIC_0025601(1)"} <= set(provenance["duplicates"]["dropped"])
    assert {case["label"] for case in split["forget"]} == {"nevus"}
    assert {case["label"] for case in split["retain"]} == set(provenance["classes"]) - {"nevus"}
    assert {"lesion_id", "age", "sex", "localization", "source", "diagnosis", "folder"} <= split["retain"][0].keys()
    loaded = load_split(write_split(tmp_path / "split.json", split), classes=provenance["classes"])
    assert sum(map(len, loaded.values())) == 2045


def test_real_copies_under_two_classes_stay_together_or_are_refused_in_part(real_data):
    source = read_layout(real_data / "isic9")
    split = make_split(source, SplitSettings(on_duplicates="together"))
    assert sum(len(split[name]) for name in SUBSETS) == 2359
    with pytest.raises(InputError, match=r"forgotten only in part: .*with --on-duplicates drop"):
        make_split(source, SplitSettings(forget=ForgetWhere("diagnosis == 'nevus'"), on_duplicates="together"))


VALUES = [
    None,
    0,
    -1,
    1.5,
    math.nan,
    True,
    "",
    "x",
    "a\0b",
    "../" * 40,
    [],
    [1],
    {},
    {"a": {}},
    "/dev/zero",
    "\ud7ff",
    10**30,
]


def places(content, path=()):
    yield path
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in children:
        yield from places(value, (*path, key))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_split_holds_only_an_input_error_comes_out(split_file, data):
    """Every place of a valid split takes every odd value, or goes."""
    whole = split_file.read_text(encoding="utf-8")
    content = json.loads(whole)
    *path, last = data.draw(st.sampled_from([place for place in places(content) if place]))
    parent = content
    for key in path:
        parent = parent[key]
    value = data.draw(st.sampled_from(["gone", *VALUES]))
    if value == "gone":
        del parent[last]
    else:
        parent[last] = value
    try:
        split_file.write_text(json.dumps(content), encoding="utf-8")
        with contextlib.suppress(InputError):
            load_split(split_file, verify=True)
        with contextlib.suppress(InputError):
            reselect(open_split(split_file), ForgetFraction(0.3))
        with contextlib.suppress(InputError):
            read_split(split_file).digests("retain")
    finally:
        split_file.write_text(whole, encoding="utf-8")


def test_a_split_that_was_read_knows_its_cases(split_file):
    split, content = read_split(split_file), json.loads(split_file.read_text())
    assert split.sha256 == file_sha256(split_file)
    assert split.cases == load_split(split_file)
    assert split.rows == {name: content[name] for name in SUBSETS}
    assert set(split.table.columns) == {"case_id", "patient_id", "image", "label", "device", "age", "subset"}
    assert split.located["test"][0] == {**content["test"][0], **split.cases["test"][0]}
    assert split.patients("forget") == {case["patient_id"] for case in content["forget"]}
    digests = content["provenance"]["sha256"]
    assert split.digests("forget") == {case["case_id"]: digests[case["image"]] for case in content["forget"]}
    assert set(split.file_digests) == {case[key] for part in split.cases.values() for case in part for key in FILES}


def test_a_split_is_read_where_its_images_are_no_longer(split_file, tmp_path):
    alone = shutil.copy(split_file, tmp_path / "alone.json")
    assert read_split(alone).digests("test") == read_split(split_file).digests("test")
    with pytest.raises(InputError, match="does not exist; put it back"):
        open_split(alone)


def test_files_are_hashed_once(split_file, monkeypatch):
    hashed = []
    monkeypatch.setattr("mu_monai.data.duplicates.file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    split = open_split(split_file)
    assert hashed == []
    assert split.problems(verify=True) == split.changed_files == []
    assert len(hashed) == len(set(hashed)) == 40


def test_of_its_provenance_neither_digests_nor_salt_are_public(split_file):
    edit(split_file, lambda content: content["provenance"].update(salt="a secret", later={"a": 1}))
    split = read_split(split_file)
    assert split.provenance.salt == "a secret"
    told = told_split(split_file).provenance
    assert told.keys() == split.provenance.content.keys() - {"salt", "sha256"}
    assert told["later"] == {"a": 1}


def test_a_provenance_that_says_little_is_read(split_file):
    edit(split_file, lambda content: content.update(provenance={"seed": 3}))
    found = open_split(split_file).provenance
    assert (found.group_by, found.selector, found.classes, found.layout) == ("patient_id", None, None, None)
    assert (found.counts, found.sha256, found.dropped, found.together) == ({}, {}, [], [])


def test_a_case_without_digest_is_told(split_file):
    edit(split_file, lambda content: content["provenance"]["sha256"].clear())
    with pytest.raises(InputError, match="has no digest of the image of case"):
        read_split(split_file).digests("retain")


@pytest.mark.skipif(os.name != "posix", reason="POSIX files")
@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/environ", "pipe"])
def test_a_split_that_names_what_is_not_an_ordinary_file_opens_nothing(split_file, verify, path):
    if path == "pipe":
        os.mkfifo(split_file.with_name("pipe"))
    elif not os.path.exists(path):
        pytest.skip(f"this system has no {path}")
    edit(split_file, lambda content: content["retain"][0].update(image=path))
    with pytest.raises(InputError, match="is not an ordinary file"):
        load_split(split_file, verify=verify)


def test_a_split_that_is_not_an_ordinary_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "split.json")
    with pytest.raises(InputError, match="is not an ordinary file"):
        load_split(tmp_path / "split.json")


def test_a_damaged_volume_is_told_when_a_split_is_verified(split_file, tmp_path):
    """Its digest is that of its content, so a wrong checksum alone would go unnoticed."""
    volume = split_file.with_name("a.nii.gz")
    volume.write_bytes(gzip.compress(b"voxels" * 100))

    def change(content):
        content["retain"][0]["image"] = "a.nii.gz"
        content["provenance"]["sha256"]["a.nii.gz"] = file_sha256(volume)

    edit(split_file, change)
    load_split(split_file, verify=True)
    damaged = bytearray(volume.read_bytes())
    damaged[-8] ^= 1
    volume.write_bytes(damaged)
    with pytest.raises(InputError, match=r"a\.nii\.gz' is damaged"):
        load_split(split_file, verify=True)


def test_everything_that_was_trained_on_is_forgotten_when_a_site_leaves(split_file):
    before, leaving = load_split(split_file), load_leaving(split_file)
    assert [case["case_id"] for case in leaving["forget"]] == [case["case_id"] for case in before["retain"]]
    assert {case["subset"] for case in leaving["forget"]} == {"forget"}
    assert {name: leaving[name] for name in ("retain", "validation", "test")} == {
        name: before[name] for name in ("retain", "validation", "test")
    }


def test_an_input_that_a_case_lacks_is_told(tmp_path):
    path = Path(phantom_split("lesions", tmp_path, patients=8, images_per_patient=1, size=32))
    content = json.loads(path.read_text())
    content["provenance"]["inputs"] = ["vein"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has no file of the input 'vein', which the split says that every case has"):
        open_split(path)
    content["provenance"]["inputs"] = "vein"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="inputs"):
        open_split(path)


def test_a_case_without_its_group_is_told(make_manifest, tmp_path):
    settings = SplitSettings(group_by="site")
    manifest = make_manifest().assign(site=[f"s{number // 2}" for number in range(20)])
    path = write_split(
        tmp_path / "split.json", make_split(Source(manifest=manifest, path="somewhere", layout="manifest"), settings)
    )
    edit(path, lambda content: content["retain"][0].pop("site"))
    with pytest.raises(InputError, match=r"case 'c\d+_\d' has no site, by which the split is grouped; fill it in"):
        open_split(path)
