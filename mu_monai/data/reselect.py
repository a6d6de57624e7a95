"""Choose the cases to forget anew in a split that a model was trained on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mu_monai.data.near_duplicates import find_near_duplicates
from mu_monai.data.selection import ForgetIds, ForgetSelector, describe_selector
from mu_monai.data.split import counts, report_near_duplicates, split_manifest
from mu_monai.data.split_file import load_split
from mu_monai.errors import raise_if_any
from mu_monai.files import file_sha256, read_json
from mu_monai.keys import CASE_ID, PATIENT_ID, PROVENANCE, SUBSET, SUBSETS, TEST, VALIDATION


def reselect(
    path: str | os.PathLike[str], forget: ForgetSelector, *, seed: int = 0, strict: bool = False
) -> dict[str, Any]:
    """Divide the training cases of a split into retain and forget anew; validation and test stay as they are.

    This is how a request is met that comes after the training: a new split of all patients could put cases that the
    model was trained on into validation or test.

    Args:
        path: the split file that the model was trained on.
        forget: which of its training cases to forget.
        seed: of the draw, for a fraction.
        strict: near-duplicates of forgotten cases in other subsets are an error, not a warning.

    Returns:
        the content of the new split, with absolute paths, as `make_split` returns it.

    Raises:
        InputError: where the selector matches nothing, or cases that the model was not trained on.
    """
    cases = load_split(path)
    content = read_json(path)
    provenance = content[PROVENANCE]
    # the metadata of each case as it stands in the file, with the absolute paths that load_split makes
    pairs = (zip(content[name], cases[name], strict=True) for name in SUBSETS)
    table = pd.DataFrame([{**raw, **case} for subset in pairs for raw, case in subset])
    held_out = table[table[SUBSET].isin((VALIDATION, TEST))]
    if isinstance(forget, ForgetIds):
        raise_if_any(_held_out_problems(held_out, forget))
    training = table.drop(held_out.index)
    groups = provenance.get("group_by", PATIENT_ID)
    divided = split_manifest(
        training.drop(columns=SUBSET), forget=forget, validation=0, test=0, seed=seed, group_by=groups
    )
    table = pd.concat([divided, held_out])
    near = find_near_duplicates(table)
    report_near_duplicates(near, strict)
    folder = Path(path).absolute().parent
    digests = {os.path.normpath(folder / name): digest for name, digest in provenance["sha256"].items()}
    provenance |= {
        "selector": describe_selector(forget),
        "seed": seed,
        "chosen_from": {"file": str(path), "sha256": file_sha256(path)},
        "counts": counts(table),
        "sha256": digests,
        "near_duplicates": near,
    }
    plain = table.replace({np.nan: None})
    lists = {name: plain[table[SUBSET] == name].drop(columns=SUBSET).to_dict("records") for name in SUBSETS}
    return {**lists, PROVENANCE: provenance}


def _held_out_problems(held_out: pd.DataFrame, forget: ForgetIds) -> list[str]:
    named = held_out[held_out[CASE_ID].isin(forget.value) | held_out[PATIENT_ID].isin(forget.value)]
    return [
        f"case {row[CASE_ID]!r} to forget is in {row[SUBSET]!r}: the model was not trained on it; take it off the list"
        for row in named.to_dict("records")
    ]
