"""How close a model is to the retrained model, or to an untrained one, as a single number."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def average_gap(gaps: ArrayLike) -> Array:
    r"""Average the absolute gaps to the retrained model; 0 means no gap, and gaps of opposite sign cannot cancel.

    .. math:: \frac{1}{n} \sum_i |\Delta_i|

    Args:
        gaps: model minus retrained model in metrics in [0, 1], along the last axis: utility on forget, retain and test,
            and the membership AUC.

    Source: Jia et al., arXiv 2304.04934, and Fan et al., arXiv 2310.12508, for accuracies in percent and the efficacy
        of their membership attack. Here: Dice or accuracy in [0, 1] and the AUC of the loss.

    Example:
        >>> float(average_gap([0.2, -0.1, 0.0, 0.1]))
        0.1
    """
    return np.asarray(np.abs(np.asarray(gaps, dtype=float)).mean(axis=-1))


def tow(gaps: ArrayLike) -> Array:
    r"""The tug of war (ToW) between forgetting, retaining and generalizing, in [0, 1]: 1 means no gap to retraining.

    .. math:: (1 - |\Delta_f|) (1 - |\Delta_r|) (1 - |\Delta_t|)

    Args:
        gaps: model minus retrained model on forget, retain and test, of a metric in [0, 1], along the last axis. With
            the gap of the membership AUC instead of the first, the result is ToW-MIA.

    Source: Zhao et al., arXiv 2406.01257, for accuracies. The gaps of segmentation are small, so it is near 1 for every
        model: compare it with the teacher's ToW, not with 0.

    Example:
        >>> float(tow([0.5, 0.0, 0.2]))
        0.4
    """
    return np.asarray(np.prod(1 - np.abs(np.asarray(gaps, dtype=float)), axis=-1))


def zrf(divergences: ArrayLike, *, compat: bool = False) -> Array:
    r"""Zero retrain forgetting: how closely a network's answers match an untrained network's, per case, in [0, 1].

    .. math:: 1 - \mathrm{JS}(p(x), p_{random}(x)) / \log 2

    1: like the random network. That is not the goal: a retrained model is not at 1 either, and its value is the target.

    Args:
        divergences: the Jensen-Shannon divergence to a network with random weights for each case, in nats. The metric
            is the mean of the returned values.
        compat: as in the reference code, for divergences from `mu_monai.engine.answer_distance(..., compat=True)`,
            which are not Jensen-Shannon divergences in bits.

    Source: Chundawat et al., arXiv 2205.08096. The divergence is converted to bits, so that the result is in [0, 1].

    Example:
        >>> zrf([0.0, math.log(2)]).tolist()
        [1.0, 0.0]
    """
    return np.asarray(1 - np.asarray(divergences, dtype=float) / (1 if compat else math.log(2)))
