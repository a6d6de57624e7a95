"""The decision picture of classifiers: where each model places the forgotten cases among the others."""

from __future__ import annotations

import pandas as pd

from mu_monai.adapters.placement import head
from mu_monai.audit import plane, shown_cases
from mu_monai.keys import CASE_ID, LABEL, MODEL, ROLES, STUDENT, SUBSET
from mu_monai.measure import penultimate_features
from mu_monai.runs.scores import PREDICTED
from mu_monai.workflow.auditing.evaluation import Evaluation


def decision_table(evaluation: Evaluation, scores: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Lay out all forget cases and a random sample of the others by the features that each model decides from.

    Every model has its own plane, as in the paper. Features of separately trained models share no axes: a common plane
    would mostly show which model a case went through.

    Args:
        evaluation: the models and the cases of a classifier.
        scores: the scores of all models.
        seed: seed of the sample and the layouts.

    Returns:
        one row per model and case: `model`, `subset`, `case_id`, `x`, `y`, `label`, `predicted`.

    Raises:
        InputError: if the head of the network is not known.

    Source:
        *Perturbed Sign Gradient* (arXiv 2505.21872, Figure 4): t-SNE of penultimate features.
    """
    models = {role: evaluation.models[role] for role in ROLES if role in evaluation.models}
    chosen = shown_cases(scores[scores[MODEL] == STUDENT], seed=seed)
    features, cases = penultimate_features(
        models,
        head(next(iter(models.values()))),
        evaluation.scorer.loaders.values(),
        set(chosen[CASE_ID]),
        inferer=evaluation.scorer.inferer,
        device=evaluation.device,
    )
    tables = []
    for role, own in features.items():
        places = pd.DataFrame(plane(own, seed=seed), columns=["x", "y"]).assign(**{MODEL: role, CASE_ID: cases})
        tables.append(places.merge(scores[[MODEL, SUBSET, CASE_ID, LABEL, PREDICTED]], on=[MODEL, CASE_ID]))
    return pd.concat(tables)[[MODEL, SUBSET, CASE_ID, "x", "y", LABEL, PREDICTED]].sort_values([MODEL, CASE_ID])
