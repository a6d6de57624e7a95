"""Choose more cases to forget in a split that a model was trained on."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mu_monai.data.duplicates import original_ids, unite_groups
from mu_monai.data.near_duplicates import find_near_duplicates
from mu_monai.data.pseudonyms import hash_ids
from mu_monai.data.selection import ForgetIds, ForgetSelector, describe_selector, follow_renamed, is_drawn
from mu_monai.data.split import counts, report_near_duplicates, split_manifest
from mu_monai.data.split_file import load_split, read_split
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import file_sha256
from mu_monai.keys import CASE_ID, FORGET, IMAGE, PATIENT_ID, PROVENANCE, RETAIN, SUBSET, SUBSETS, TEST, VALIDATION

_log = logging.getLogger(__name__)


def reselect(
    path: str | os.PathLike[str], forget: ForgetSelector, *, seed: int = 0, strict: bool = False
) -> dict[str, Any]:
    """Choose more training cases of a split to forget; validation and test stay as they are.

    This is how a request is met that comes after the training: a new split of all patients could put cases that the
    model was trained on into validation or test. Who was to be forgotten already in the split stays so: a request does
    not take back an earlier one. Copies that the split keeps together stay together.

    Args:
        path: the split file that the model was trained on, or one of an earlier request.
        forget: which of its training cases to forget as well. Ids and queries may name any training case, ids also as
            they were before copies were renamed or identifiers hashed; a fraction or share is that of those still to
            retain.
        seed: of the draw, for a fraction or share.
        strict: near-duplicates of forgotten cases in other subsets are an error, not a warning.

    Returns:
        the content of the new split, with absolute paths, as `make_split` returns it. `provenance.also_forgotten` is
        the number of cases that were to be forgotten already.

    Raises:
        InputError: where the selector matches nothing, or cases that the model was not trained on, where nobody is left
            to retain, or the split holds no digests.
    """
    cases = load_split(path)
    content = read_split(path)
    provenance = content[PROVENANCE]
    # the metadata of each case as it stands in the file, with the absolute paths that load_split makes
    pairs = (zip(content[name], cases[name], strict=True) for name in SUBSETS)
    table = pd.DataFrame([{**raw, **case} for subset in pairs for raw, case in subset])
    folder = Path(path).absolute().parent
    digests = {os.path.normpath(folder / name): digest for name, digest in provenance.get("sha256", {}).items()}
    raise_if_any(_digest_problems(path, table, digests))
    together = provenance.get("duplicates", {}).get("together", [])
    held_out = table[table[SUBSET].isin((VALIDATION, TEST))]
    if isinstance(forget, ForgetIds) and (salt := provenance.get("salt")) is not None:
        known = {*table[CASE_ID], *table[PATIENT_ID], *original_ids(together)}
        forget = hash_ids(forget, known, salt)
    if isinstance(forget, ForgetIds):
        raise_if_any(_held_out_problems(held_out, follow_renamed(forget, original_ids(together), table)))
    training = table.drop(held_out.index)
    earlier = int((training[SUBSET] == FORGET).sum())
    groups = unite_groups(training[provenance.get("group_by", PATIENT_ID)], training[CASE_ID], together)
    table = pd.concat([_choose(training, groups, forget, together, seed), held_out])
    if not (table[SUBSET] == RETAIN).any():
        raise InputError(
            f"the request and the {earlier} cases that {str(path)!r} forgets already leave nobody to train on; a split "
            "needs at least 1 to retain: forget fewer"
        )
    if earlier:
        _log.info("%d cases that %s forgets already stay forgotten", earlier, path)
    near = find_near_duplicates(table)
    report_near_duplicates(near, strict)
    provenance |= {
        "selector": describe_selector(forget),
        "seed": seed,
        "chosen_from": {"file": str(path), "sha256": file_sha256(path)},
        "also_forgotten": earlier,
        "counts": counts(table),
        "sha256": digests,
        "near_duplicates": near,
    }
    plain = table.replace({np.nan: None})
    lists = {name: plain[table[SUBSET] == name].drop(columns=SUBSET).to_dict("records") for name in SUBSETS}
    return {**lists, PROVENANCE: provenance}


def _choose(
    training: pd.DataFrame, groups: pd.Series, forget: ForgetSelector, together: list[list[str]], seed: int
) -> pd.DataFrame:
    """The training cases, those to forget being the earlier ones and those of the selector."""
    before = groups.isin(groups[training[SUBSET] == FORGET])
    open_to = ~before if is_drawn(forget) else pd.Series(True, index=training.index)
    if isinstance(forget, ForgetIds):
        forget = follow_renamed(forget, original_ids(together), training)
    divided = split_manifest(
        training[open_to].drop(columns=SUBSET),
        forget=forget,
        validation=0,
        test=0,
        seed=seed,
        group_by=groups[open_to],
    )
    subset = divided[SUBSET].reindex(training.index).mask(before, FORGET)
    return training.assign(**{SUBSET: subset})


def _digest_problems(path: str | os.PathLike[str], table: pd.DataFrame, digests: dict[str, str]) -> list[str]:
    missing = [name for name in table[IMAGE] if name not in digests]
    if not missing:
        return []
    return [
        f"{PROVENANCE}.sha256 of the split file {str(path)!r} has no digest of {len(missing)} of {len(table)} images, "
        f"such as {missing[0]!r}; every image needs one: make the split again with 'mu-monai split'"
    ]


def _held_out_problems(held_out: pd.DataFrame, forget: ForgetIds) -> list[str]:
    named = held_out[held_out[CASE_ID].isin(forget.value) | held_out[PATIENT_ID].isin(forget.value)]
    return [
        f"case {row[CASE_ID]!r} to forget is in {row[SUBSET]!r}: the model was not trained on it; take it off the list"
        for row in named.to_dict("records")
    ]
