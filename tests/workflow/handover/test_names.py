"""Nothing that is handed over names a patient, in whatever form it is written; other words are left alone."""

import json
import shutil

import pytest

from mu_monai.bundle import shipped_bundles
from mu_monai.data import phantom_split, read_split
from mu_monai.files import read_json
from mu_monai.workflow.handover.names import Names, name_problems, names_of, not_searched, texts_of


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Mueller", "request of Mueller came in"),
        ("Mueller", "withdrawn_mueller/"),
        ("Anna Müller", "for anna_mu\u0308ller"),
        ("40217", "patient 40217 withdrew"),
        ("1024", "1024 and 1025 withdrew"),
        ("0007", "scan 0007"),
        ("PHANTOM_003", "/data/runs/without-phantom003b"),
        ("12345678", "of 12345678."),
        ("P100", "forget_p-100"),
        ("12", "patient 12"),
        ("p1", "of case_P1, who"),
        ("7", "patients 7 and 8"),
        ("lesion", "patient lesion"),
    ],
)
def test_an_id_is_found(name, text):
    assert Names([name]).one_in(text) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("1", "1 of 1 patients, layer_1, '1' and img1"),
        ("12", "12 lesions, 12-bit"),
        ("p1", "p1 and P12"),
        ("test", "of the test cases"),
        ("left", "the left kidney"),
        ("lesion", "0: background, 1: lesion"),
        ("2024", "Copyright (c) 2023, 2024 us; since 2024-05-01"),
        ("40217", "140217 and 40217.5"),
        ("PAT005", "pat0051"),
        ("P100", "step 100"),
        ("100p", "100 pixels"),
        ("with", "unlearning 1 patient with"),
        ("Anna", "annals"),
        ("ab12", "ab12" * 16),
    ],
)
def test_other_words_and_numbers_are_left_alone(name, text):
    assert Names([name]).one_in(text) is None


def test_what_is_not_searched_for_is_told_without_names_and_logged_with_them(caplog):
    assert not_searched(Names(["PAT005", "Mueller"])) == []
    (told,) = not_searched(Names(["PAT005", *map(str, range(1, 9)), "left"]))
    assert told.startswith("ids of up to three characters, and those that are usual words of bundles, were")
    assert "left" not in told
    assert "'1', '2', '3', '4', '5' and 4 more cannot be told from other words" in caplog.text


def test_names_of_files_are_found_as_they_are():
    names = Names([], ["scan_a.nii.gz", "scan_a", "7"])
    assert names.one_in("see data/Scan_A.nii.gz") == "scan_a.nii.gz"
    assert names.one_in("scan_a_b, 7") is None


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.json", json.dumps({"a": "Müller"})),
        ("a.json", json.dumps({"Müller": 1})),
        ("a.json", '{"a": "Müller", "a": "nobody"}'),
        ("a.json", json.dumps({"a": "since\nMüller"})),
        ("a.json", json.dumps({"a": "$'M\\u00fcller'"})),
        ("a.json", "not JSON: Müller"),
        ("a.yaml", 'a: "M\\u00fcller"'),
        ("a.yaml", 'a: "M\\xfc\\\n  ller"'),
        ("a.yaml", "a: 1 # Müller"),
        ("a.yaml", "a: [Müller"),
        ("a.py", "a = 'M\\xfcller'"),
        ("a.md", "Müller"),
        ("a.md", b"M\xfcller"),
        ("a.md", "Müller".encode("utf-16")),
        ("a.md", b"\x00\x01 " + "Müller".encode()),
    ],
)
def test_a_name_is_found_in_whatever_form_it_is_written(tmp_path, file, content):
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert any(Names(["Müller"]).one_in(text) for text in texts_of(tmp_path / file))


@pytest.mark.parametrize("file", ["a.json", "a.yaml"])
def test_numbers_that_are_settings_are_no_ids(tmp_path, file):
    (tmp_path / file).write_text('{"size": [1024, 40217], "one": 123456}')
    found = [
        name for name in ("1024", "40217", "123456") for text in texts_of(tmp_path / file) if Names([name]).one_in(text)
    ]
    assert found == ["123456"]


def test_a_name_in_the_name_of_a_file_and_in_what_is_said(tmp_path):
    bundle = tmp_path / "released" / "bundle"
    shutil.copytree(shipped_bundles()["isic"], bundle)
    names = Names(["Mueller"])
    assert name_problems(tmp_path / "released", names, ["kept"]) == []
    (bundle / "docs" / "without-mueller.md").write_text("?")
    first, second = name_problems(tmp_path / "released", names, ["of Mueller"])
    assert first.startswith("'bundle/docs/without-mueller.md' holds 'Mueller', the id of a patient or case")
    assert second.startswith("'what is said of it' holds 'Mueller'")
    assert len(name_problems(tmp_path / "released", names, without=["bundle/docs/without-mueller.md"])) == 0


def test_files_of_one_patient_name_him_and_those_of_all_do_not(tmp_path):
    file = phantom_split("lesions", tmp_path, patients=5, images_per_patient=1, size=32)
    content = read_json(file)
    for number, case in enumerate(case for part in ("retain", "forget") for case in content[part]):
        case |= {"image": f"{number}/flair.png", "label": f"{number}/mask_of_{number}.png"}
    content["provenance"]["duplicates"] = {"dropped": ["copy_77"]}
    content["provenance"]["kept_for"] = {"x": ["Copied"]}
    (tmp_path / "made.json").write_text(json.dumps(content))
    names = names_of(read_split(tmp_path / "made.json"))
    for text in ("mask_of_0", "mask_of_0.png", content["test"][0]["patient_id"], "copy-77", "copied"):
        assert names.one_in(text), text
    assert names.one_in("flair and flair.png, a phantom in 3 parts") is None
