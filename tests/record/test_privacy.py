"""No folder's name leaves the house, and no id as a word."""

import pandas as pd
import pytest

from mu_monai.record import id_problems, without_paths

SCORES = pd.DataFrame({"patient_id": ["4711", "12", "b-3000"], "case_id": ["4711_a", "12", "b-3000"]})


@pytest.mark.parametrize(
    ("typed", "signed"),
    [
        ("/opt/anna/mu-monai unlearn isic --teacher runs/anna/", "mu-monai unlearn isic --teacher anna"),
        ("split x --forget-ids withdrawn/Mueller.txt --force", "split x --forget-ids '<ids>' --force"),
        ("train isic --split Mueller.json --set a=1", "train isic --split '<split>' --set a=1"),
        ("train isic --split=/a/Mueller.json --out=/a/b/c", "train isic '--split=<split>' --out=c"),
        ("audit '/home/Anna Mueller/run 1' --seed 0", "audit 'run 1' --seed 0"),
        ("train isic --out '/home/x=y/Anna/run'", "train isic --out run"),
        ("train isic --set images=/home/anna/images", "train isic --set images=images"),
        (
            """train --set "files=['/home/anna/a.csv', 'runs/b']" """,
            """train --set 'files=['"'"'a.csv'"'"', '"'"'b'"'"']'""",
        ),
        (r"train 'C:\Users\Anna\run'", "train run"),
        ("train isic --set rate=1e-3 'not closed", "train isic --set rate=1e-3 'not closed"),
    ],
)
def test_commands_keep_the_last_part_of_paths_and_no_file_of_ids(typed, signed):
    assert without_paths({"audit": {"command": typed}}) == {"audit": {"command": signed}}


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        ("'runs/Anna Mueller/x' is gone", "'x' is gone"),
        ("see /home/anna/x.png, ~/anna/y and ../anna/z", "see x.png, y and z"),
        ("see anna/b/x.nii.gz", "see x.nii.gz"),
        (r"see C:\Users\anna\x.png", "see x.png"),
        ("the teacher's and/or the student's 2/3, 0.5/1.5", "the teacher's and/or the student's 2/3, 0.5/1.5"),
    ],
)
def test_sentences_keep_the_last_part_of_paths(text, signed):
    assert without_paths({"warnings": [text], "seed": 3}) == {"warnings": [signed], "seed": 3}


@pytest.mark.parametrize("text", ["4711", "worst: 4711, 4712", "is (b-3000)", "4711.png", "runs 4711_a"])
def test_an_id_as_a_word_is_told_by_its_field(text):
    (problem,) = id_problems({"checks": [{"detail": "fine"}, {"detail": text}]}, SCORES)
    assert problem.startswith("the record's field 'checks.1.detail' holds the id")
    assert "4711" not in problem


@pytest.mark.parametrize("text", ["12 of 12", "14711", "0.4711", "4711.5", "b-3000-1", "2026-4711", "a4711"])
def test_short_ids_and_parts_of_words_are_none(text):
    assert list(id_problems({"text": text, "number": 4711}, SCORES)) == []


def test_no_ids_are_no_problem():
    assert list(id_problems({"text": "any"}, SCORES.iloc[:0])) == []
