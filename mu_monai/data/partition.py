"""A split that keeps a division which a model was trained with: held-out cases are never retained or forgotten."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from mu_monai.data.selection import ForgetIds, ForgetSelector, ForgetWhere, warn_of_held_out
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, PATIENT_ID, SUBSET, TEST, VALIDATION


def held_out_subsets(
    manifest: pd.DataFrame, groups: pd.Series, held_out: Collection[str], forget: ForgetSelector | None, seed: int
) -> pd.Series:
    """`validation` or `test` for each held-out case, half of the groups each; the index is that of their rows.

    Args:
        manifest: the table.
        groups: the group of each row, which is not divided.
        held_out: the ids of the cases that the model was not trained on.
        forget: which cases to forget.
        seed: seed of the draw.

    Raises:
        InputError: if a group has cases on both sides, fewer than two groups are held out, or a case that is named to
            be forgotten is.

    Example:
        >>> table = pd.DataFrame({"patient_id": list("aabc"), "case_id": list("0123")})
        >>> held_out_subsets(table, table["patient_id"], {"2", "3"}, None, seed=0).tolist()
        ['validation', 'test']
    """
    outside = manifest[CASE_ID].isin(held_out)
    both = sorted(set(groups[outside]) & set(groups[~outside]))
    raise_if_any(
        f"{groups.name} {name!r} has cases that the model was trained on and cases that it was not; a patient in both "
        "cannot be judged: leave out one side, or name the patients otherwise"
        for name in both[:10]
    )
    if isinstance(forget, ForgetWhere):
        warn_of_held_out(manifest, outside, forget)
    named = set(forget.value) if isinstance(forget, ForgetIds) else set()
    raise_if_any(
        f"case {row[CASE_ID]!r} to forget was not trained on, by the bundle's own list; remove it from the ids"
        for row in manifest[outside].to_dict("records")
        if {row[CASE_ID], row[PATIENT_ID]} & named
    )
    names = sorted(set(groups[outside].astype(str)))
    if len(names) < 2:
        raise InputError(
            f"the bundle holds out {len(names)} {groups.name}s, and validation and test need one each; list more cases "
            "for validation, or split with a manifest"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    first = {names[index] for index in order[: (len(names) + 1) // 2]}
    return groups[outside].astype(str).map(lambda name: VALIDATION if name in first else TEST).rename(SUBSET)
