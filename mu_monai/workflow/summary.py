"""What a finished run says at once: the mean Dice, or accuracy, of every model on every subset."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mu_monai.keys import MODEL, SCORES_CSV, SUBSET
from mu_monai.metrics import subset_means, utility_metrics

_NAMES = {"dice": "Dice", "accuracy": "accuracy"}


def summary(run: str | Path) -> str:
    """The mean Dice, or accuracy, per model and subset of a run, as lines of text; the report has intervals and gaps.

    Args:
        run: a folder with `scores.csv`.
    """
    scores = pd.read_csv(Path(run) / SCORES_CSV)
    metric = utility_metrics(scores)[0]
    means = subset_means(scores, [metric])
    table = means.pivot(index=MODEL, columns=SUBSET, values=metric).loc[means[MODEL].unique(), means[SUBSET].unique()]
    text = table.rename_axis(index=None, columns=None).to_string(float_format="{:.3f}".format)
    return f"mean {_NAMES[metric]}\n{text}"
