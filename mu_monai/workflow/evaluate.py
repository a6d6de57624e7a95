"""Score every case of a run's split again, from the files of the run alone."""

from __future__ import annotations

from pathlib import Path

from mu_monai.errors import raise_if_any
from mu_monai.keys import MODEL_PT, SCORES_CSV, STUDENT, TEACHER
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


def evaluate(run: str | Path, *, split: str | Path | None = None, device: str | None = None) -> Path:
    """Write `scores.csv` and `examples.npz` of a finished run.

    Args:
        run: the folder of a finished run.
        split: another `split.json` than the run's, such as one whose files have moved.
        device: such as `cpu` or `cuda:0`; by default a GPU where there is one.

    Returns:
        the path of `scores.csv`.

    Raises:
        InputError: where the run is not finished, or its split, weights or teacher are missing.
    """
    run = Path(run)
    record = read_run(run)
    split = split or record["split"]["file"]
    weights = {record["role"]: str((run / MODEL_PT).resolve())}
    if record["role"] == STUDENT:
        weights = {TEACHER: record["teacher"], **weights}
    files = config_files(bundle_of(record), "evaluate")
    overrides = (
        inherited(run) | common_overrides(bundle_of(record), split, device) | {"weights": weights, "run_dir": str(run)}
    )
    parser = read_config(files)
    parser.update(overrides)
    raise_if_any(
        collect(
            lambda: split_problems(split, []),
            lambda: device_problems(device),
            *(lambda path=path: weight_problems(parser, path) for path in weights.values()),
        )
    )
    run_config(files, overrides)
    return run / SCORES_CSV
