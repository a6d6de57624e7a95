"""Attacks that know, for every patient, the answers of models that were trained on it and of models that were not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

FEW_SHADOWS = 64  # below this, all patients share one variance: that of a handful of models is noise
_NARROWEST = 1e-3  # the least standard deviation, in log odds: keeps the evidence finite if models agree exactly

Array = NDArray[np.float64]


def shadow_counts(trained: ArrayLike) -> tuple[int, int]:
    """The fewest shadow models that were trained on any patient, and the fewest that were not.

    Example:
        >>> shadow_counts([[True, False], [True, True], [False, False]])
        (1, 1)
    """
    members = np.asarray(trained, dtype=bool)
    return int(members.sum(axis=0).min()), int((~members).sum(axis=0).min())


def likelihood_ratios(target: ArrayLike, shadows: ArrayLike, trained: ArrayLike) -> Array:
    """The evidence that a model was trained on each patient: `log N(z; mu_in, s_in) - log N(z; mu_out, s_out)`.

    z is the attacked model's answer as the log odds of the truth. The two Gaussians are fitted to the answers of the
    shadow models that were trained on this patient, and of those that were not, so a patient that every model finds
    easy does not count as a member for that reason. Below 64 shadow models, each of the two standard deviations is
    pooled over all patients.

    With shadow models that unlearned the patients again instead of those trained on them, this is U-LiRA: the evidence
    that the patient was *unlearned*, rather than never seen.

    Args:
        target: the answers of the attacked model, `(patients,)`.
        shadows: the answers of each shadow model, `(shadows, patients)`.
        trained: which shadow model was trained on which patient, `(shadows, patients)` of booleans; each patient needs
            at least 2 models of each kind.

    Returns:
        `(patients,)`: higher means more like a member; above 0 membership is more likely than not.

    Raises:
        ValueError: if the shapes do not match, or a patient has fewer than 2 models of a kind.

    Source: LiRA: Carlini et al., arXiv 2112.03570, algorithm 1; U-LiRA: Hayes et al., arXiv 2403.01218. Both use
        the log odds of classifiers; for masks we take the mean over pixels.

    Example:
        >>> shadows = np.array([[4.0, 9.0], [6.0, 11.0], [1.0, 6.0], [-1.0, 4.0]])
        >>> trained = np.array([[True, True], [True, True], [False, False], [False, False]])
        >>> likelihood_ratios([5.0, 5.0], shadows, trained)  # the second patient is easier than the first
        array([ 6.25, -6.25])
    """
    answers, answered, members = np.asarray(target, float), np.asarray(shadows, float), np.asarray(trained, bool)
    if answered.shape != members.shape or answered.shape[1:] != answers.shape:
        raise ValueError(
            f"shapes {answers.shape}, {answered.shape} and {members.shape} do not match; give (patients,), and "
            "(shadows, patients) twice"
        )
    if min(shadow_counts(members)) < 2:
        raise ValueError("each patient needs at least 2 shadow models that were trained on it and 2 that were not")
    inside, outside = (_log_density(answers, answered, which) for which in (members, ~members))
    return inside - outside


def _log_density(answers: Array, answered: Array, which: NDArray[np.bool_]) -> Array:
    """The log density of each patient's answer under the Gaussian of the chosen models' answers."""
    mean = answered.mean(axis=0, where=which)
    squares = np.square(answered - mean).sum(axis=0, where=which)
    degrees = which.sum(axis=0) - 1
    variance = squares / degrees if len(answered) >= FEW_SHADOWS else squares.sum() / degrees.sum()
    density: Array = norm.logpdf(answers, mean, np.maximum(np.sqrt(variance), _NARROWEST))
    return density
