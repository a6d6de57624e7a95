"""Records of depth: how far the student's weights went from the original's, by the measure of the retrained model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from mu_monai.audit.bootstrap import alone
from mu_monai.audit.records import Record, as_record
from mu_monai.keys import MODEL, RETRAINED, STUDENT, TEACHER
from mu_monai.runs.numbers import BARRIER, DEPTH, Group, Metric


def depth_records(weights: pd.DataFrame, barriers: Mapping[str, float]) -> list[Record]:
    r"""Compute how deep unlearning went, in two numbers that need no attack.

    - `depth` and `depth[<layer>]`: the distance of the student's weights from the original's, in all and layer by
      layer, divided by that of the retrained model's. The norms of the relative distances cancel.

    .. math:: \|\theta_\mathrm{student} - \theta_\mathrm{teacher}\|_2 \,/\,
              \|\theta_\mathrm{retrained} - \theta_\mathrm{teacher}\|_2

    - `barrier` of the student and of the retrained model: how much worse the networks between them and the original
      are on retained cases, see `mu_monai.measure.linear_barrier`.

    Both are a property of one pair of models and have no interval. Weights that lie where they did can come back
    quickly, but weights that lie elsewhere can still remember: over our own runs, neither number went with what an
    attack brought back (docs/results/cost-and-depth.md).

    Args:
        weights: one row per pair of models, layer and kind: `model`, `against`, `layer`, `kind` and `distance`; the
            rows against the teacher of the kind `weights` are used.
        barriers: by model, the barrier between it and the original.

    Returns:
        the records, with an empty subset; layers in which the retrained model is where the original is are left out.

    Source: Siddiqui et al., arXiv 2505.22310, who relate both to the recovery under training on retained cases. The
        ratio to the retrained model is ours.

    Example:
        >>> rows = pd.DataFrame({"model": ["student", "retrained"], "against": "teacher", "layer": "0",
        ...     "kind": "weights", "distance": [1.0, 4.0]})
        >>> [(record.metric, record.value) for record in depth_records(rows, {})]
        [('depth', 0.25), ('depth[0]', 0.25)]
    """
    return [*_ratios(weights), *_barriers(barriers)]


def _ratios(weights: pd.DataFrame) -> Iterator[Record]:
    if weights.empty:
        return
    rows = weights[(weights["against"] == TEACHER) & (weights["kind"] == "weights")]
    squares = rows.assign(square=rows["distance"] ** 2).pivot_table(
        index="layer", columns=MODEL, values="square", aggfunc="sum", sort=False
    )
    if not {STUDENT, RETRAINED} <= set(squares.columns):
        return
    sums = [(None, squares.sum()), *((str(layer), row) for layer, row in squares.iterrows())]
    for layer, row in sums:
        if row[RETRAINED] > 0:
            value = float((row[STUDENT] / row[RETRAINED]) ** 0.5)
            group, of = Group(STUDENT), Group(RETRAINED)
            yield as_record(str(Metric(DEPTH, layer)), group, alone(value), of, gap=alone(value - 1), ideal=1.0)


def _barriers(barriers: Mapping[str, float]) -> Iterator[Record]:
    if RETRAINED in barriers:
        yield as_record(BARRIER, Group(RETRAINED), alone(barriers[RETRAINED]))
    if STUDENT in barriers and RETRAINED in barriers:
        value, ideal = barriers[STUDENT], barriers[RETRAINED]
        yield as_record(BARRIER, Group(STUDENT), alone(value), Group(RETRAINED), gap=alone(value - ideal), ideal=ideal)
