"""A summary of a finished run: the mean Dice, or accuracy, of every model on every subset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mu_monai.keys import MODEL, SUBSET
from mu_monai.metrics import structure_scores, subset_means
from mu_monai.runs import Run, RunRecord, read_record
from mu_monai.runs.numbers import Metric
from mu_monai.runs.scores import DICE, LEADING, Column, structures, task_of


def summary(run: str | Path) -> str:
    """The mean Dice, or accuracy, per model and subset of a run, as lines of text; the report has intervals and gaps.

    Masks of several classes also get one table per class. As in the report, the mean leaves out the classes to forget.

    Args:
        run: a run folder with `run.json` and `scores.csv`.
    """
    folder = Path(run)
    forgotten = read_record(folder).forget_classes
    scores = structure_scores(Run(folder, read_record(folder)).scores, forgotten)
    titles = _titles(LEADING[task_of(scores)], structures(scores), forgotten)
    means = subset_means(scores, list(titles))
    return "\n".join(f"{title}\n{_table(means, column)}" for column, title in titles.items())


def _titles(metric: Column, names: Sequence[str], forgotten: Sequence[str]) -> dict[str, str]:
    """The title of each column's table."""
    if len(names) < 2:
        return {metric.name: f"mean {metric.in_text}"}
    without = f" except {', '.join(forgotten)}" if set(forgotten) < set(names) and forgotten else ""
    by_class = {str(Metric(DICE, name)): f"mean Dice of {name}{' (forgotten)' * (name in forgotten)}" for name in names}
    return {metric.name: f"mean {metric.in_text} over all classes{without}"} | by_class


def _table(means: pd.DataFrame, column: str) -> str:
    table = means.pivot(index=MODEL, columns=SUBSET, values=column).loc[means[MODEL].unique(), means[SUBSET].unique()]
    return table.rename_axis(index=None, columns=None).to_string(float_format="{:.3f}".format)


def cost_in_words(record: RunRecord, retrained: RunRecord | None = None) -> str:
    """What a run took: seconds, sample passes, and their share of the teacher's training, as far as they are known.

    Args:
        record: the run.
        retrained: a retraining, of whose sample passes the share is told as well.

    Example:
        >>> from mu_monai.runs.record import Cost
        >>> record = RunRecord(status="finished", role="student", seconds=16.4, cost=Cost(passes=1940, share=0.0496))
        >>> cost_in_words(record)
        "16 s, 1,940 sample passes, 5.0% of the teacher's training"
    """
    parts = [] if record.seconds is None else [f"{record.seconds:.0f} s"]
    if record.cost.passes is not None:
        parts.append(f"{record.cost.passes:,} sample passes")
    if record.cost.share is not None:
        parts.append(f"{record.cost.share:.1%} of the teacher's training")
    if retrained is not None and record.cost.passes is not None and retrained.cost.passes:
        parts.append(f"{record.cost.passes / retrained.cost.passes:.1%} of retraining")
    return ", ".join(parts)
