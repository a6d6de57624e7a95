"""The decision figure: which cases it shows, and where they lie."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.manifold import TSNE

from mu_monai.keys import FORGET, LABEL, SUBSET

SHOWN_CASES = 600
_PERPLEXITY = 30.0
_LEAST = 4  # cases, for neighbors to mean anything


def shown_cases(scores: pd.DataFrame, *, limit: int = SHOWN_CASES, seed: int = 0) -> pd.DataFrame:
    """All forget cases and a random draw of the others, stratified by subset and class.

    Args:
        scores: one row per case, with `subset` and `label`.
        limit: cases in total, forget cases included; there is always room for `limit // 2` others.
        seed: seed of the draw.

    Example:
        >>> table = pd.DataFrame({"subset": ["forget"] + ["test"] * 8, "label": ["a"] + ["a", "a", "a", "b"] * 2})
        >>> shown_cases(table, limit=5)["label"].value_counts().to_dict()
        {'a': 4, 'b': 1}
    """
    forget, others = scores[scores[SUBSET] == FORGET], scores[scores[SUBSET] != FORGET]
    drawn = others.sample(frac=1, random_state=seed)
    strata = drawn.groupby([SUBSET, LABEL], dropna=False)
    place = (strata.cumcount() + 0.5) / strata[LABEL].transform("size")  # of each case within its stratum, in (0, 1)
    room = max(limit - len(forget), limit // 2)
    return pd.concat([forget, drawn.loc[place.sort_values(kind="stable").index[:room]]]).sort_index()


def plane(features: ArrayLike, *, seed: int = 0) -> NDArray[np.float64]:
    """Lay out cases in two dimensions so that neighbors in feature space stay neighbors: t-SNE, `(n, 2)`.

    Distances between groups and the axes have no meaning. With fewer than four cases, or if all features are the same,
    every case lies at the origin.

    Args:
        features: `(n, C)`.
        seed: seed of the layout.

    Source:
        van der Maaten and Hinton, *Visualizing data using t-SNE*, JMLR 2008; perplexity 30, lower for few cases.
    """
    values = np.asarray(features, dtype=np.float64)
    if len(values) < _LEAST or np.allclose(values, values[:1]):
        return np.zeros((len(values), 2))
    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    init = "pca" if values.shape[1] > 1 else "random"
    layout: NDArray[np.float64] = TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(values)
    return layout
