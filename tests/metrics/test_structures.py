"""Scores of every class of a mask."""

import pandas as pd
import pytest

from mu_monai.metrics import structure_metrics, structure_scores
from mu_monai.runs.scores import structures, utility_metrics

SCORES = pd.DataFrame(
    {
        "dice": [0.5, 0.7],
        "iou": [0.4, 0.6],
        "loss": 0.1,
        "dice[organ]": [0.8, 0.9],
        "dice[lesion]": [0.2, 0.5],
        "hd95[lesion]": [3.0, 1.0],
        "volume[lesion]": [2.0, 8.0],
        "true_volume[lesion]": [5.0, 7.0],
    }
)


def test_the_classes_are_read_from_the_columns():
    assert structures(SCORES) == ["organ", "lesion"]
    assert structures(pd.DataFrame({"dice": [1.0], "f1[nevus]": [1.0]})) == []
    assert structures(pd.DataFrame({"dice[a [b] c]": [1.0]})) == ["a [b] c"]
    assert utility_metrics(SCORES) == ("dice", "iou", "loss")


def test_errors_of_volumes_do_not_cancel():
    table = structure_scores(SCORES)
    assert table["volume_error[lesion]"].tolist() == [3.0, 1.0]
    assert table["dice"].tolist() == [0.5, 0.7]
    assert "volume_error[organ]" not in table
    assert structure_metrics(table) == (
        "dice[organ]",
        "dice[lesion]",
        "hd95[lesion]",
        "volume[lesion]",
        "volume_error[lesion]",
    )
    assert "volume_error[lesion]" not in SCORES


@pytest.mark.parametrize(
    ("forgotten", "dice"),
    [([], [0.5, 0.7]), (["lesion"], [0.8, 0.9]), (["organ"], [0.2, 0.5]), (["organ", "lesion"], [0.5, 0.7])],
)
def test_the_mean_is_over_the_classes_that_stay(forgotten, dice):
    assert structure_scores(SCORES, forgotten)["dice"].tolist() == dice


def test_one_channel_and_classifiers_have_none():
    for columns in ({"dice": [0.5], "iou": [0.4]}, {"accuracy": [1.0]}):
        table = pd.DataFrame(columns)
        assert structure_metrics(table) == ()
        pd.testing.assert_frame_equal(structure_scores(table), table)
