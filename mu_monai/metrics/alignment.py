"""How similar the features of two layers are on the same cases: linear CKA with the unbiased HSIC estimator."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

LEAST_CASES = 4  # the unbiased estimator divides by n - 3
_NOTHING = 1e-10  # relative spread below which a layer counts as having the same features for every case


def linear_cka(first: ArrayLike, second: ArrayLike) -> float:
    r"""The linear centered kernel alignment of two sets of features of the same cases.

    .. math:: \frac{\mathrm{HSIC}(XX^T, YY^T)}{\sqrt{\mathrm{HSIC}(XX^T, XX^T) \, \mathrm{HSIC}(YY^T, YY^T)}}

    1: the same up to a rotation, a shift and one common scale; about 0: nothing in common. With few cases and many
    features, the usual biased HSIC makes even unrelated features look similar; the unbiased one does not, and may
    fall slightly below 0.

    Args:
        first: the features of n cases, `(n, features)`, n >= 4.
        second: the features of another layer or network, `(n, other features)`.

    Returns:
        a number in [-1, 1]; NaN with fewer than 4 cases, or if either layer has the same features for every case.

    Source: Kornblith et al., arXiv 1905.00414, with the estimator of Nguyen et al., arXiv 2010.15327, computed
        over all cases at once instead of averaged over minibatches.

    Example:
        >>> cases = np.random.default_rng(0).normal(size=(6, 3))
        >>> round(linear_cka(cases, -2 * cases + 1), 6)
        1.0
    """
    return alignment(gram(first), gram(second))


def gram(features: ArrayLike) -> Array:
    """The inner products `(n, n)` of the centered features of all pairs of cases; all 0 if every case has the same."""
    values = np.asarray(features, dtype=float)
    centered = values - values.mean(axis=0)
    if np.abs(centered).max() <= _NOTHING * np.abs(values).max():
        return np.zeros((len(values), len(values)))
    return np.asarray(centered @ centered.T)


def alignment(first: Array, second: Array) -> float:
    """The CKA of two Gram matrices of the same cases; see `linear_cka`."""
    if len(first) < LEAST_CASES:
        return math.nan
    one, other = _centered(first), _centered(second)
    size = math.sqrt(float((one**2).sum()) * float((other**2).sum()))
    return float((one * other).sum()) / size if size > 0 else math.nan


def _centered(kernel: Array) -> Array:
    """Center so that the inner product of two such matrices is the unbiased HSIC times n (n - 3), without the diagonal.

    Source: Székely and Rizzo, arXiv 1310.2926, definition 2 (U-centering).
    """
    n = len(kernel)
    off = kernel - np.diag(np.diag(kernel))
    rows = off.sum(axis=1)
    centered = off - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centered, 0)
    return np.asarray(centered)
