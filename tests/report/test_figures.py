"""The plots: what is drawn, in colors that can be read."""

import math

import pandas as pd
import pytest

from mu_monai.report.figures import DARK, LIGHT, draw_curve, draw_utility, png, split_columns


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(
    ("theme", "page"), [(LIGHT, "#ffffff"), (DARK, "#11161d"), (LIGHT, "#f5f7f9"), (DARK, "#1a212b")]
)
def test_every_color_can_be_read_on_its_page(theme, page):
    for color in (theme.ink, theme.muted, *theme.colors.values()):
        light, dark = sorted((luminance(color) + 0.05, luminance(page) + 0.05), reverse=True)
        assert light / dark >= 4.5, color


def test_columns_are_told_apart_by_their_names():
    curve = pd.DataFrame(
        {"epoch": [1, 2], "seconds": 1.0, "guard": 0.5, "retain_dice": [math.nan, 0.9], "empty": math.nan}
    )
    curve["test_of_time"] = 0.1
    curve["forget_auc"] = 0.6  # one number that a method measures, not a metric of a subset
    terms, metrics = split_columns(curve)
    assert terms == ["guard", "forget_auc"]
    assert metrics == {"dice": {"retain_dice": "retain"}, "of_time": {"test_of_time": "test"}}


def test_a_curve_skips_epochs_without_evaluation():
    curve = pd.DataFrame({"epoch": [1, 2, 3], "forget_dice": [0.9, math.nan, 0.5]})
    figure = draw_curve(curve, {"forget_dice": "forget"}, "dice", LIGHT)
    line = figure.axes[0].lines[0]
    assert list(line.get_xdata()) == [1, 3]
    assert png(figure).startswith(b"\x89PNG")


def test_one_mark_per_model_and_subset_and_one_for_the_ideal():
    table = pd.DataFrame({"subset": ["retain", "forget"], "ideal": [0.9, math.nan]})
    for model in ("teacher", "student"):
        table = table.assign(**{model: 0.8, f"{model}_low": 0.7, f"{model}_high": math.nan})
    figure = draw_utility(table, "Dice", DARK)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["teacher", "student", "where the student should be"]
    png(figure)
