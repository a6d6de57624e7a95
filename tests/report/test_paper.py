"""The paper's numbers fit together."""

import pandas as pd
import pytest

from mu_monai.report.paper import PAPER_SIZES, paper_utility


def test_blank_cells_are_blank():
    table = paper_utility()
    blank = table[table["validation_dice"].isna()]
    assert sorted(set(blank["table"])) == ["2", "4"]
    assert not table.drop(columns=["validation_dice", "validation_iou"]).isna().any(axis=None)


def test_iou_follows_from_dice_but_for_means():
    table = paper_utility()
    for subset in ("retain", "forget", "validation"):
        dice, iou = table[f"{subset}_dice"], table[f"{subset}_iou"]
        pd.testing.assert_series_equal(dice / (2 - dice), iou, atol=0.05, rtol=0, check_names=False)


def test_the_share_of_table_1():
    student = PAPER_SIZES["student"]
    assert student.trainable / student.total == pytest.approx(student.share, abs=2e-4)
