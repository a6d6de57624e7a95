"""Shards and folds: patients divided by a keyed hash, so that removing one moves nobody else."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mu_monai.data.case_files import files_of, image_entry
from mu_monai.data.manifest import nearest_names
from mu_monai.data.split_file import Split, split_content
from mu_monai.data.split_provenance import INPUTS
from mu_monai.errors import raise_if_any
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID, SUBSET

_KEPT = ("layout", "label_set", "phantom", "classes", "group_by", "reading", INPUTS)  # of a split, names nobody
Case = Mapping[str, Any]


def keyed_place(name: str, number: int, key: str) -> int:
    r"""A place for a patient that depends on nobody else: $\text{HMAC-SHA256}(\text{key}, \text{name}) \bmod n$.

    Args:
        name: the id of the patient, or the value of a column.
        number: how many places there are, `n`.
        key: text that makes this division another one than those with other keys.

    Example:
        >>> [keyed_place(name, 4, "0") for name in ("anna", "bert", "carl")]
        [1, 1, 3]
    """
    return int.from_bytes(hmac.new(key.encode(), name.encode(), "sha256").digest()) % number


def sharded(
    split: Split, subsets: Sequence[str], *, number: int | None, by: str | None = None, seed: int = 0
) -> dict[str, list[Case]]:
    """Divide the cases of a split's subsets into shards that hold whole patients.

    Args:
        split: the split.
        subsets: the subsets that are trained on.
        number: how many shards a keyed hash chooses from; None for one shard per value of the column.
        by: the column that decides instead of the patient id.
        seed: the key of the hash.

    Returns:
        the cases of each shard that holds any, by its name, each with absolute paths, in the order of their ids. Shards
        are in the order of their numbers or values.

    Raises:
        InputError: if the column is missing, is empty for a case, or has several values for a patient.
    """
    cases = [case for name in subsets for case in split.located[name]]
    raise_if_any([] if by is None else _column_problems(split, cases, by))

    def place(case: Case) -> str | int:
        name = str(case[by or PATIENT_ID])
        return name if number is None else keyed_place(name, number, str(seed))

    places = {case[CASE_ID]: place(case) for case in cases}
    ordered = sorted(cases, key=lambda case: case[CASE_ID])
    return {
        str(place): [case for case in ordered if places[case[CASE_ID]] == place]
        for place in sorted(set(places.values()))
    }


def _column_problems(split: Split, cases: Sequence[Case], by: str) -> list[str]:
    if not any(by in case for case in cases):
        columns = [key for key in split.table.columns if key not in (IMAGE, LABEL, SUBSET)]
        return [f"--shard-by {by} is not a column of '{split.path}'; {nearest_names(by, columns)}"]
    empty = [case[CASE_ID] for case in cases if case.get(by) in (None, "")]
    values: dict[str, set[str]] = {}
    for case in cases:
        values.setdefault(case[PATIENT_ID], set()).add(str(case.get(by)))
    return [
        *(f"case '{case}' has no {by}, which --shard-by needs; fill it in, or use another column" for case in empty),
        *(
            f"patient '{patient}' has several values of {by} ({', '.join(sorted(found))}), and a shard holds whole "
            "patients; use another column, or --shards alone"
            for patient, found in values.items()
            if len(found) > 1 and not empty
        ),
    ]


def members_sha256(split: Split, cases: Iterable[Case]) -> str:
    """SHA-256 over what a training sees of its cases, in their order: the digests of their files, and their classes.

    Args:
        split: the split that the cases are from.
        cases: with absolute paths.
    """
    digest = hashlib.sha256()
    for case in cases:
        files = [split.file_digests[file] for file in files_of(image_entry(case, split.inputs))]
        digest.update(f"{' '.join(files)} {split.file_digests.get(case[LABEL], case[LABEL])}\n".encode())
    return digest.hexdigest()


def only(split: Split, subsets: Mapping[str, Sequence[Case]]) -> dict[str, Any]:
    """The content of a split of some of the cases of another one, which names nobody else.

    Args:
        split: the split that the cases are from.
        subsets: the cases of each subset, with absolute paths.
    """
    cases = [{**case, SUBSET: name} for name, part in subsets.items() for case in part]
    files = [file for case in cases for file in (*files_of(image_entry(case, split.inputs)), case[LABEL])]
    made = {key: value for key, value in split.provenance.content.items() if key in _KEPT}
    digests = {file: split.file_digests[file] for file in files if file in split.file_digests}
    return split_content(cases, digests=digests, made={**made, "selector": None}, found={})


def expected_requests(patients: Sequence[int]) -> float:
    r"""How many requests of single patients, each as likely, it takes on average until every shard had one.

    .. math:: E = (n + 1) \int_0^1 1 - \prod_i \bigl(1 - (1 - t)^{n_i}\bigr) \, dt, \qquad n = \textstyle\sum_i n_i

    Args:
        patients: the number of patients of each shard, `n_i`, at least 1.

    Source:
        The coupon collector's problem without replacement. Give every patient an independent uniform time: shard `i`
        has had a request by the time `t` with probability `1 - (1 - t)^{n_i}`, and the mean time of the `m`-th of `n`
        requests is `m / (n + 1)`.

    Example:
        >>> round(expected_requests([1, 1, 1]), 3), round(expected_requests([10, 10, 10, 10]), 1)
        (3.0, 7.5)
    """
    times = (np.arange(20000) + 0.5) / 20000
    hit = np.prod([1 - (1 - times) ** size for size in patients], axis=0)
    return float((sum(patients) + 1) * np.mean(1 - hit))


def expected_share(patients: Sequence[int], cost: Sequence[float]) -> float:
    """The share of all shards' training that the request of one patient takes on average, in [0, 1].

    Args:
        patients: the number of patients of each shard.
        cost: what the training of each shard takes, in any unit.

    Example:
        >>> expected_share([3, 1], [30, 10])
        0.625
    """
    return sum(n * c for n, c in zip(patients, cost, strict=True)) / (sum(patients) * sum(cost))
