"""The paper's numbers fit together."""

import pandas as pd
import pytest

from mu_monai.report.paper import PAPER_CASES, PAPER_SIZES, paper_accuracy, paper_table, paper_utility


def test_blank_cells_are_blank():
    table = paper_utility()
    blank = table[table["validation_dice"].isna()]
    assert sorted(set(blank["table"])) == ["Table 2", "Table 4"]
    assert not table.drop(columns=["validation_dice", "validation_iou"]).isna().any(axis=None)


def test_iou_follows_from_dice_but_for_means():
    table = paper_utility()
    for subset in ("retain", "forget", "validation"):
        dice, iou = table[f"{subset}_dice"], table[f"{subset}_iou"]
        pd.testing.assert_series_equal(dice / (2 - dice), iou, atol=0.05, rtol=0, check_names=False)


def test_the_share_of_table_1():
    student = PAPER_SIZES["student"]
    assert student.trainable / student.total == pytest.approx(student.share, abs=2e-4)


def test_the_accuracies_are_shares_of_the_cases():
    table = paper_accuracy()
    for subset, cases in PAPER_CASES.items():
        for share in table[f"{subset}_accuracy"]:
            assert round(share * cases) / cases == pytest.approx(share, abs=6e-5)
    drop = table["test_accuracy"].iloc[0] - table["test_accuracy"].iloc[1]
    assert round(drop * PAPER_CASES["test"]) == 7


def test_each_task_has_its_table():
    assert "retain_accuracy" in paper_table("classification")
    assert "retain_dice" in paper_table("segmentation")
