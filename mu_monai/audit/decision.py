"""The decision picture: which cases it shows, and where they lie."""

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
    """All forget cases and a draw of the others, by subset and class as they are among all.

    Args:
        scores: one row per case, with `subset` and `label`.
        limit: cases in all, forget cases included; however many these are, half as many others are shown.
        seed: of the draw.

    Example:
        >>> table = pd.DataFrame({"subset": ["forget"] + ["test"] * 8, "label": ["a"] + ["a", "a", "a", "b"] * 2})
        >>> shown_cases(table, limit=5)["label"].value_counts().to_dict()
        {'a': 4, 'b': 1}
    """
    forget, others = scores[scores[SUBSET] == FORGET], scores[scores[SUBSET] != FORGET]
    drawn = others.sample(frac=1, random_state=seed)
    strata = drawn.groupby([SUBSET, LABEL], dropna=False)
    place = (strata.cumcount() + 0.5) / strata[LABEL].transform("size")  # of each within its own, in (0, 1)
    room = max(limit - len(forget), limit // 2)
    return pd.concat([forget, drawn.loc[place.sort_values(kind="stable").index[:room]]]).sort_index()


def plane(features: ArrayLike, *, seed: int = 0) -> NDArray[np.float64]:
    """Lay out cases on a plane so that neighbors in feature space stay neighbors: t-SNE, `(n, 2)`.

    Distances between groups, and the axes, mean nothing. Where there are fewer than four cases, or their features are
    all alike, every case lies at the origin.

    Args:
        features: `(n, C)`.
        seed: of the layout.

    Source:
        van der Maaten and Hinton, *Visualizing data using t-SNE*, JMLR 2008; perplexity 30, less for few cases.
    """
    values = np.asarray(features, dtype=np.float64)
    if len(values) < _LEAST or np.allclose(values, values[:1]):
        return np.zeros((len(values), 2))
    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    init = "pca" if values.shape[1] > 1 else "random"
    found: NDArray[np.float64] = TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(values)
    return found
