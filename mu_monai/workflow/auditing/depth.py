"""The barriers between the models of a run and the original, on the cases that these were trained on."""

from __future__ import annotations

import math
from itertools import islice

from mu_monai.attacks.attack import endless
from mu_monai.keys import RETRAINED, STUDENT, TEACHER, VALIDATION
from mu_monai.measure import linear_barrier
from mu_monai.workflow.auditing.evaluation import Batches, Evaluation

_CASES, _BATCH_SIZE = 64, 8  # enough to see a barrier, and seconds of forward passes


def measure_barriers(evaluation: Evaluation, *, seed: int = 0) -> dict[str, float]:
    """Measure the barrier between the original and the student, and between it and the retrained model.

    The loss is that of training, on retained cases as training sees them (patches, for volumes), or on whole validation
    cases if none were retained. All networks see the same batches.

    Args:
        evaluation: the models and the cases.
        seed: seed of the choice of cases and of their augmentation.

    Returns:
        the barrier by model, see `linear_barrier`; empty without an original or without cases.
    """
    models = evaluation.models
    loader, inferer, together = evaluation.retain_batches, evaluation.inferer, _BATCH_SIZE
    if not _cases(loader):
        loader, inferer = evaluation.scorer.loaders[VALIDATION], evaluation.scorer.inferer or evaluation.inferer
        together = loader.batch_size or 1  # whole cases may differ in size
    if TEACHER not in models or not _cases(loader):
        return {}
    number = min(_CASES, _cases(loader))
    batches = list(islice(endless(loader, together, seed), math.ceil(number / together)))
    return {
        role: linear_barrier(models[role], models[TEACHER], batches, loss=evaluation.loss, inferer=inferer)
        for role in (RETRAINED, STUDENT)
        if role in models
    }


def _cases(loader: Batches) -> int:
    return len(loader.dataset)  # type: ignore[arg-type]
