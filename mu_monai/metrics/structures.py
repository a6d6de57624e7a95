"""How well each model segments every class of a mask."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mu_monai.runs.numbers import Metric
from mu_monai.runs.scores import DICE, STRUCTURE_METRICS, TRUE_VOLUME, VOLUME, VOLUME_ERROR, structures


def structure_scores(scores: pd.DataFrame, forget_classes: Sequence[str] = ()) -> pd.DataFrame:
    """Add the per-case scores that are computed from the scores of masks with several classes.

    The error of a volume is `|predicted - true|` in ml, so that errors in both directions do not cancel in the mean.
    If classes were to be forgotten, `dice` becomes the mean over all other classes, since a mean over all would count
    the requested forgetting as a loss; if there is no other class, `dice` stays as it is.

    Args:
        scores: the score table, one row per case and model.
        forget_classes: the classes that were to be forgotten in every case.

    Returns:
        the table with `volume_error[<class>]` for every class whose volumes are known.

    Example:
        >>> scores = pd.DataFrame({"dice": [0.5], "dice[organ]": [0.9], "dice[lesion]": [0.1],
        ...                        "volume[organ]": [12.0], "true_volume[organ]": [15.0]})
        >>> structure_scores(scores, ["lesion"])[["dice", "volume_error[organ]"]].to_dict("records")
        [{'dice': 0.9, 'volume_error[organ]': 3.0}]
    """
    names = structures(scores)
    remaining = [str(Metric(DICE, name)) for name in names if name not in forget_classes]
    table = scores.assign(**{DICE: scores[remaining].mean(axis=1)}) if remaining and forget_classes else scores
    volumes = {name: (str(Metric(VOLUME, name)), str(Metric(TRUE_VOLUME, name))) for name in names}
    errors = {
        str(Metric(VOLUME_ERROR, name)): (table[predicted] - table[true]).abs()
        for name, (predicted, true) in volumes.items()
        if {predicted, true} <= set(table)
    }
    return table.assign(**errors)


def structure_metrics(scores: pd.DataFrame) -> tuple[str, ...]:
    """The columns of `structure_scores` that measure how well each class is segmented.

    Example:
        >>> structure_metrics(pd.DataFrame({"dice": [0.9], "hd95[organ]": [2.0], "dice[organ]": [0.9]}))
        ('dice[organ]', 'hd95[organ]')
    """
    candidates = (str(Metric(metric, name)) for name in structures(scores) for metric in STRUCTURE_METRICS)
    return tuple(column for column in candidates if column in scores.columns)
