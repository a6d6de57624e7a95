"""How well an attacker who sees a model's answers can tell its training patients from patients it never saw."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mu_monai.keys import PATIENT_ID
from mu_monai.runs.scores import columns_of

Array = NDArray[np.float64]

LEAST_PATIENTS = 8  # of each group: with fewer, a fold of the logistic attack tests on one
_FOLDS, _REPEATS = 5, 10


def membership_signals(scores: pd.DataFrame) -> dict[str, int]:
    """The score columns that an attacker can use, each with the sign that makes higher values mean membership.

    Columns that are missing, or not finite in every row, are left out; tables from earlier versions lack some.

    Example:
        >>> membership_signals(pd.DataFrame({"loss": [0.1], "dice": [0.9], "bce": [0.2]}))
        {'loss': -1, 'bce': -1, 'dice': 1}
    """
    columns = {name: sign for name, sign in _signals(scores).items() if name in scores.columns}
    return {name: sign for name, sign in columns.items() if np.isfinite(scores[name].astype(float)).all()}


def missing_signals(scores: pd.DataFrame) -> list[str]:
    """The signals of this task that the table does not have for every case.

    Example:
        >>> missing_signals(pd.DataFrame({"loss": [0.1], "accuracy": [1.0], "confidence": [0.8], "entropy": [0.4]}))
        ['modified_entropy', 'logit_confidence']
    """
    usable = membership_signals(scores)
    return [name for name in _signals(scores) if name not in usable]


def attack_scores(scores: pd.DataFrame, signals: Mapping[str, int] | None = None) -> pd.DataFrame:
    """The evidence that each patient was trained on, by every signal; higher means more like a member.

    A patient's images are averaged first: patients are forgotten, not images, and the images of one patient are not
    independent evidence.

    Args:
        scores: the rows of one model: `patient_id` and score columns.
        signals: the columns to use and their signs; by default those of `membership_signals`.

    Returns:
        one row per patient, indexed by id, and one column per signal.

    Example:
        >>> scores = pd.DataFrame({"patient_id": ["a", "a", "b"], "loss": [0.1, 0.3, 0.4], "dice": [0.9, 0.8, 0.5]})
        >>> attack_scores(scores).round(3).to_dict("index")
        {'a': {'loss': -0.2, 'dice': 0.85}, 'b': {'loss': -0.4, 'dice': 0.5}}
    """
    signals = membership_signals(scores) if signals is None else signals
    means = scores.assign(**{PATIENT_ID: scores[PATIENT_ID].astype(str)}).groupby(PATIENT_ID)[list(signals)].mean()
    return means * pd.Series(signals)


def auc(members: ArrayLike, non_members: ArrayLike) -> float:
    """The probability that a member scores higher than a non-member, ties counting half.

    1 separates all members, 0.5 none; below 0.5 members are answered *worse* than patients never seen.

    Example:
        >>> auc([0.9, 0.5], [0.5, 0.1])
        0.875
    """
    first, second = np.asarray(members, dtype=float), np.asarray(non_members, dtype=float)
    ranks = rankdata(np.concatenate([first, second]))[: len(first)]
    return float((ranks.sum() - len(first) * (len(first) + 1) / 2) / (len(first) * len(second)))


def smallest_fpr(n_non_members: int) -> float:
    """The smallest false-positive rate above 0 that can be measured with this many non-members.

    Example:
        >>> smallest_fpr(50)
        0.02
    """
    return 1 / n_non_members


def tpr_at_fpr(members: ArrayLike, non_members: ArrayLike, fpr: float) -> float:
    """The true-positive rate at a false-positive rate: the share of members found by a threshold on the scores.

    At most a share `fpr` of non-members may pass the threshold. If no threshold gives `fpr` exactly, the next stricter
    one is used.

    Args:
        members: the scores of the members.
        non_members: the scores of the non-members.
        fpr: the false-positive rate, in (0, 1).

    Returns:
        a share in [0, 1]; NaN if `fpr` is below `smallest_fpr`: the result would be that of rate 0.

    Example:
        >>> tpr_at_fpr([4, 3, 2], [3, 1, 0, 0], 0.25), tpr_at_fpr([4, 3, 2], [3, 1, 0, 0], 0.01)
        (1.0, nan)
    """
    member_scores, other_scores = np.asarray(members, dtype=float), np.asarray(non_members, dtype=float)
    allowed = allowed_errors(len(other_scores), fpr)
    if not allowed:
        return math.nan
    strictest = np.sort(other_scores)[::-1][allowed] if allowed < len(other_scores) else -np.inf
    return float((member_scores > strictest).mean())


def allowed_errors(n_non_members: int, fpr: float) -> int:
    """How many non-members may be mistaken for members at a false-positive rate; 0 if the rate is too small to measure.

    Example:
        >>> allowed_errors(250, 0.01), allowed_errors(99, 0.01)
        (2, 0)
    """
    return math.floor(fpr * n_non_members + 1e-9)


def logistic_scores(members: pd.DataFrame, non_members: pd.DataFrame, *, seed: int = 0) -> tuple[Array, Array] | None:
    """The score of each patient from a logistic regression on all signals, fitted on other patients only.

    The patients are divided into five stratified folds, ten times. Signals are standardized within the training folds,
    and both groups have the same weight. A patient's score is the mean of its ten log odds.

    The regression learns on which side the members are, so it also finds members that are answered *worse* than unseen
    patients. Unlike the AUC of a signal, its AUC does not tell under-forgetting from over-forgetting: it is near 1 for
    both.

    Args:
        members: the signals of the members, one row per patient, as `attack_scores` returns them.
        non_members: the same for the non-members.
        seed: seed of the folds.

    Returns:
        the scores of members and non-members; None if a group has fewer than `LEAST_PATIENTS`.

    Example:
        >>> members, others = (pd.DataFrame({"loss": start + np.arange(9.0)}) for start in (10, 0))
        >>> auc(*logistic_scores(members, others))
        1.0
        >>> logistic_scores(members[:3], others) is None
        True
    """
    if min(len(members), len(non_members)) < LEAST_PATIENTS:
        return None
    signals = np.concatenate([members.to_numpy(float), non_members.to_numpy(float)])
    truth = np.repeat([1, 0], [len(members), len(non_members)])
    attack = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    with warnings.catch_warnings():  # separable groups have no finite optimum: any solution is good enough
        warnings.simplefilter("ignore", ConvergenceWarning)
        repeats = [
            cross_val_predict(attack, signals, truth, cv=folds, method="decision_function")
            for folds in (StratifiedKFold(_FOLDS, shuffle=True, random_state=seed + n) for n in range(_REPEATS))
        ]
    log_odds: Array = np.mean(repeats, axis=0)
    return log_odds[: len(members)], log_odds[len(members) :]


def _signals(scores: pd.DataFrame) -> dict[str, int]:
    return {column.name: column.sign for column in columns_of(scores) if column.signal}
