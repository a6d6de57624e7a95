"""How close a model is to the retrained one, or to one that learned nothing, in a single number."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def average_gap(gaps: ArrayLike) -> Array:
    r"""Average the sizes of gaps to the retrained model; 0 is at the retrained model, and no sign can hide another.

    .. math:: \frac{1}{n} \sum_i |\Delta_i|

    Args:
        gaps: model minus retrained model in measures of [0, 1], along the last axis: those of utility on forget, retain
            and test, and that of the membership AUC.

    Source: Jia et al., arXiv 2304.04934, and Fan et al., arXiv 2310.12508, for accuracies in percent and the efficacy
        of their membership attack. Here it is Dice or accuracy in [0, 1] and the AUC of the loss.

    Example:
        >>> float(average_gap([0.2, -0.1, 0.0, 0.1]))
        0.1
    """
    return np.asarray(np.abs(np.asarray(gaps, dtype=float)).mean(axis=-1))


def tow(gaps: ArrayLike) -> Array:
    r"""The tug of war of forgetting, keeping and generalizing, in [0, 1]: 1 is at the retrained model.

    .. math:: (1 - |\Delta_f|) (1 - |\Delta_r|) (1 - |\Delta_t|)

    Args:
        gaps: model minus retrained model on forget, retain and test, of a measure in [0, 1], along the last axis. With
            the gap of the membership AUC in the place of the first it is ToW-MIA.

    Source: Zhao et al., arXiv 2406.01257, for accuracies. Small gaps of masks leave it near 1 for every model: compare
        it with that of the teacher, not with 0.

    Example:
        >>> float(tow([0.5, 0.0, 0.2]))
        0.4
    """
    return np.asarray(np.prod(1 - np.abs(np.asarray(gaps, dtype=float)), axis=-1))


def zrf(divergences: ArrayLike, *, compat: bool = False) -> Array:
    r"""Zero retrain forgetting: how much a network answers each case like one that learned nothing, in [0, 1].

    .. math:: 1 - \mathrm{JS}(p(x), p_{random}(x)) / \log 2

    1: like the random network. That is not an aim in itself: a retrained model is not at 1 either, and what it reaches
    is where to be.

    Args:
        divergences: the Jensen-Shannon divergence of each case to a network with random weights, in nats. The metric is
            the mean of what is returned.
        compat: as in the reference code, for divergences of `mu_monai.engine.answer_distance(..., compat=True)`: these
            are not Jensen-Shannon divergences in bits.

    Source: Chundawat et al., arXiv 2205.08096. The divergence is taken in bits, so that the number is in [0, 1].

    Example:
        >>> zrf([0.0, math.log(2)]).tolist()
        [1.0, 0.0]
    """
    return np.asarray(1 - np.asarray(divergences, dtype=float) / (1 if compat else math.log(2)))
