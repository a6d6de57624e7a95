"""What is printed after a run."""

import pandas as pd
import pytest

from mu_monai.runs import RunRecord, add_files, write_record
from mu_monai.workflow import summary

CASES = {"model": ["teacher", "teacher", "student", "student"], "subset": ["retain", "test"] * 2, "loss": 0.5}


def written(folder, forget_classes=(), **columns):
    write_record(
        folder, RunRecord.from_json({"status": "finished", "role": "student", "forget_classes": list(forget_classes)})
    )
    unused = dict.fromkeys(("bce", "cross_entropy", "confidence", "true_probability"), 0.0)
    table = pd.DataFrame(CASES | {"patient_id": list("abab"), "case_id": list("1212")} | unused | columns)
    table.to_csv(folder / "scores.csv", index=False)
    add_files(folder, "scores.csv")
    return summary(folder).split("\n")


def test_of_masks_it_is_the_mean_dice(tmp_path):
    title, head, *rows = written(tmp_path, dice=[0.9, 0.8, 0.7, 0.6], iou=0.5)
    assert title == "mean Dice"
    assert head.split() == ["retain", "test"]
    assert [row.split() for row in rows] == [["teacher", "0.900", "0.800"], ["student", "0.700", "0.600"]]


def test_of_a_classifier_it_is_the_mean_accuracy(tmp_path):
    title, _, *rows = written(tmp_path, accuracy=[1.0, 0.0, 1.0, 1.0], label="nv", predicted="nv")
    assert title == "mean accuracy"
    assert [row.split() for row in rows] == [["teacher", "1.000", "0.000"], ["student", "1.000", "1.000"]]


def test_several_classes_have_a_table_each(tmp_path):
    several = {"dice": 0.5, "iou": 0.4, "dice[organ]": [0.9, 0.8, 0.7, 0.6], "dice[lesion]": 0.1}
    lines = written(tmp_path, **several)
    assert [line for line in lines if line.startswith("mean")] == [
        "mean Dice over all classes",
        "mean Dice of organ",
        "mean Dice of lesion",
    ]
    assert lines[5].split() == ["retain", "test"]
    assert lines[7].split() == ["student", "0.700", "0.600"]


@pytest.mark.parametrize(
    ("gone", "title", "mean"),
    [
        (["lesion"], "mean Dice over all classes except lesion", "0.700"),
        (["lesion", "vein"], "mean Dice over all classes except lesion, vein", "0.800"),
        (["organ", "lesion", "vein"], "mean Dice over all classes", "0.500"),  # nothing else is left
    ],
)
def test_forgotten_classes_are_left_out_of_the_mean(tmp_path, gone, title, mean):
    several = {"dice": 0.5, "iou": 0.4, "dice[organ]": 0.8, "dice[lesion]": 0.1, "dice[vein]": 0.6}
    lines = written(tmp_path, gone, **several)
    assert lines[0] == title
    assert lines[2].split() == ["teacher", mean, mean]
    assert "mean Dice of lesion (forgotten)" in lines
    assert ("mean Dice of vein" in lines) == ("vein" not in gone)


def test_one_class_is_the_mean(tmp_path):
    assert len(written(tmp_path, **{"dice": 0.5, "iou": 0.4, "dice[organ]": 0.5})) == 4
