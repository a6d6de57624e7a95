"""Score every case of a run's split again, from the files of the run alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.data import load_split
from mu_monai.errors import raise_if_any
from mu_monai.keys import CASE_ID, MODEL_PT, PATIENT_ID, RUN_JSON, SCORES_CSV, STUDENT, SUBSET, TEACHER
from mu_monai.lock import writes
from mu_monai.workflow.config import (
    bundle_of,
    collect,
    config_files,
    inherited,
    read_config,
    read_run,
    run_config,
    weight_problems,
)
from mu_monai.workflow.train import common_overrides, device_problems, split_problems


@writes("run")
def evaluate(run: str | Path, *, split: str | Path | None = None, device: str | None = None) -> Path:
    """Write `scores.csv` and `examples.npz` of a finished run.

    Args:
        run: the folder of a finished run.
        split: another `split.json` than the run's, such as one whose files have moved.
        device: such as `cpu` or `cuda:0`; by default a GPU where there is one.

    Returns:
        the path of `scores.csv`.

    Raises:
        InputError: where the run is not finished, its split, weights or teacher are missing, or are not those that the
            run was made with: the scores would be filed under digests that are not theirs.
    """
    run = Path(run)
    record = read_run(run)
    split = split or record["split"]["file"]
    weights = {record["role"]: str((run / MODEL_PT).resolve())}
    if record["role"] == STUDENT and record["teacher"]:
        weights = {TEACHER: record["teacher"], **weights}
    files = config_files(bundle_of(record), "evaluate")
    overrides = (
        inherited(run, files)
        | common_overrides(bundle_of(record), split, device)
        | {"weights": weights, "run_dir": str(run)}
    )
    parser = read_config(files)
    parser.update(overrides)
    raise_if_any(
        collect(
            lambda: split_problems(split, []),
            lambda: device_problems(device),
            lambda: changed_problems(run, record, split, weights),
            *(lambda path=path: weight_problems(parser, path) for path in weights.values()),
        )
    )
    run_config(files, overrides)
    return run / SCORES_CSV


def changed_problems(run: Path, record: dict[str, Any], split: str | Path, weights: dict[str, str]) -> list[str]:
    """What is no longer as the run's record says: weights by their digest, the split by its cases."""
    digests = {TEACHER: "starting_weights", STUDENT: "weights"}
    digests = digests if record["role"] == STUDENT else {record["role"]: "weights"}
    problems = [
        f"the weights '{path}' are not those of the {role} that '{run}' was made with (SHA-256 {found}, in {RUN_JSON} "
        f"{record['sha256'][digests[role]]}); put the original file back"
        for role, path in weights.items()
        if (found := weights_sha256(read_weights(path))) != record["sha256"][digests[role]]
    ]
    if (run / SCORES_CSV).is_file():
        before = pd.read_csv(run / SCORES_CSV, dtype=str)[[SUBSET, PATIENT_ID, CASE_ID]].drop_duplicates()
        scored = set(before.itertuples(index=False, name=None))
        now = {(case[SUBSET], case[PATIENT_ID], case[CASE_ID]) for part in load_split(split).values() for case in part}
        if scored != now:
            some = ", ".join(f"{case} in {subset}" for subset, _, case in sorted(scored ^ now)[:5])
            problems.append(
                f"the split '{split}' holds other cases or subsets than '{run}' was made with ({some}); give the same "
                "split, whose files alone may have moved"
            )
    return problems
