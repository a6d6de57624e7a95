"""What a finished run says at once: the mean Dice of every model on every subset."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mu_monai.keys import MODEL, SCORES_CSV, SUBSET
from mu_monai.metrics import subset_means


def summary(run: str | Path) -> str:
    """The mean Dice per model and subset of a run, as lines of text; the report has intervals and gaps.

    Args:
        run: a folder with `scores.csv`.
    """
    means = subset_means(pd.read_csv(Path(run) / SCORES_CSV), ["dice"])
    table = means.pivot(index=MODEL, columns=SUBSET, values="dice")
    order = list(dict.fromkeys(means[SUBSET]))
    return "mean Dice\n" + table[order].rename_axis(index=None, columns=None).to_string(float_format="{:.3f}".format)
