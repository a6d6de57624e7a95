"""How well each model draws every class of a mask."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mu_monai.runs.numbers import Metric
from mu_monai.runs.scores import DICE, STRUCTURE_METRICS, TRUE_VOLUME, VOLUME, VOLUME_ERROR, structures


def structure_scores(scores: pd.DataFrame, forget_classes: Sequence[str] = ()) -> pd.DataFrame:
    """Complete the scores of masks of several classes by what is computed from them, case by case.

    The error of a volume is `|predicted - true|` in ml, so that too large and too small do not cancel in its mean.
    Where classes were to be forgotten, `dice` becomes the mean over all other classes, since a mean over all would
    count as a loss what was asked for; where nothing else is left, it stays.

    Args:
        scores: the score table, one row per case and model.
        forget_classes: the classes that were to be forgotten in every case.

    Returns:
        the table with `volume_error[<class>]` of every class whose volumes are known.

    Example:
        >>> scores = pd.DataFrame({"dice": [0.5], "dice[organ]": [0.9], "dice[lesion]": [0.1],
        ...                        "volume[organ]": [12.0], "true_volume[organ]": [15.0]})
        >>> structure_scores(scores, ["lesion"])[["dice", "volume_error[organ]"]].to_dict("records")
        [{'dice': 0.9, 'volume_error[organ]': 3.0}]
    """
    names = structures(scores)
    kept = [str(Metric(DICE, name)) for name in names if name not in forget_classes]
    table = scores.assign(**{DICE: scores[kept].mean(axis=1)}) if kept and forget_classes else scores
    volumes = {name: (str(Metric(VOLUME, name)), str(Metric(TRUE_VOLUME, name))) for name in names}
    errors = {
        str(Metric(VOLUME_ERROR, name)): (table[found] - table[true]).abs()
        for name, (found, true) in volumes.items()
        if {found, true} <= set(table)
    }
    return table.assign(**errors)


def structure_metrics(scores: pd.DataFrame) -> tuple[str, ...]:
    """The columns of `structure_scores` that say how well each class is drawn, class by class.

    Example:
        >>> structure_metrics(pd.DataFrame({"dice": [0.9], "hd95[organ]": [2.0], "dice[organ]": [0.9]}))
        ('dice[organ]', 'hd95[organ]')
    """
    found = (str(Metric(metric, name)) for name in structures(scores) for metric in STRUCTURE_METRICS)
    return tuple(column for column in found if column in scores.columns)
