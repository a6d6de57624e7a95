from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mu_monai import workflow
from mu_monai.data import load_split
from mu_monai.data.pseudonyms import pseudonym
from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json, write_json
from tests.data.conftest import make_decathlon, make_dicom


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
