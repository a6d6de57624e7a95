"""Score every case of a run's split again, from the files of the run alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.data import load_split
from mu_monai.errors import raise_if_any
from mu_monai.files import file_sha256
from mu_monai.keys import CASE_ID, MODEL_PT, PATIENT_ID, RUN_JSON, SCORES_CSV, STUDENT, SUBSET, TEACHER
from mu_monai.lock import writes
from mu_monai.runs import changed_files
from mu_monai.tables import read_scores
from mu_monai.workflow.config import (
    collect,
    config_files,
    read_config,
    read_run,
    run_config,
    weight_problems,
)
from mu_monai.workflow.train import common_overrides, device_problems, place_problems, split_problems
from mu_monai.workflow.trust import STRANGER, Trust, inherited


@writes("run")
def evaluate(
    run: str | Path, *, split: str | Path | None = None, device: str | None = None, trust: Trust = STRANGER
) -> Path:
    """Write `scores.csv` and `examples.npz` of a finished run.

    Args:
        run: the folder of a finished run.
        split: another `split.json` than the run's, such as one whose files have moved.
        device: such as `cpu` or `cuda:0`; by default a GPU where there is one.
        trust: what is known of where the run comes from.

    Returns:
        the path of `scores.csv`.

    Raises:
        InputError: where the run is not finished, its split, weights or teacher are missing, or are not those that the
            run was made with: the scores would be filed under digests that are not theirs.
    """
    run = Path(run)
    record = read_run(run)
    bundle = trust.bundle_of(record)
    split = split or record["split"]["file"]
    weights = {record["role"]: str((run / MODEL_PT).resolve())}
    if record["role"] == STUDENT and record.get("teacher"):
        weights = {TEACHER: record["teacher"], **weights}
    files = config_files(bundle, "evaluate")
    raise_if_any(
        place_problems({"RUN": run, "--split": split, "the bundle": bundle, "the teacher": record.get("teacher")})
    )
    overrides = (
        inherited(run, files, trust=trust)
        | common_overrides(bundle, split, device)
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
    return collect(
        *(
            lambda role=role, path=path: _other_weights(run, role, path, record["sha256"].get(digests[role]))
            for role, path in weights.items()
        ),
        lambda: [] if file_sha256(split) == record["sha256"]["split"] else _other_cases(run, record, split),
    )


def _other_weights(run: Path, role: str, path: str, wanted: str | None) -> list[str]:
    found = weights_sha256(read_weights(path))
    problems = [
        f"the weights '{path}' are not those of the {role} that '{run}' was made with (SHA-256 {found}, in {RUN_JSON} "
        f"{wanted}); put the original file back"
    ]
    return [] if found == wanted else problems


def _other_cases(run: Path, record: Mapping[str, Any], split: str | Path) -> list[str]:
    """Why another split file than the run's is not the same split, whose images alone may have moved."""
    if not (run / SCORES_CSV).is_file() or changed_files(run, record, [SCORES_CSV]):
        return [
            f"'{split}' is another file than the split of '{run}', and whether it has the same cases cannot be told, "
            f"since {SCORES_CSV} is missing or changed; give the very file that the run was made with"
        ]
    before = read_scores(run / SCORES_CSV)[[SUBSET, PATIENT_ID, CASE_ID]]
    scored = set(before.drop_duplicates().itertuples(index=False, name=None))
    now = {(case[SUBSET], case[PATIENT_ID], case[CASE_ID]) for part in load_split(split).values() for case in part}
    if scored == now:
        return []
    some = ", ".join(f"{case} in {subset}" for subset, _, case in sorted(scored ^ now)[:5])
    return [
        f"the split '{split}' holds other cases or subsets than '{run}' was made with ({some}); give the same split, "
        "whose files alone may have moved"
    ]
