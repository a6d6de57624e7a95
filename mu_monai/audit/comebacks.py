"""Whether patients who were forgotten came back in a later version of a model."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd
from scipy.stats import t

from mu_monai.audit.records import Record
from mu_monai.audit.separation import Groups, separation_records
from mu_monai.audit.verdicts import TOLERANCE
from mu_monai.keys import CASE_ID, LOSS, MODEL, SUBSET, TEST
from mu_monai.metrics import attack_scores
from mu_monai.runs.numbers import AUC_OF_LOSS

_ERROR = 0.05  # the chance of a false alarm, over all requests that are looked at


@dataclass(frozen=True, kw_only=True)
class Comeback:
    """What happened to the losses of forgotten patients since they were forgotten.

    Args:
        then: the AUC of their losses against those of unseen patients, when they were forgotten.
        now: the same in the later version.
        fall: by how much their mean loss fell.
        limit: how far that of as many unseen patients would fall by chance; NaN with fewer than two unseen patients.
        came_back: whether they came back.
    """

    then: float
    now: float
    fall: float
    limit: float
    came_back: bool


def loss_membership(scores: pd.DataFrame, cases: Collection[str]) -> Record | None:
    """The AUC of the losses of some cases' patients against those of unseen patients (`test`), with its interval.

    Args:
        scores: the scores of one model: `model`, `subset`, `patient_id`, `case_id` and `loss`.
        cases: the case ids.

    Returns:
        the record `auc[loss]`; None if none of the cases, or no unseen case, was scored.

    Example:
        >>> scores = pd.DataFrame({"model": "student", "subset": ["forget", "test", "test"], "case_id": ["1", "2", "3"],
        ...     "patient_id": ["a", "b", "c"], "loss": [0.2, 0.1, 0.3]})
        >>> record = loss_membership(scores, ["1"])
        >>> record.value, record.n_patients
        (0.5, 1)
    """
    members, unseen = scores[scores[CASE_ID].isin(list(cases))], scores[scores[SUBSET] == TEST]
    if members.empty or unseen.empty:
        return None
    known, others = (attack_scores(part, {LOSS: -1})[LOSS] for part in (members, unseen))
    records = separation_records(LOSS, {str(members[MODEL].iloc[0]): Groups(known, others, len(members))})
    return next(record for record in records if record.metric == AUC_OF_LOSS)


def came_back(
    then: pd.DataFrame,
    now: pd.DataFrame,
    cases: Collection[str],
    *,
    looked_at: int = 1,
    tolerance: float = TOLERANCE,
) -> Comeback | None:
    r"""Compare forgotten patients in the version that forgot them with themselves in a later one.

    They came back if all of these hold, with the tolerance :math:`\tau` of the audit's verdicts:

    1. the AUC of their losses against unseen patients is above :math:`\tfrac12 + \tau` now;
    2. it is higher by more than :math:`\tau` than when they were forgotten;
    3. their mean loss fell by more than that of unseen patients can by chance, since it is the same two versions that
       are compared: beyond the prediction limit for the mean of :math:`k` new patients,

    .. math:: \bar d_u + t_{1 - 0.05 / m,\, n - 1} \, s_u \sqrt{1/k + 1/n}

    with the mean :math:`\bar d_u` and deviation :math:`s_u` of the falls of :math:`n` unseen patients. Dividing by the
    number :math:`m` of requests that are looked at keeps the chance of any false alarm at about 5 %. Without the third
    condition nearly every new version would be refused: the rank of a single patient moves with every training.

    Args:
        then: the scores of the version that forgot them; `model`, `subset`, `patient_id`, `case_id` and `loss`.
        now: the scores of the later version.
        cases: their case ids.
        looked_at: how many requests are looked at, `m`.
        tolerance: the largest gap of an AUC that counts as none, in (0, 0.5).

    Returns:
        None if either version was not scored on them, or on unseen cases.

    Source: Hahn & Meeker, *Statistical Intervals*, section 4.8: the limit for the mean of future observations.

    Example:
        >>> ids = {"case_id": list("abcd"), "patient_id": list("abcd")}
        >>> table = pd.DataFrame({"model": "student", "subset": ["forget", "test", "test", "test"], **ids})
        >>> then, now = table.assign(loss=[0.5, 0.4, 0.5, 0.6]), table.assign(loss=[0.1, 0.41, 0.5, 0.59])
        >>> came_back(then, now, ["a"]).came_back, came_back(now, now, ["a"]).came_back
        (True, False)
    """
    records = [loss_membership(scores, cases) for scores in (then, now)]
    if records[0] is None or records[1] is None:
        return None
    before, after = (record.value for record in records if record is not None)
    falls = _falls(then, now, then[CASE_ID].isin(list(cases)))
    limit = _limit(_falls(then, now, then[SUBSET] == TEST), len(falls), looked_at)
    fall = float(falls.mean())
    higher = after > 0.5 + tolerance and after - before > tolerance
    return Comeback(then=before, now=after, fall=fall, limit=limit, came_back=higher and not fall <= limit)


def _falls(then: pd.DataFrame, now: pd.DataFrame, which: pd.Series[bool]) -> pd.Series[float]:
    """By how much the mean loss of each patient fell, over the cases that both versions were scored on."""
    both = then[which].merge(now[[CASE_ID, LOSS]], on=CASE_ID, suffixes=("", "_now"))
    evidence = attack_scores(both, {LOSS: 1, f"{LOSS}_now": 1})
    return evidence[LOSS] - evidence[f"{LOSS}_now"]


def _limit(unseen: pd.Series[float], patients: int, looked_at: int) -> float:
    if len(unseen) < 2:
        return math.nan
    spread = float(unseen.std()) * math.sqrt(1 / patients + 1 / len(unseen))
    return float(unseen.mean()) + float(t.ppf(1 - _ERROR / looked_at, len(unseen) - 1)) * spread
