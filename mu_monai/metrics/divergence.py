"""How differently two ensembles of models answer each case: KLoM, the divergence of their margins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, MODEL, PATIENT_ID, RETRAINED, STUDENT, SUBSET
from mu_monai.runs.scores import MARGIN

Array = NDArray[np.float64]

LEAST_SEEDS = 2
_BINS, _CLIP, _EPSILON = 20, 100.0, 1e-5


def histogram_kl(students: ArrayLike, retrained: ArrayLike) -> Array:
    r"""The divergence of two histograms of margins, case by case, in nats.

    .. math:: \mathrm{KL}(u \| o) = \sum_{b=1}^{20} u_b \log \frac{u_b}{o_b}

    Both histograms share 20 bins from the smallest to the largest margin of the case. The divergence is at most 11.5,
    reached when they share no occupied bin; with a handful of models that is normal, whatever the models are.

    Args:
        students: margins of each unlearned model `(cases, models)`.
        retrained: margins of each retrained model `(cases, models)`.

    Source: Georgiev et al., arXiv 2410.23232 (KLoM): margins are clipped to +-100, and 1e-5 is added to every share
        before the shares are normalized. The last bin holds the largest margin, which the authors' code drops.

    Example:
        >>> histogram_kl([[0.0, 1.0]], [[0.0, 1.0]]).tolist()
        [0.0]
    """
    pairs = zip(_clipped(students), _clipped(retrained), strict=True)
    return np.array([_histogram_kl(one, other) for one, other in pairs])


def gaussian_kl(students: ArrayLike, retrained: ArrayLike) -> Array:
    r"""The divergence of two Gaussians fitted to margins, case by case, in nats; suitable for few models.

    .. math:: \log \frac{\sigma_o}{\sigma_u} + \frac{\sigma_u^2 + (\mu_u - \mu_o)^2}{2 \sigma_o^2} - \frac{1}{2}

    Each case has its own means; the standard deviations over models are pooled over all cases, because those of a
    single case would be noise with two or three models. Equivalent ensembles are not at 0 either, since the means of
    few models differ: with u and o models, the average is (1 / u + 1 / o) / 2.

    Args:
        students: margins of each unlearned model `(cases, models)`, at least 2 models.
        retrained: margins of each retrained model `(cases, models)`, at least 2 models.

    Returns:
        a number >= 0 per case; infinite if all models on one side agree and those on the other do not.

    Example:
        >>> gaussian_kl([[0.0, 2.0]], [[1.0, 3.0]]).tolist()  # means 1 apart, variance 2 on both sides
        [0.25]
    """
    one, other = _clipped(students), _clipped(retrained)
    variance, reference_variance = (float(np.mean(margins.var(axis=1, ddof=1))) for margins in (one, other))
    shift = (one.mean(axis=1) - other.mean(axis=1)) ** 2
    if not variance or not reference_variance:
        return np.where((shift > 0) | (variance != reference_variance), np.inf, 0.0)
    return np.asarray(np.log(reference_variance / variance) / 2 + (variance + shift) / (2 * reference_variance) - 0.5)


def klom(students: Sequence[pd.DataFrame], retrained: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """How differently unlearned and retrained models answer each case, over several seeds of both.

    With at least 4 retrained models, the same is measured between one half of them (every other one) and the other
    half: the floor that comes from seeds alone. The halves are smaller than the ensembles, so the floor tends to be too
    high.

    Args:
        students: the score table of every unlearned model: `subset`, `patient_id`, `case_id` and `logit_confidence`. If
            a table has a column `model`, only the rows of `student` are used.
        retrained: the same for every model retrained without the forget cases, from the rows of `retrained`.

    Returns:
        one row per case: `subset`, `patient_id`, `case_id`, `klom`, `klom_gaussian`, and `klom_floor`,
        `klom_gaussian_floor` (NaN without a floor).

    Raises:
        InputError: if a side has fewer than 2 models, a table has no column of margins, the tables are not of the same
            cases, or two tables are of the same model.

    Source: Georgiev et al., arXiv 2410.23232. Their margin of a classifier is log(p / (1 - p)) of the true class. Its
        mean over the pixels of a mask, the Gaussian form and the floor are our additions.

    Example:
        >>> table = pd.DataFrame({"subset": "forget", "patient_id": ["a"], "case_id": ["1"], "logit_confidence": [2.0]})
        >>> other = table.assign(logit_confidence=3.0)
        >>> klom([table, other], [table, other])[["klom", "klom_gaussian"]].to_dict("records")
        [{'klom': 0.0, 'klom_gaussian': 0.0}]
    """
    raise_if_any(_problems(students, retrained))
    student_margins, retrained_margins = (
        [_of(table, STUDENT) for table in students],
        [_of(table, RETRAINED) for table in retrained],
    )
    keys = student_margins[0].index
    if not all(table.index.equals(keys) for table in (*student_margins, *retrained_margins)):
        raise InputError("the score tables are not of the same cases; score all models on the same split")
    table = keys.to_frame(index=False)
    unlearned, oracle = _stacked(student_margins), _stacked(retrained_margins)
    if any(len(np.unique(side, axis=1).T) < side.shape[1] for side in (unlearned, oracle)):
        raise InputError("two score tables are of the same model; give each seed once")
    halves = (oracle[:, ::2], oracle[:, 1::2]) if oracle.shape[1] >= 2 * LEAST_SEEDS else None
    for name, divergence in (("klom", histogram_kl), ("klom_gaussian", gaussian_kl)):
        table[name] = _by_subset(table[SUBSET], divergence, unlearned, oracle)
        table[f"{name}_floor"] = _by_subset(table[SUBSET], divergence, *halves) if halves else np.nan
    return table


def _by_subset(
    subsets: pd.Series[str], divergence: Callable[[Array, Array], Array], first: Array, second: Array
) -> Array:
    """The divergence within each subset: standard deviations are pooled over the cases of one subset."""
    divergences = np.empty(len(subsets))
    for subset in subsets.unique():
        rows = (subsets == subset).to_numpy()
        divergences[rows] = divergence(first[rows], second[rows])
    return divergences


def _stacked(margins: Sequence[pd.Series[float]]) -> Array:
    return np.stack([model.to_numpy(np.float64) for model in margins], axis=1)


def _clipped(margins: ArrayLike) -> Array:
    return np.clip(np.asarray(margins, dtype=float), -_CLIP, _CLIP)


def _histogram_kl(one: Array, other: Array) -> float:
    every = np.concatenate([one, other])
    edges = np.histogram_bin_edges(every, bins=_BINS, range=(every.min(), every.max()))
    u, o = (_EPSILON + np.histogram(margins, edges)[0] / len(margins) for margins in (one, other))
    u, o = u / u.sum(), o / o.sum()
    return float((u * np.log(u / o)).sum())


def _of(table: pd.DataFrame, model: str) -> pd.Series[float]:
    """The margins of one model by case."""
    rows = table[table[MODEL] == model] if MODEL in table else table
    return rows.set_index([SUBSET, PATIENT_ID, CASE_ID])[MARGIN].sort_index()


def _problems(students: Sequence[pd.DataFrame], retrained: Sequence[pd.DataFrame]) -> Iterator[str]:
    for tables, name, how in (
        (students, "unlearned", "unlearn with other seeds"),
        (retrained, "retrained", "train --subsets retain with other seeds"),
    ):
        if len(tables) < LEAST_SEEDS:
            yield (
                f"KLoM compares ensembles, and there are {len(tables)} {name} models; give at least {LEAST_SEEDS}, "
                f"preferably {2 * LEAST_SEEDS} or more ({how})"
            )
        without = sum(MARGIN not in table for table in tables)
        if without:
            yield f"{without} score tables of {name} models have no column '{MARGIN}'; `mu-monai evaluate` writes it"
