"""Whether a record agrees with the files that are released with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.files import read_json
from mu_monai.keys import FORGET, PATIENT_ID, RETAIN, SUBSET
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
    """Where a record's numbers of patients differ from those in its evidence."""
    counted = scores.groupby(SUBSET)[PATIENT_ID].nunique()
    patients = said["split"].get("patients")
    if not patients:  # a record of format 1, or of a split without counts
        return
    for subset, number in counted.items():
        if patients.get(str(subset)) != number:
            yield f"'split.patients.{subset}' is {patients.get(str(subset))}, and the evidence has {number}"
