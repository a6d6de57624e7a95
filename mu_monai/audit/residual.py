"""Records of residual knowledge: whether the student still knows what lies near the forgotten cases."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from mu_monai.audit.bootstrap import N_RESAMPLES, Interval, Sample, paired_ratio
from mu_monai.audit.records import Record, as_record
from mu_monai.keys import CASE_ID, MODEL, PATIENT_ID, RETRAINED, ROLES, SUBSET, SUBSETS
from mu_monai.runs.numbers import RESIDUAL, Group


def residual_records(cases: pd.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> list[Record]:
    r"""Compute the residual knowledge of the student and of the original, each against the retrained model.

    .. math:: r_\tau = \sum_i \Pr[m(x_i') = y_i] \,/\, \sum_i \Pr[a(x_i') = y_i]

    m is the model, a the retrained one, and x' a copy of a case x with noise of size tau. Above 1, the model knows
    what lies near the forgotten cases better than one that never saw them; below 1, it answers worse there than it
    should. For masks, the Dice takes the place of the indicator of a right class: the share of the truth that is
    found, instead of a probability. The ratio on `test` says how much of it is only being the sturdier model.

    Args:
        cases: one row per model and case: `model`, `subset`, `patient_id`, `case_id` and `right`, in [0, 1], as
            `mu_monai.measure.perturbed_scores` measures it.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.

    Returns:
        `residual_knowledge` of every model that is not the retrained one; a subset in which the retrained model is
        never right has none.

    Source: residual knowledge, Hsu et al., arXiv 2601.22359, for one case of a classifier. We differ: the ratio is of
        the means over cases, since a case that the retrained model never gets right has none; noise is uniform, of at
        most 3 % of the image's range; masks are ours.

    Example:
        >>> cases = pd.DataFrame({"model": ["student", "retrained"], "subset": "forget", "patient_id": "a",
        ...     "case_id": "1", "right": [0.75, 0.5]})
        >>> [(record.subset, record.value, record.ideal) for record in residual_records(cases)]
        [('forget', 1.5, 1.0)]
    """
    if cases.empty:
        return []
    draws = {"n_resamples": n_resamples, "seed": seed}
    return [
        record
        for subset in SUBSETS
        for record in _of_subset(cases[cases[SUBSET] == subset].sort_values(CASE_ID), subset, draws)
    ]


def _of_subset(cases: pd.DataFrame, subset: str, draws: dict[str, int]) -> Iterator[Record]:
    samples = {str(model): Sample(rows["right"], rows[PATIENT_ID].astype(str)) for model, rows in cases.groupby(MODEL)}
    retrained = samples.get(RETRAINED)
    if retrained is None or not retrained.mean > 0:
        return
    for model in ROLES:
        if model in samples and model != RETRAINED:
            ratio = paired_ratio(samples[model], retrained, **draws)
            of = Group(RETRAINED, subset)
            yield as_record(RESIDUAL, Group(model, subset), ratio, of, gap=_minus_one(ratio), ideal=1.0)


def _minus_one(ratio: Interval) -> Interval:
    return Interval(
        value=ratio.value - 1,
        low=ratio.low - 1,
        high=ratio.high - 1,
        n_patients=ratio.n_patients,
        n_cases=ratio.n_cases,
    )
