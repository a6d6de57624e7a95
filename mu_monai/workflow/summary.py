"""What a finished run says at once: the mean Dice, or accuracy, of every model on every subset."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mu_monai.keys import MODEL, SCORES_CSV, SUBSET
from mu_monai.metrics import structures, subset_means, utility_metrics

_NAMES = {"dice": "Dice", "accuracy": "accuracy"}


def summary(run: str | Path) -> str:
    """The mean Dice, or accuracy, per model and subset of a run, as lines of text; the report has intervals and gaps.

    Masks of several classes get a table for each class below.

    Args:
        run: a folder with `scores.csv`.
    """
    scores = pd.read_csv(Path(run) / SCORES_CSV)
    metric = utility_metrics(scores)[0]
    titles = {metric: f"mean {_NAMES[metric]}"}
    names = structures(scores)
    if len(names) > 1:
        titles |= {f"dice[{name}]": f"mean Dice of {name}" for name in names}
    means = subset_means(scores, list(titles))
    return "\n".join(f"{title}\n{_table(means, column)}" for column, title in titles.items())


def _table(means: pd.DataFrame, column: str) -> str:
    table = means.pivot(index=MODEL, columns=SUBSET, values=column).loc[means[MODEL].unique(), means[SUBSET].unique()]
    return table.rename_axis(index=None, columns=None).to_string(float_format="{:.3f}".format)
