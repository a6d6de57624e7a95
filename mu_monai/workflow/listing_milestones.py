"""What the milestones of a training are worth, and when it began to memorize its cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.adapters.milestones import find_milestones, memorized_at
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.data import read_split
from mu_monai.engine.milestones import rising, scores_auc
from mu_monai.errors import raise_if_any
from mu_monai.keys import LOSS, MILESTONES_DIR, MODEL_PT, VALIDATION
from mu_monai.runs import open_run
from mu_monai.runs.scores import leading_metric
from mu_monai.workflow.auditing.evaluation import Evaluation, open_evaluation
from mu_monai.workflow.moved import SPLIT, gone_problems, moved, other_split


def milestones(
    run: str | Path,
    *,
    split: str | Path | None = None,
    folder: str | Path | None = None,
    device: str | None = None,
    trust: Trust = STRANGER,
) -> pd.DataFrame:
    """Score the weights that a training kept after a few epochs, and its last ones.

    A model memorizes late: while validation patients are answered better and better, the AUC tells from which epoch on
    the losses distinguish patients that were trained on from those that were not. `test` is not looked at.

    Args:
        run: the folder of a finished training run.
        split: a `split.json` to use instead of the run's, such as one whose files have moved.
        folder: milestones from elsewhere, such as those of MONAI's `CheckpointSaver`; by default the run's own.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        trust: how far the run is trusted.

    Returns:
        one row per milestone and one for the run's result: `epoch`; mean `dice` or `accuracy`, and `loss`, on
        `validation`; `auc`, the probability that a patient who was trained on has a lower loss than one of
        `validation`, in [0, 1], as the training measured it if it did; and `smoothed`, the nearest curve through those
        of the milestones that does not fall, which `rewind` goes by.

    Raises:
        InputError: if there are no milestones, they or the split are not those of the run, images have changed since
            the split was made, or it has no validation cases.
    """
    record = moved(open_run(run).record, split=split)
    raise_if_any(gone_problems(run, record, [SPLIT]))
    raise_if_any(other_split(Path(run), record) or read_split(record.split.file).changed_files)
    files = find_milestones(Path(run) / MILESTONES_DIR if folder is None else folder)
    weights = {str(epoch): str(file) for epoch, file in files.items()} | {"last": str(Path(run) / MODEL_PT)}
    evaluation = open_evaluation(run, weights, split=split, device=device, trust=trust)
    raise_if_any(_problems(evaluation))
    trained = [subset for subset in record.subsets if len(evaluation.scorer.loaders.get(subset, ()))]
    epochs = [*files, record.max_epochs]
    known = [*map(memorized_at, files.values()), None]
    rows = [
        {"epoch": epoch, **_measured(evaluation, name, trained, auc)}
        for epoch, name, auc in zip(epochs, weights, known, strict=True)
    ]
    table = pd.DataFrame(rows)
    smoothed = rising(table["auc"].tolist()[: len(files)])
    return table.assign(smoothed=pd.Series(smoothed))


def _problems(evaluation: Evaluation) -> Iterator[str]:
    if not len(evaluation.scorer.loaders[VALIDATION]):
        yield (
            "the split has no validation cases, and milestones are compared on them; make one that has: "
            "mu-monai split ... --validation 0.2"
        )


def _measured(evaluation: Evaluation, name: str, trained: list[str], auc: float | None) -> dict[str, Any]:
    scorer, network = evaluation.scorer, evaluation.models[name].eval()
    unseen = scorer.score(network, scorer.loaders[VALIDATION], measure=False)
    if auc is None:
        known = [scorer.score(network, scorer.loaders[subset], measure=False) for subset in trained]
        auc = scores_auc(pd.concat(known, ignore_index=True), unseen)
    metric = leading_metric(unseen)
    return {metric: unseen[metric].mean(), LOSS: unseen[LOSS].mean(), "auc": auc}
