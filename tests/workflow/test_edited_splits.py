"""A split from which a case was removed by hand is told: nobody may be left out unnoticed."""

import json
from pathlib import Path

import pytest

from mu_monai.data import ForgetFraction, open_split, read_split, reselect
from mu_monai.workflow.checks import usable_split


@pytest.fixture
def split(phantom_splits):
    return Path(phantom_splits["isic"])


@pytest.mark.parametrize("subset", ["retain", "forget", "validation", "test"])
def test_a_case_that_was_removed_is_told(subset, split, tmp_path, caplog):
    content = json.loads(split.read_text())
    for part in ("retain", "forget", "validation", "test"):
        for case in content[part]:
            case["image"], case["label"] = (str((split.parent / case[key]).resolve()) for key in ("image", "label"))
    content["provenance"]["sha256"] = {
        str((split.parent / name).resolve()): digest for name, digest in content["provenance"]["sha256"].items()
    }
    number = len(content[subset])
    content[subset] = content[subset][1:]
    edited = tmp_path / "split.json"
    edited.write_text(json.dumps(content))
    assert read_split(edited).edited == f"{subset} holds {number - 1} cases and was made with {number}"
    usable_split(edited, [])
    assert f"{subset} holds {number - 1} cases and was made with {number}" in caplog.text
    caplog.clear()
    reselect(open_split(edited), ForgetFraction(0.5))
    assert f"{subset} holds {number - 1} cases and was made with {number}" in caplog.text


def test_a_split_as_it_was_made_is_not(split, caplog):
    assert read_split(split).edited == ""
    usable_split(split, [])
    assert "was edited" not in caplog.text
