from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mu_monai import workflow
from mu_monai.data import load_split
from mu_monai.data.pseudonyms import pseudonym
from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json, write_json
from tests.data.conftest import make_decathlon, make_dicom, write_image


def test_wrong_settings_are_told_all_at_once(tmp_path):
    with pytest.raises(InputError) as caught:
        workflow.split(
            tmp_path, out=tmp_path, forget=workflow.ForgetChoice(fraction=1.5), validation=2, test=-1, seed=-3
        )
    told = "exists; give another", "forget fraction 1.5", "validation share 2", "test share -1", "seed -3 is negative"
    assert len(caught.value.problems) == len(told)
    assert all(text in problem for text, problem in zip(told, caught.value.problems, strict=True))


def test_a_folder_is_no_file_of_ids(tmp_path):
    with pytest.raises(InputError, match=r"the file of ids '.*' is not a file; give a text file"):
        workflow.split(tmp_path, out=tmp_path / "split.json", forget=workflow.ForgetChoice(ids=tmp_path))


def test_a_dataset_json_is_a_source_and_no_split_file(tmp_path):
    make_decathlon(tmp_path / "in")
    out = tmp_path / "split.json"
    summary = workflow.split(tmp_path / "in" / "dataset.json", out=out, validation=0, test=0.5)
    assert summary.startswith("layout decathlon")
    assert len(load_split(out)["test"]) == 1


def test_series_are_forgotten_by_identifiers_in_a_file_now_and_later(tmp_path):
    (tmp_path / "ids.txt").write_text("Bert\n")
    options = {"forget": workflow.ForgetChoice(ids=tmp_path / "ids.txt"), "validation": 0, "test": 0.2}
    workflow.split(make_dicom(tmp_path / "in"), out=tmp_path / "split.json", salt="not to be guessed", **options)
    split = load_split(tmp_path / "split.json")
    assert [case["patient_id"] for case in split["forget"]] == [pseudonym("patient", "Bert", "not to be guessed")]
    retained = {case["patient_id"] for case in split["retain"]}
    later = next(name for name in ("Anna", "Cleo") if pseudonym("patient", name, "not to be guessed") in retained)
    (tmp_path / "ids.txt").write_text(f"{later}\n")
    workflow.split(
        tmp_path / "split.json", out=tmp_path / "request.json", forget=workflow.ForgetChoice(ids=tmp_path / "ids.txt")
    )
    assert len(load_split(tmp_path / "request.json")["forget"]) == 2
    assert read_json(tmp_path / "request.json")["provenance"]["salt"] == "not to be guessed"
    assert later not in (tmp_path / "request.json").read_text()


def test_series_are_forgotten_by_what_their_headers_say(tmp_path):
    forget = workflow.ForgetChoice(where="manufacturer == 'SIEMENS'")
    workflow.split(make_dicom(tmp_path / "in"), out=tmp_path / "split.json", forget=forget, validation=0)
    assert len(load_split(tmp_path / "split.json")["forget"]) == 1


def test_a_salt_has_no_effect_on_a_split_file(tmp_path):
    workflow.split(make_dicom(tmp_path / "in"), out=tmp_path / "split.json")
    with pytest.raises(InputError, match=r"--salt not to be guessed has no effect on a split.json"):
        workflow.split(
            tmp_path / "split.json",
            out=tmp_path / "x.json",
            forget=workflow.ForgetChoice(fraction=0.3),
            salt="not to be guessed",
        )


def test_a_share_is_of_what_a_condition_finds(mu_monai, phantom_splits, tmp_path):
    source, out = Path(phantom_splits["isic_classification"]).parent, tmp_path / "split.json"
    share = ["--forget-fraction-of", 0.5, "--out", out]
    code, _, error = mu_monai("split", source, *share)
    assert code == 2
    assert "--forget-fraction-of 0.5 is a share" in error
    assert not out.exists()
    assert mu_monai("split", source, "--forget-where", "device in ['a', 'b']", *share)[0] == 0
    assert read_json(out)["provenance"]["selector"]["share"] == 0.5
    assert len(load_split(out)["forget"]) == len(load_split(out)["retain"]) + 2  # 5 patients of 2 images in training


def test_a_request_on_a_split_of_an_earlier_version_keeps_what_it_tells(phantom_splits, tmp_path):
    shutil.copytree(Path(phantom_splits["isic"]).parent, tmp_path / "in")
    source = tmp_path / "in" / "split.json"
    content = read_json(source)
    content["provenance"] = {"sha256": content["provenance"]["sha256"], "of another version": [1]}
    write_json(source, content)
    summary = workflow.split(source, out=tmp_path / "request.json", forget=workflow.ForgetChoice(fraction=0.5))
    assert summary.startswith("layout not known\nretain ")
    found = read_json(tmp_path / "request.json")["provenance"]
    assert found["of another version"] == [1]
    assert found["chosen_from"] == {"file": str(source), "sha256": file_sha256(source)}


PATIENTS = ["007", "7", "AB-1", "ab-1", "J  Doe", "J Doe", "#12", "NA", *[f"p{number}" for number in range(8)]]


@pytest.fixture
def source(tmp_path):
    """A manifest with patients whose ids nearly agree, begin with # or look like nothing."""
    rows = ["case_id,patient_id,image,label,scan date,diagnosis"]
    for number, patient in enumerate(PATIENTS):
        image = write_image(tmp_path / f"{number}.png", number)
        diagnosis = "Nevus" if number % 7 == 1 else "nevus"
        rows.append(f"x{number},{patient},{image},benign,2021-03-{number + 1:02d},{diagnosis}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "manifest.csv"


def forgotten(source, out, **choice):
    workflow.split(source, out=out, forget=workflow.ForgetChoice(**choice))
    return {case["patient_id"] for case in load_split(out)["forget"]}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("007\n#12\np1\n", {"007", "#12", "p1"}),
        ("# withdrawn in May\nNA\n", {"NA"}),
        ("patient_id;date\n#12;2024-01-31\n", {"#12"}),
        ("case_id\nx6\nx8\n", {"#12", "p0"}),
    ],
)
def test_who_is_on_the_list_is_forgotten(source, tmp_path, caplog, listed, expected):
    (tmp_path / "ids.csv").write_text(listed)
    assert forgotten(source, tmp_path / "split.json", ids=tmp_path / "ids.csv") == expected
    assert ("'007' and '7': the first is to be forgotten, the other is not" in caplog.text) == ("007" in expected)
    provenance = read_json(tmp_path / "split.json")["provenance"]
    assert set(provenance["selector"]["value"]) == (expected if "x6" not in listed else {"x6", "x8"})


@pytest.mark.parametrize(("listed", "meant"), [("07", "'007' and '7'"), ("Ab-1", "'AB-1' and 'ab-1'"), ("na", "'NA'")])
def test_an_id_that_is_nearly_one_is_refused_with_what_may_be_meant(source, tmp_path, listed, meant):
    (tmp_path / "ids.txt").write_text(f"{listed}\n")
    with pytest.raises(InputError, match=f"id '{listed}' to forget is neither .*; did you mean {meant}"):
        forgotten(source, tmp_path / "split.json", ids=tmp_path / "ids.txt")


@pytest.mark.parametrize("listed", ["# nobody\n", "#1\n#2\n", "#"])
def test_a_list_of_remarks_alone_is_refused(source, tmp_path, listed):
    (tmp_path / "ids.txt").write_text(listed)
    with pytest.raises(InputError, match="the list of ids to forget is empty"):
        forgotten(source, tmp_path / "split.json", ids=tmp_path / "ids.txt")


def test_a_later_request_knows_ids_that_begin_with_a_sign(source, tmp_path):
    workflow.split(source, out=tmp_path / "split.json", validation=0, test=0)
    (tmp_path / "ids.txt").write_text("# as asked\n#12\n")
    assert forgotten(tmp_path / "split.json", tmp_path / "request.json", ids=tmp_path / "ids.txt") == {"#12"}


@pytest.mark.parametrize(
    ("query", "number"), [("`scan date` < '2021-03-04'", 3), ("`scan date`.between('20210302', '2021-03-03')", 2)]
)
def test_dates_in_a_condition_are_dates(source, tmp_path, query, number):
    assert len(forgotten(source, tmp_path / "split.json", where=query)) == number


@pytest.mark.parametrize("query", ["diagnosis == 'Nevus'", "diagnosis.str.startswith('N')", "not diagnosis == 'nevus'"])
def test_a_condition_that_finds_one_of_two_forms_is_warned_of(source, tmp_path, caplog, query):
    assert len(forgotten(source, tmp_path / "split.json", where=query)) == 3
    assert f"query {query!r} does not find all of 'Nevus' and 'nevus' in diagnosis" in caplog.text


@pytest.mark.parametrize("name", [b"l\xe9sions", b"\xff", b"a\xc3"])
def test_a_source_whose_name_is_not_utf_8_is_refused(tmp_path, name):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    folder.mkdir()
    with pytest.raises(InputError, match="has bytes that are not UTF-8 in its name; rename it"):
        workflow.split(folder, out=tmp_path / "split.json")


def test_a_request_does_not_replace_the_split_that_a_model_was_trained_on(phantom_splits, tmp_path):
    split = Path(shutil.copytree(Path(phantom_splits["isic"]).parent, tmp_path / "data")) / "split.json"
    before = split.read_bytes()
    with pytest.raises(InputError, match="is the source, which a model may have been trained on; give another --out"):
        workflow.split(split, out=split, forget=workflow.ForgetChoice(fraction=0.3), force=True)
    assert split.read_bytes() == before
