"""The files of a run folder: their digests, and which of them changed since the run wrote them."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mu_monai.files import file_sha256
from mu_monai.keys import (
    ADAPTER_DIR,
    AUDIT_JSON,
    BASE_PT,
    CONFIG_JSON,
    CURVE_CSV,
    DECISION_CSV,
    EXAMPLES_NPZ,
    MILESTONES_DIR,
    MODEL_PT,
    RUN_JSON,
    SCORES_CSV,
    SHARDS_DIR,
    SHARDS_JSON,
)
from mu_monai.runs.record import FINISHED, RunRecord, is_run, read_record
from mu_monai.runs.stamped import FORMAT, read_stamped, write_stamped

logger = logging.getLogger(__name__)


def scores_file(folder: str | os.PathLike[str]) -> Path:
    """The path of the score table of a run."""
    return Path(folder) / SCORES_CSV


def has_scores(folder: str | os.PathLike[str]) -> bool:
    """Whether a run has a score table."""
    return scores_file(folder).is_file()


def is_finished(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is that of a run whose training or unlearning is finished, so that its weights exist."""
    return is_run(folder) and read_record(folder).status == FINISHED


def is_complete(folder: str | os.PathLike[str]) -> bool:
    """Whether a run is finished and scored, and its scores and examples match the digests in its record."""
    written = (SCORES_CSV, EXAMPLES_NPZ)
    if not is_run(folder) or not all((Path(folder) / name).is_file() for name in written):
        return False
    record = read_record(folder)
    return record.status == FINISHED and not changed_files(folder, record, written)


def file_digests(folder: str | os.PathLike[str]) -> dict[str, str]:
    """SHA-256 of every result file of a run, by its name in the folder."""
    folder = Path(folder)
    names = [CONFIG_JSON, MODEL_PT, CURVE_CSV, SCORES_CSV, EXAMPLES_NPZ, AUDIT_JSON, DECISION_CSV]
    names += [SHARDS_JSON, BASE_PT]
    names += [name for part in (ADAPTER_DIR, MILESTONES_DIR, SHARDS_DIR) for name in _below(folder, part)]
    return {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}


def add_files(folder: str | os.PathLike[str], *names: str) -> None:
    """Put the digests of new files into a run's `run.json`; do nothing if the folder has none.

    A record of an earlier version keeps its format, and all entries that this version does not know.
    """
    folder = Path(folder)
    if not is_run(folder):
        return
    known = read_record(folder).files
    new = {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}
    write_stamped(folder / RUN_JSON, {**read_stamped(folder / RUN_JSON), "files": {**known, **new}})


def changed_files(folder: str | os.PathLike[str], record: RunRecord, uses: Sequence[str]) -> list[str]:
    """Which used files of a run do not match its record, one sentence each; empty if all match.

    Args:
        folder: the run folder.
        record: its `run.json`. A record of an earlier version has only the digest of `config.json`, and those of files
            that were written again since.
        uses: the names of the files to be used; `adapter` stands for all files below it, and may be missing as a whole,
            since adapters are destroyed once a decision is final.
    """
    folder, known = Path(folder), record.files
    if record.format != FORMAT:
        _warn_of_missing_digests(str(folder.absolute()))
        known = {**known, **({CONFIG_JSON: record.sha256.config} if record.sha256.config else {})}
        uses = [name for name in uses if name in known]
    return list(_differences(folder, known, uses))


def _differences(folder: Path, known: Mapping[str, str], uses: Sequence[str]) -> Iterator[str]:
    recorded = {name for name in known for use in uses if name == use or name.startswith(f"{use}/")}
    if not (folder / ADAPTER_DIR).exists():
        recorded = {name for name in recorded if not name.startswith(f"{ADAPTER_DIR}/")}
    there = {name for use in uses for name in (_below(folder, use) if (folder / use).is_dir() else [use])}
    for name in sorted(recorded | {name for name in there if (folder / name).exists()}):
        if not (folder / name).is_file():
            yield f"'{folder / name}' is missing, but the record of the run names it; {_remedy(folder, name)}"
        elif name not in known:
            yield f"'{folder / name}' was added after the run: its record does not name it; {_remedy(folder, name)}"
        elif (digest := file_sha256(folder / name)) != known[name]:
            yield (
                f"'{folder / name}' is not the file that the run wrote (SHA-256 {digest}, in its record "
                f"{known[name]}); {_remedy(folder, name)}"
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
def _warn_of_missing_digests(folder: str) -> None:
    logger.warning(
        "'%s' was made by an earlier version, which kept no digests of scores, curve, examples and adapters: changes "
        "in them cannot be detected; 'mu-monai evaluate' writes scores and examples again, with digests",
        folder,
    )
