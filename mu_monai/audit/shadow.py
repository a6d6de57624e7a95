"""Records of LiRA and U-LiRA: attacks that compare a model with shadow models, patient by patient."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from mu_monai.audit.bootstrap import N_RESAMPLES
from mu_monai.audit.records import Record
from mu_monai.audit.separation import Groups, separation_records
from mu_monai.errors import raise_if_any
from mu_monai.keys import FORGET, MODEL, PATIENT_ID, ROLES, STUDENT, SUBSET, TEACHER, TEST
from mu_monai.metrics import FEW_SHADOWS, likelihood_ratios, shadow_counts
from mu_monai.runs.numbers import LIRA, U_LIRA
from mu_monai.runs.scores import MARGIN

LEAST_SHADOWS = 4  # 2 models trained on each patient and 2 that were not
SHADOW = "shadow"


def shadow_records(
    scores: pd.DataFrame, shadows: pd.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> list[Record]:
    """Attack every model with LiRA, and the student with U-LiRA if the shadow models were unlearned too.

    For each patient, LiRA asks whether the model answers like models that were trained on the patient. U-LiRA compares
    the student with models that were trained on the patient and then unlearned it, and with models that never saw the
    patient: an attacker who can tell these apart knows who was forgotten, even if nothing of the training is left.

    Args:
        scores: the table of the attacked models: `model`, `subset`, `patient_id` and `logit_confidence`.
        shadows: the tables of all shadow models, each with its number in `shadow`. `model` is `teacher` after training
            and `student` after unlearning; `subset` is `forget` for patients that the shadow model was trained on (and
            unlearned), and `test` for those that it never saw.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.

    Returns:
        `auc[lira]` of every model and `auc[u-lira]` of the student, with the true-positive rates that can be measured
        with so many unseen patients.

    Raises:
        InputError: if a table has no `logit_confidence`, there are fewer than 4 shadow models or fewer than 2 of
            each kind for a patient, or they were not scored on every forgotten and unseen patient.

    Source: Carlini et al., arXiv 2112.03570; Hayes et al., arXiv 2403.01218, who unlearn one example at a time.

    Example:
        >>> answers = {"subset": ["forget", "test"], "patient_id": ["a", "b"], "logit_confidence": [4.0, 0.0]}
        >>> other = {**answers, "patient_id": ["b", "a"]}
        >>> shadows = pd.concat([pd.DataFrame(table).assign(shadow=number, model="teacher")
        ...     for number, table in enumerate([answers, other, answers, other])])
        >>> record, = shadow_records(pd.DataFrame(answers).assign(model="teacher"), shadows)
        >>> record.metric, record.value
        ('auc[lira]', 1.0)
    """
    scores, shadows = (table.assign(**{PATIENT_ID: table[PATIENT_ID].astype(str)}) for table in (scores, shadows))
    raise_if_any(_problems(scores, shadows))
    attacks = {LIRA: (TEACHER, [role for role in ROLES if role in set(scores[MODEL])]), U_LIRA: (STUDENT, [STUDENT])}
    records = []
    for attack, (stage, models) in attacks.items():
        pool = shadows[shadows[MODEL] == stage]
        if len(pool):
            groups = {model: _attack(scores[scores[MODEL] == model], pool) for model in models}
            records += separation_records(attack, groups, n_resamples=n_resamples, seed=seed)
    return records


def shadow_notes(scores: pd.DataFrame, shadows: pd.DataFrame) -> list[str]:
    """How many shadow models the records are based on, and how their unlearning differs from the audited run's."""
    _, trained = _answers(shadows[shadows[MODEL] == TEACHER])
    inside, outside = shadow_counts(trained)
    notes = [
        f"LiRA uses {len(trained)} shadow models: for each patient, at least {inside} were trained on it and "
        f"{outside} were not"
    ]
    if len(trained) < FEW_SHADOWS:
        notes[0] += f"; below {FEW_SHADOWS}, all patients share one variance, and the attack is weaker than it could be"
    unlearned = shadows[(shadows[MODEL] == STUDENT) & (shadows[SUBSET] == FORGET)]
    if len(unlearned):
        usual = unlearned.groupby(SHADOW)[PATIENT_ID].nunique().median()
        asked = scores.loc[scores[SUBSET] == FORGET, PATIENT_ID].nunique()
        notes.append(
            f"U-LiRA uses {unlearned[SHADOW].nunique()} shadow models that each unlearned {usual:.0f} patients at "
            f"once; the student unlearned {asked}"
        )
    return notes


def _attack(scores: pd.DataFrame, pool: pd.DataFrame) -> Groups:
    rows = scores[scores[SUBSET].isin((FORGET, TEST))]
    target = rows.groupby(PATIENT_ID)[MARGIN].mean()
    answered, trained = _answers(pool)
    evidence = likelihood_ratios(target, answered[target.index], trained[target.index])
    members = target.index.isin(rows.loc[rows[SUBSET] == FORGET, PATIENT_ID])
    ratios = pd.Series(evidence, target.index)
    return Groups(ratios[members], ratios[~members], int((rows[SUBSET] == FORGET).sum()))


def _answers(pool: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each shadow model's answer for each patient, and whether it was trained on it: both `(shadows, patients)`."""
    rows = pool.assign(trained=(pool[SUBSET] == FORGET).astype(float))
    answered, trained = (
        rows.pivot_table(index=SHADOW, columns=PATIENT_ID, values=name, aggfunc="mean") for name in (MARGIN, "trained")
    )
    return answered, trained > 0


def _problems(scores: pd.DataFrame, shadows: pd.DataFrame) -> Iterator[str]:
    for name, table in (("attacked models", scores), ("shadow models", shadows)):
        if MARGIN not in table or table[MARGIN].isna().any():
            yield f"the scores of the {name} lack {MARGIN}; score the runs again: mu-monai evaluate RUN"
            return
    for stage, pool in shadows.groupby(MODEL):
        yield from _pool_problems(scores, pool, "unlearned" if stage == STUDENT else "trained")


def _pool_problems(scores: pd.DataFrame, pool: pd.DataFrame, stage: str) -> Iterator[str]:
    answered, trained = _answers(pool)
    if len(answered) < LEAST_SHADOWS:
        yield (
            f"{len(answered)} {stage} shadow models are too few: each patient needs 2 that were trained on it and 2 "
            f"that were not; use at least --shadows {LEAST_SHADOWS}, preferably 16 or more"
        )
        return
    attacked = scores.loc[scores[SUBSET].isin((FORGET, TEST)), PATIENT_ID].unique()
    absent = [patient for patient in attacked if patient not in answered or answered[patient].isna().any()]
    if absent:
        yield (
            f"{len(absent)} patients, such as '{absent[0]}', do not have an answer from every {stage} shadow "
            "model, which were made for another split; give another --pool"
        )
    elif min(shadow_counts(trained[attacked])) < 2:
        yield (
            f"some patients have fewer than 2 {stage} shadow models that were trained on them, or 2 that were not; use "
            "more --shadows"
        )
