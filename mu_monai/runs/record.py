"""`run.json`: what a run says of itself, in one place that reads, checks and writes it."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import file_sha256, link_problems, shape_problems
from mu_monai.keys import (
    ADAPTER_DIR,
    AUDIT_JSON,
    CONFIG_JSON,
    CURVE_CSV,
    DECISION_CSV,
    EXAMPLES_NPZ,
    MODEL_PT,
    ROLES,
    RUN_JSON,
    SCORES_CSV,
    TRAINING_SUBSETS,
)
from mu_monai.runs.stamped import FORMAT, read_stamped, write_stamped

FILES = "files"  # the key of `run.json` under which the digests of a run's files stand
VERBS = ("train", "unlearn", "audit")
STATUSES = ("running", "interrupted", "failed", "finished")
_SHAPE: dict[str, Any] = {
    "verb": str,
    "status": str,
    "role": str,
    "bundle": {"name": str, "root": str, "task": str, "version": str},
    "subsets": [str],
    "forget_classes": [str],
    "seed": int | None,
    "max_epochs": int | None,
    "command": str,
    "versions": dict,
    "device": str,
    "preset": str | None,
    "sha256": {"split": str, "config": str | None, "starting_weights": str | None, "weights": str},
    "split": {"file": str, "provenance": {"counts": dict}},
    "teacher": str | None,
    "parameters": {"coverage": str, "base": int, "trainable": int | None, "total": int, "share": float | None},
    "checks": [{"name": str, "passed": bool, "detail": str}],
    "warnings": [str],
    "measurements": {
        "drift": {"layers": [dict]},
        "margins": dict | None,
        "restoration": dict | None,
        "boundary": dict,
        "composition": dict,
    },
    "started": str,
    "seconds": float,
    FILES: dict,
}
_NULL = ("split", "drift", "provenance", "measurements", "seconds")  # where null says as much as nothing
_METHOD = {"name": str, "settings": dict}
logger = logging.getLogger(__name__)


def write_record(folder: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write a run's `run.json`, with the digest of its content; a record of an earlier version stays of its format."""
    write_stamped(Path(folder) / RUN_JSON, {"format": FORMAT, **record})


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The `run.json` of a run, finished or not.

    Raises:
        InputError: with every problem: the folder is not a run or holds links, or the file is not JSON, was changed
            after it was written, is of another format, or holds something of another type than a run writes.
    """
    file = Path(folder) / RUN_JSON
    if not file.is_file():
        raise InputError(
            f"'{folder}' is not a run folder: it has no {RUN_JSON}; give the folder that train or unlearn wrote"
        )
    raise_if_any(link_problems(folder))
    record = read_stamped(file)
    problems = list(_misshapen(record, _SHAPE))
    if record.get("method") is not None or record.get("verb") == "unlearn":
        problems += _misshapen({"method": None} | record, {"method": _METHOD})
    allowed = {"verb": VERBS, "status": STATUSES, "role": ROLES}
    problems += [
        f"{key} is {record.get(key)!r}, which is not one of {', '.join(names)}"
        for key, names in allowed.items()
        if record.get(key) not in names and not (key == "verb" and key not in record)
    ]
    problems += [
        f"subsets hold {name!r}, which is not one of {', '.join(TRAINING_SUBSETS)}"
        for name in record.get("subsets", [])
        if not problems and name not in TRAINING_SUBSETS
    ]
    raise_if_any(f"'{file}': {text}; the file is damaged: put the original back" for text in problems)
    return record


def open_run(folder: str | os.PathLike[str], *uses: str) -> dict[str, Any]:
    """The `run.json` of a finished run, whose files are as it says.

    Args:
        folder: the run folder.
        uses: the files that are going to be used, by their names in it; `adapter` stands for all files below it, and
            may be gone as a whole: adapters are destroyed once a decision is final.

    Raises:
        InputError: with every problem: what `read_record` refuses, a run that is not finished, and a used file that was
            changed, is gone, or was added after the run.
    """
    record = read_record(folder)
    if record["status"] != "finished":
        raise InputError(f"the run '{folder}' is {record['status']}, not finished; go on with it through --resume")
    raise_if_any(changed_files(folder, record, uses))
    return record


def file_digests(folder: str | os.PathLike[str]) -> dict[str, str]:
    """SHA-256 of every file that a run wrote as its result, by its name in the folder."""
    folder = Path(folder)
    names = [CONFIG_JSON, MODEL_PT, CURVE_CSV, SCORES_CSV, EXAMPLES_NPZ, AUDIT_JSON, DECISION_CSV]
    names += _below(folder, ADAPTER_DIR)
    return {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}


def add_files(folder: str | os.PathLike[str], *names: str) -> None:
    """Put the digests of files that were written anew into a run's `run.json`; nothing where the folder has none."""
    folder = Path(folder)
    if not (folder / RUN_JSON).is_file():
        return
    record = read_record(folder)
    found = {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}
    write_record(folder, {**record, FILES: {**record.get(FILES, {}), **found}})


def changed_files(folder: str | os.PathLike[str], record: Mapping[str, Any], uses: Sequence[str]) -> list[str]:
    """Which used files of a run are not those that its record names, in words; empty where all are.

    Args:
        folder: the run folder.
        record: its `run.json`. One of an earlier version knows the digest of `config.json` alone, and those of files
            that were written anew since.
        uses: as `open_run` takes them.
    """
    folder = Path(folder)
    known = record.get(FILES, {})
    if record.get("format") != FORMAT:
        _say_that_little_is_known(str(folder.absolute()))
        config = (record.get("sha256") or {}).get("config")
        known = known | ({CONFIG_JSON: config} if config else {})
        uses = [name for name in uses if name in known]
    return list(_differences(folder, known, uses))


def _differences(folder: Path, known: Mapping[str, Any], uses: Sequence[str]) -> Iterator[str]:
    wanted = {name for name in known for use in uses if name == use or name.startswith(f"{use}/")}
    if not (folder / ADAPTER_DIR).exists():
        wanted = {name for name in wanted if not name.startswith(f"{ADAPTER_DIR}/")}
    there = {name for use in uses for name in (_below(folder, use) if (folder / use).is_dir() else [use])}
    for name in sorted(wanted | {name for name in there if (folder / name).exists()}):
        if not (folder / name).is_file():
            yield f"'{folder / name}' is missing, and the record of the run names it; {_remedy(folder, name)}"
        elif name not in known:
            yield f"'{folder / name}' was added after the run, whose record does not name it; {_remedy(folder, name)}"
        elif file_sha256(folder / name) != known[name]:
            yield (
                f"'{folder / name}' is not the file that the run wrote (SHA-256 {file_sha256(folder / name)}, in "
                f"its record {known[name]}); {_remedy(folder, name)}"
            )


def _remedy(folder: Path, name: str) -> str:
    if name in (SCORES_CSV, EXAMPLES_NPZ):
        return f"score the run again: mu-monai evaluate {folder}"
    if name in (AUDIT_JSON, DECISION_CSV):
        return f"audit the run again: mu-monai audit {folder}"
    return "put the original file back, or make the run again"


def _below(folder: Path, name: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted((folder / name).rglob("*")) if path.is_file()]


@functools.cache
def _say_that_little_is_known(folder: str) -> None:
    logger.warning(
        "'%s' was made by an earlier version, which kept no digests of scores, curve, examples and adapters: a change "
        "in them cannot be noticed; 'mu-monai evaluate' writes scores and examples anew, with digests",
        folder,
    )


def _misshapen(content: Mapping[str, Any], shape: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """What is of another shape than it should be; what is absent is not looked at."""
    for key, kind in shape.items():
        if key not in content or (content[key] is None and key in _NULL):
            continue
        value = content[key]
        if isinstance(kind, Mapping) and isinstance(value, Mapping):
            yield from _misshapen(value, kind, f"{place}{key}, ")
        else:
            yield from shape_problems(value, dict if isinstance(kind, Mapping) else kind, f"{place}{key}")
