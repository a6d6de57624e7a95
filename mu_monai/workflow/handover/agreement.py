"""Whether a record agrees with the files that are released with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.data import Split
from mu_monai.files import read_json
from mu_monai.keys import CASE_ID, FORGET, MODEL, PATIENT_ID, RETAIN, SUBSET, SUBSETS
from mu_monai.record import pseudonym
from mu_monai.workflow.handover.releasing import RELEASE_JSON
from mu_monai.workflow.handover.sealed import raised_version, released_bundle


def release_problems(folder: Path, said: Mapping[str, Any]) -> Iterator[str]:
    """Where a record contradicts `release.json` or the bundle's `metadata.json`.

    Args:
        folder: the released folder, with its files as they were signed.
        said: the predicate.
    """
    files = (folder / RELEASE_JSON, released_bundle(folder) / "configs" / "metadata.json")
    release, metadata = map(read_json, files)
    tensors = {key: len(names) for key, names in release["tensors"].items()}
    expected = {"weights": release["weights"], "tensors": tensors, "release_search": release["search"]}
    yield from (f"'{key}' is not what {RELEASE_JSON} says" for key, value in expected.items() if said[key] != value)
    yield from (
        f"'{field}' is not what the bundle's metadata.json says"
        for field, (value, published) in _of_metadata(said, metadata).items()
        if value != published
    )


def _of_metadata(predicate: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields that both the record and the metadata have, with both values."""
    block, bundle = metadata["unlearning"], predicate["bundle"]
    pairs = {
        "method.name": (predicate["method"]["name"], block["method"]),
        "weights.student": (predicate["weights"]["student"], block["weights_sha256"]),
        "bundle.version": (raised_version(str(bundle["version"])), metadata["version"]),
    }
    if predicate["forget_classes"]:
        return pairs | {"forget_classes": (predicate["forget_classes"], (block["forgotten"] or {}).get("classes"))}
    if predicate["format"] == 1:
        return pairs
    patients = predicate["split"]["patients"]
    counts = {RETAIN: block["retained"], FORGET: block["forgotten"]}
    return pairs | {
        f"split.patients.{subset}": (patients.get(subset), (numbers or {}).get("patients"))
        for subset, numbers in counts.items()
    }


def evidence_problems(scores: pd.DataFrame, said: Mapping[str, Any]) -> Iterator[str]:
    """Where a record's numbers of patients differ from those in its evidence, for each model.

    Args:
        scores: the evidence.
        said: the predicate; one of format 1 has no such numbers.
    """
    if said["format"] == 1:
        return
    patients = said["split"].get("patients")  # none of a split without counts
    for model in sorted({*said["runs"], *scores[MODEL]}):
        rows = scores[scores[MODEL] == model]
        counted = {str(name): int(number) for name, number in rows.groupby(SUBSET)[PATIENT_ID].nunique().items()}
        if not said["forget_classes"] and not counted.get(FORGET):
            yield f"the evidence has no case of the {model} that was to be forgotten, so nothing was measured on them"
        for subset in SUBSETS if patients else ():
            stated, number = patients.get(subset) or 0, counted.get(subset, 0)
            if stated != number:
                yield f"'split.patients.{subset}' is {stated}, and the evidence of the {model} has {number}"


def member_problems(scores: pd.DataFrame, split: Split, salt: bytes) -> Iterator[str]:
    """Where the cases of the evidence are not those of the split, with their patients and subsets, for each model.

    Args:
        scores: the evidence, with pseudonyms.
        split: the split that it should be of.
        salt: the salt of the pseudonyms.
    """
    expected = {
        (name, pseudonym("patient", str(row[PATIENT_ID]), salt), pseudonym("case", str(row[CASE_ID]), salt))
        for name in SUBSETS
        for row in split.rows[name]
    }
    for model, rows in scores.groupby(MODEL):
        found = set(rows[[SUBSET, PATIENT_ID, CASE_ID]].itertuples(index=False, name=None))
        for subset in SUBSETS:
            theirs, ours = ({case for case in cases if case[0] == subset} for cases in (found, expected))
            if theirs != ours:
                yield (
                    f"the evidence of the {model} has {len(theirs)} cases of '{subset}', and {len(ours & theirs)} of "
                    f"them are among the {len(ours)} of the split"
                )
