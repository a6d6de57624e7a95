"""Membership records: whether the forgotten patients can be told from patients that the model never saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from mu_monai.audit.bootstrap import N_RESAMPLES
from mu_monai.audit.records import Record
from mu_monai.audit.separation import FPRS, Groups, separation_records
from mu_monai.keys import FORGET, MODEL, PATIENT_ID, ROLES, SUBSET, TEST
from mu_monai.metrics import (
    LEAST_PATIENTS,
    allowed_errors,
    attack_scores,
    logistic_scores,
    membership_signals,
    missing_signals,
    smallest_fpr,
)
from mu_monai.runs.numbers import LOGISTIC


def membership_records(
    scores: pd.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = 0, widened: bool = True
) -> list[Record]:
    """Attack every model of a score table: find the members (`forget`) among the unseen patients (`test`).

    An attack is a threshold on one signal (`auc[loss]` is the main number), or a logistic regression on all of them
    (`auc[logistic]`). An AUC of 0.5 is guessing. For a signal, above 0.5 the forgotten patients are answered like
    training patients, and below 0.5 *worse* than unseen ones, which also gives them away. The logistic regression finds
    both, so its AUC says how well they can be found, not on which side. Intervals come from resampling patients; that
    of the logistic regression ignores that it could have been fitted on other patients.

    Args:
        scores: one row per case and model: `model`, `subset`, `patient_id` and score columns.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws, and of the folds of the logistic regression.
        widened: see `separation_records`.

    Returns:
        `auc[<signal>]`, `tpr@0.01[<signal>]` and `tpr@0.001[<signal>]` of every model; rates too small to measure with
        so few unseen patients are left out, as `membership_notes` says. Empty without forgotten or unseen patients.

    Raises:
        InputError: if the models were scored on different patients.

    Source: threshold attacks: Yeom et al., arXiv 1709.01604; true-positive rates at low false-positive rates: Carlini
        et al., arXiv 2112.03570.

    Example:
        >>> scores = pd.DataFrame({"model": "student", "subset": ["forget", "forget", "test", "test"],
        ...     "patient_id": ["a", "b", "c", "d"], "loss": [0.1, 0.2, 0.3, 0.4]})
        >>> record, = membership_records(scores)
        >>> record.metric, record.value, record.ideal
        ('auc[loss]', 1.0, 0.5)
    """
    attacked = _attacked(scores)
    models = {str(model): _signals(rows, membership_signals(attacked), seed) for model, rows in attacked.groupby(MODEL)}
    names = next(iter(models.values()))[0].columns if models else ()
    return [
        record
        for name in names
        for record in separation_records(
            name,
            {model: Groups(members[name], others[name], cases) for model, (members, others, cases) in models.items()},
            n_resamples=n_resamples,
            seed=seed,
            widened=widened,
        )
    ]


def membership_notes(scores: pd.DataFrame) -> list[str]:
    """What the membership records leave out and why, one sentence each.

    Example:
        >>> scores = pd.DataFrame({"model": "student", "subset": ["forget", "test"], "patient_id": ["a", "b"],
        ...     "accuracy": 1.0, "loss": [0.1, 0.2], "confidence": 0.9, "entropy": 0.3, "modified_entropy": 0.3,
        ...     "logit_confidence": 2.0})
        >>> membership_notes(scores)[1]
        'no logistic attack: it needs at least 8 forgotten and 8 unseen patients, and there are 1 and 1'
    """
    return list(_notes(scores))


def _notes(scores: pd.DataFrame) -> Iterator[str]:
    patients = scores.groupby(SUBSET)[PATIENT_ID].nunique()
    members, others = (int(patients.get(subset, 0)) for subset in (FORGET, TEST))
    if not members or not others:
        yield (
            f"no membership attack: it needs forgotten and unseen (test) patients, and there are {members} and {others}"
        )
        return
    missing = missing_signals(_attacked(scores))
    if missing:
        yield (
            f"the attacks do not use {', '.join(missing)}, which some rows of the score tables lack; "
            "'mu-monai evaluate RUN' scores a run again"
        )
    hidden = [f"{fpr:.1%}".replace(".0", "").replace("%", " %") for fpr in FPRS if not allowed_errors(others, fpr)]
    if hidden:
        yield (
            f"{others} unseen {'patient' if others == 1 else 'patients'} cannot resolve a false-positive rate below "
            f"{100 * smallest_fpr(others):.3g} %, so there is no true-positive rate at {' or '.join(hidden)}"
        )
    if min(members, others) < LEAST_PATIENTS:
        yield (
            f"no logistic attack: it needs at least {LEAST_PATIENTS} forgotten and {LEAST_PATIENTS} unseen patients, "
            f"and there are {members} and {others}"
        )


def _attacked(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of forgotten and unseen cases, for models that were scored on both."""
    rows = scores[scores[SUBSET].isin((FORGET, TEST)) & scores[MODEL].isin(ROLES)]
    return rows[rows.groupby(MODEL)[SUBSET].transform("nunique") == 2]


def _signals(rows: pd.DataFrame, signals: Mapping[str, int], seed: int) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Every attack's scores of one model's forgotten and unseen patients, and the number of forgotten cases."""
    forgotten, unseen = (rows[rows[SUBSET] == subset] for subset in (FORGET, TEST))
    members, others = (attack_scores(part, signals) for part in (forgotten, unseen))
    fitted = logistic_scores(members, others, seed=seed)
    if fitted is not None:
        members, others = (
            table.assign(**{LOGISTIC: log_odds}) for table, log_odds in zip((members, others), fitted, strict=True)
        )
    return members, others, len(forgotten)
