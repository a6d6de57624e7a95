"""Choose more cases to forget in a split that a model was trained on."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mu_monai.data.duplicates import original_ids, unite_groups
from mu_monai.data.manifest import is_file_label
from mu_monai.data.near_duplicates import find_near_duplicates
from mu_monai.data.pseudonyms import hash_ids
from mu_monai.data.selection import (
    ForgetIds,
    ForgetSelector,
    ForgetWhere,
    describe_selector,
    follow_renamed,
    heed_remarks,
    is_drawn,
    warn_of_held_out,
)
from mu_monai.data.split import report_near_duplicates, split_manifest
from mu_monai.data.split_file import Split, split_content
from mu_monai.data.split_provenance import KEPT_FOR
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, FORGET, IMAGE, LABEL, PATIENT_ID, RETAIN, SUBSET, TEST, TRAINING_SUBSETS, VALIDATION

_log = logging.getLogger(__name__)


def reselect(split: Split, forget: ForgetSelector, *, seed: int = 0, strict: bool = False) -> dict[str, Any]:
    """Choose more training cases of a split to forget; validation and test stay as they are.

    Use this for a request that comes after the training: a new split of all patients could put cases that the model was
    trained on into validation or test. Cases that were already to be forgotten stay so: a request does not undo an
    earlier one. Copies that the split keeps together stay together.

    Args:
        split: the split that the model was trained on, or one from an earlier request, as `open_split` returns it. If
            the images of its forget cases are gone, nothing is looked for that looks like them.
        forget: which of its training cases to forget as well. Ids and queries may name any training case; ids may also
            be those from before copies were renamed or identifiers hashed. A fraction or share is of the cases that are
            still retained.
        seed: seed of the draw, for a fraction or share.
        strict: near-duplicates of forgotten cases in other subsets are an error, not a warning.

    Returns:
        the content of the new split, with absolute paths, as `make_split` returns it. `provenance.also_forgotten` is
        the number of cases that were already to be forgotten.

    Raises:
        InputError: if the selector matches nothing, or names ids that the model was not trained on; if an image of
            somebody to forget would be retained under another name; if nobody is left to retain; if the split has no
            digests. Cases of `validation` and `test` that a query finds stay there, and are warned of.
    """
    split.warn_of_edits()
    table, chosen = requested(split, forget, seed=seed)
    earlier = len(split.rows[FORGET])
    if earlier:
        _log.info("%d cases that %s already forgets stay forgotten", earlier, split.path)
    near = [] if split.forget_images_gone else find_near_duplicates(table, reading=split.provenance.reading)
    report_near_duplicates(near, strict)
    history = {
        **split.provenance.content,
        "selector": describe_selector(chosen),
        "seed": seed,
        "chosen_from": {"file": str(split.path), "sha256": split.sha256},
        "also_forgotten": earlier,
    }
    rows = table.replace({np.nan: None}).to_dict("records")
    return split_content(rows, digests=split.file_digests, made=history, found={"near_duplicates": near})


def requested(split: Split, forget: ForgetSelector, *, seed: int = 0) -> tuple[pd.DataFrame, ForgetSelector]:
    """The cases of a split with absolute paths and the `subset` that they are in after a request; reads no image.

    Args:
        split: the split that the model was trained on, or one from an earlier request.
        forget: which of its training cases to forget as well.
        seed: seed of the draw, for a fraction or share.

    Returns:
        the cases, and the selector with the ids that the split has.

    Raises:
        InputError: if the selector matches nothing, or names ids that the model was not trained on; if an image of
            somebody to forget would be retained under another name; if nobody is left to retain; if the split has no
            digests. Cases of `validation` and `test` that a query finds stay there, and are warned of.
    """
    _warn_of_unnamed_copies(split)
    provenance, together = split.provenance, split.provenance.together
    table = pd.DataFrame([case for part in split.located.values() for case in part])
    raise_if_any(_digest_problems(split.path, table, split.file_digests))
    apart = table[SUBSET].isin((VALIDATION, TEST))
    held_out = table[apart]
    if isinstance(forget, ForgetIds):
        known, salt = {*table[CASE_ID], *table[PATIENT_ID], *original_ids(together)}, provenance.salt
        gone = {name for names in provenance.kept_for.values() for name in names}
        forget = hash_ids(forget, known | gone, salt) if salt else heed_remarks(forget, (known | gone).__contains__)
        raise_if_any(_copies_left(split, table, forget))
        forget = replace(forget, value=tuple(name for name in forget.value if name in known or name not in gone))
        raise_if_any(_held_out_problems(held_out, follow_renamed(forget, original_ids(together), table)))
    elif isinstance(forget, ForgetWhere):
        warn_of_held_out(table, apart, forget)
    training = table.drop(held_out.index)
    groups = unite_groups(training[provenance.group_by], training[CASE_ID], together)
    if is_drawn(forget):  # who has an image under another name is drawn with it
        groups = unite_groups(groups, training[CASE_ID], _under_another_name(split, training))
    divided = _divided(training, groups, forget, together, seed)
    raise_if_any(_copies_retained(split, divided))
    if not (divided[SUBSET] == RETAIN).any():
        raise InputError(
            f"the request and the {len(split.rows[FORGET])} cases that {str(split.path)!r} already forgets leave "
            "nobody to train on; a split needs at least 1 patient to retain: forget fewer"
        )
    return pd.concat([divided, held_out]), forget


def with_forgotten(split: Split, cases: Collection[str]) -> Split:
    """A split whose forget cases are these of its training cases; all others are to be retained.

    Args:
        split: the split.
        cases: ids of training cases.
    """
    training = [row for name in TRAINING_SUBSETS for row in split.rows[name]]
    forget = [row for row in training if row[CASE_ID] in cases]
    retain = [row for row in training if row[CASE_ID] not in cases]
    made = replace(split.provenance, counts={})  # those of the file are of other subsets
    return replace(split, rows={**split.rows, RETAIN: retain, FORGET: forget}, provenance=made)


def _divided(
    training: pd.DataFrame, groups: pd.Series, forget: ForgetSelector, together: Sequence[Sequence[str]], seed: int
) -> pd.DataFrame:
    """The training cases with their subset: both the earlier cases to forget and those of the selector are `forget`."""
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


def _digest_problems(path: Path, table: pd.DataFrame, digests: dict[str, str]) -> list[str]:
    labels = table[LABEL]
    files = [*table[IMAGE].explode(), *labels[is_file_label(labels)]]
    missing = [name for name in files if name not in digests]
    if not missing:
        return []
    return [
        f"provenance.sha256 of the split file {str(path)!r} lacks the digest of {len(missing)} of {len(files)} files, "
        f"such as {missing[0]!r}; every file needs one: make the split again with 'mu-monai split'"
    ]


def _copies_left(split: Split, table: pd.DataFrame, forget: ForgetIds) -> Iterator[str]:
    """Images of a patient to forget that are in the split under another name, since copies were dropped."""
    trained = table[table[SUBSET].isin(TRAINING_SUBSETS)]
    asked, patients = set(forget.value), dict(zip(trained[CASE_ID], trained[PATIENT_ID], strict=True))
    for case, names in split.provenance.kept_for.items():
        named = sorted(asked & set(names))
        if named and case in patients and not asked & {case, patients[case]}:
            yield (
                f"{named[0]!r} has an image that is in the split as case {case!r} of patient {patients[case]!r}, in "
                "place of a copy that was dropped, and would be retained; add this case or patient to the request, or "
                "correct the source"
            )


def _warn_of_unnamed_copies(split: Split) -> None:
    """Say that a split of an earlier version does not tell whose copies were dropped."""
    if split.provenance.dropped and KEPT_FOR not in split.provenance.content:
        _log.warning(
            "copies were dropped from '%s' (%d), which does not say of whom; if copies of one image were of different "
            "patients, an image of somebody who is to be forgotten may be retained: make the split again to know",
            split.path,
            len(split.provenance.dropped),
        )


def _under_another_name(split: Split, training: pd.DataFrame) -> Iterator[list[str]]:
    """The cases of everybody whose image is in the split in place of a copy that was dropped, with that case."""
    for case, names in split.provenance.kept_for.items():
        yield [case, *training[CASE_ID][training[PATIENT_ID].isin(names)]]


def _copies_retained(split: Split, divided: pd.DataFrame) -> Iterator[str]:
    """Images of those who are forgotten that stay under another name, since copies were dropped."""
    forgotten, retained = (divided[divided[SUBSET] == name] for name in (FORGET, RETAIN))
    owners = dict(zip(retained[CASE_ID], retained[PATIENT_ID], strict=True))
    names = dict(zip(forgotten[PATIENT_ID], forgotten[CASE_ID], strict=True))
    for case, others in split.provenance.kept_for.items():
        patient = next((name for name in others if name in names), None)
        if case in owners and patient is not None:
            yield (
                f"case {names[patient]!r} of patient {patient!r} is forgotten, whose image is also in the split as "
                f"case {case!r} of patient {owners[case]!r}, in place of a copy that was dropped, and would be "
                "retained; add this case or patient to the request, or correct the source"
            )


def _held_out_problems(held_out: pd.DataFrame, forget: ForgetIds) -> list[str]:
    named = held_out[held_out[CASE_ID].isin(forget.value) | held_out[PATIENT_ID].isin(forget.value)]
    return [
        f"case {row[CASE_ID]!r} to forget is in {row[SUBSET]!r}: the model was not trained on it, so its weights hold "
        "nothing of it to forget; remove it from the list, and leave its images out of the next split"
        for row in named.to_dict("records")
    ]
