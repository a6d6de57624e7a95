"""Compare unlearning methods on one split: the same trials and seeds for each, beside retrained models."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from mu_monai.audit import closeness_records, membership_records, utility_records
from mu_monai.bundle.config import sharing_data
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.files import read_json, write_json
from mu_monai.keys import AUDIT_JSON, FORGET, RETAIN, RETRAINED, STUDENT, SUBSETS, TEACHER, TEST
from mu_monai.lock import writes
from mu_monai.methods.registry import registered
from mu_monai.metrics import average_gap, tow
from mu_monai.record import without_nan
from mu_monai.report import comparison_table, write_comparison
from mu_monai.runs import has_scores, is_run, open_run, open_runs, read_record, read_stamped
from mu_monai.runs.numbers import AUC_OF_ALL, AUC_OF_LOSS, Group, State
from mu_monai.runs.scores import leading_metric
from mu_monai.runs.stamp import command_line, package_versions
from mu_monai.workflow.comparing.plan import COMPARISON_JSON, SHAPE, Entry, Plan, read_plan
from mu_monai.workflow.comparing.runs import Trial, audited, retrained_models, tried, unlearned
from mu_monai.workflow.comparing.waves import made
from mu_monai.workflow.options import CompareOptions
from mu_monai.workflow.workers.job import told
from mu_monai.workflow.workers.workers import working

_FORMAT = 1
_PACKAGES = ("mu-monai", "torch", "monai", "numpy")
_AUCS = {"auc": AUC_OF_LOSS, "auc_logistic": AUC_OF_ALL}
_OF_THE_FOLDER = "adapter-removal"  # measures what the run folder reveals, not what the released model reveals
_UNSEEN = "unseen cases"
Row = dict[str, Any]
Rows = dict[tuple[str, int], Row]  # by label, and seed or number of the setting
logger = logging.getLogger(__name__)


@writes("out")
def compare(
    bundle: str | Path,
    *,
    split: str | Path,
    teacher: str | Path,
    out: str | Path,
    options: CompareOptions = CompareOptions(),  # noqa: B008 - frozen
    trust: Trust = STRANGER,
) -> Path:
    """Unlearn the forget cases with many methods and seeds, audit every run, and write one table and page.

    Every method is run with the same number of settings and the first seed; the best by `mu_monai.metrics.choice`,
    which uses only validation cases, is run with the other seeds. Each seed is compared with a model retrained with
    that seed. Finished runs are kept, and interrupted ones resume. Other methods in the folder stay in the table, and
    the named methods also get the folder's seeds and attacks. Workers make the runs and audits at the same time; the
    table is the same, except for times. A program that calls this with workers needs `if __name__ == "__main__":`.

    Args:
        bundle: folder, or name of a shipped bundle.
        split: a `split.json`.
        teacher: the run folder of the original model; with `references` also a weights file.
        out: the folder of the comparison: a new one, or that of the same comparison to continue.
        options: which methods, seeds and settings.
        trust: how far the teacher's run is trusted.

    Returns:
        the path of `comparison.json`, with `index.html`, `comparison.csv` and `comparison.tex` beside it. It lists
        failed runs with their reason.

    Raises:
        InputError: every problem of the input, before anything is trained.
    """
    plan = read_plan(bundle, split=split, teacher=teacher, out=out, options=options, trust=trust)
    content, rows, tries = _head(plan), _by(plan, "rows", "seed"), _by(plan, "trials", "number")
    with working(options.workers, options.gpus_per_job, folder=plan.out, places=plan.read) as workers:
        _keep(plan, content, rows, tries)
        plan = plan if workers is None else made(plan, workers)
    with sharing_data():  # a third of the time of cheap methods was reading the same images
        retrained = retrained_models(plan)
        for entry in plan.entries:
            trial, *others = tried(plan, entry)
            tries = {key: found for key, found in tries.items() if key[0] != entry.label}
            tries |= {
                (entry.label, found.number): _trial(plan, entry, found, chosen=found is trial)
                for found in (trial, *others)
            }
            rows |= {(entry.label, row["seed"]): row for row in _cells(plan, entry, trial, retrained)}
            _keep(plan, content, rows, tries)
    named = {entry.label for entry in plan.entries}
    students = [row for row in rows.values() if row["model"] == STUDENT]
    students = [row if row["label"] in named else _still(plan, row, retrained) for row in students]
    content |= {"status": "finished", "on_validation": _on_validation(students)}
    rows = {(row["label"], row["seed"]): row for row in [*_yardstick(plan, students, retrained), *students]}
    _keep(plan, content, _with_ratios(rows), tries)
    file = plan.out / COMPARISON_JSON
    write_comparison(read_json(file, SHAPE), plan.out)
    return file


def comparison_summary(file: str | Path) -> str:
    """The means of a comparison as lines of text; the page also has spreads, gaps and costs.

    Args:
        file: a `comparison.json`.
    """
    table = comparison_table(read_json(file, SHAPE)["rows"])
    shown = table[["label", "seeds", "average_gap", "tow", *SUBSETS, *_AUCS, "ratio", "verdicts"]]
    return shown.to_string(index=False, float_format="{:.3f}".format, na_rep="")


def _head(plan: Plan) -> dict[str, Any]:
    """The models and data that the results belong to."""
    left_out, compared = {**plan.earlier.get("left_out", {}), **plan.left_out}, {each.method for each in plan.entries}
    return {
        "format": _FORMAT,
        "status": "running",
        "command": command_line(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(*_PACKAGES),
        "identity": plan.identity,
        "split": str(plan.split.absolute()),
        "provenance": plan.told,
        "teacher": str(plan.teacher.absolute()),
        "seeds": list(plan.options.seeds),
        "n_trials": plan.options.trials,
        "references": [str(path.absolute()) for path in plan.references],
        "left_out": {name: why for name, why in left_out.items() if name not in compared},
        "on_validation": [],
        "attacks": list(plan.options.attacks),
    }


def _by(plan: Plan, part: str, key: str) -> Rows:
    """The rows of an earlier call in the folder, until they are replaced."""
    return {(row["label"], row[key]): row for row in plan.earlier.get(part, [])}


def _keep(plan: Plan, content: Mapping[str, Any], rows: Rows, tries: Rows) -> None:
    lists = {"trials": list(tries.values()), "rows": list(rows.values())}
    write_json(plan.out / COMPARISON_JSON, without_nan({**content, **lists}))


def _cells(plan: Plan, entry: Entry, trial: Trial, retrained: Mapping[int, Path]) -> Iterator[Row]:
    """A row for each seed of a method; the first seed's row is the chosen trial's."""
    for seed, reference in retrained.items():
        head = {"model": STUDENT, "label": entry.label, "paper": registered()[entry.method].paper, "seed": seed}
        if trial.reason:
            yield head | {"status": "failed", "reason": trial.reason, "run": _relative(plan, trial.run)}
        else:
            make = partial(unlearned, plan, entry, trial.number, seed)
            yield _cell(plan, head, trial.run.with_name(f"seed-{seed}"), reference, make)


def _still(plan: Plan, row: Row, retrained: Mapping[int, Path]) -> Row:
    """The row of a method that was not named this time, with the present retrained model and attacks."""
    if row["status"] != "finished":
        return row
    head = {name: row[name] for name in ("model", "label", "paper", "seed")}
    return _cell(plan, head, plan.out / row["run"], retrained[row["seed"]])


def _cell(plan: Plan, head: Row, run: Path, reference: Path, make: Callable[[], object] | None = None) -> Row:
    """The row of a run, which is made if it is missing; the reason, if it fails."""
    try:
        if make is not None:
            make()
        found = audited(plan, run, reference)
    except Exception as error:
        logger.warning("%s, seed %d, failed: %s", head["label"], head["seed"], told(error))
        return head | {"status": "failed", "reason": told(error), "run": _relative(plan, run)}
    return (
        head
        | _numbers(found["records"], STUDENT)
        | _cost(run)
        | _finished(plan, run)
        | {
            "verdict": found["verdict"]["label"],
            "auc_attacked": _after_attacks(found),
            "warnings": list(read_record(run).warnings),
        }
    )


def _on_validation(rows: Sequence[Row]) -> list[str]:
    """The methods that use validation cases while they unlearn."""
    labels = dict.fromkeys(row["label"] for row in rows)
    known = {label: registered().get(label.partition(":")[0]) for label in labels}
    return [label for label, method in known.items() if method is not None and _UNSEEN in method.needs]


def _yardstick(plan: Plan, rows: Sequence[Row], retrained: Mapping[int, Path]) -> Iterator[Row]:
    """Rows of the teacher, if it was scored, and of the retrained model of every seed."""
    own = plan.teacher if is_run(plan.teacher) else None
    levels: dict[int, Row] = {}
    for seed, reference in retrained.items():
        records = _records(plan, rows, seed, reference)
        teacher = _numbers(records, TEACHER)
        if teacher:
            head = {"label": TEACHER, "model": TEACHER, "paper": "", "seed": seed}
            yield head | teacher | _cost(own) | _finished(plan, plan.teacher)
        found = {name: value for name, value in _numbers(records, RETRAINED).items() if not name.startswith("gap")}
        levels[seed] = found | {"seed": seed} | _cost(reference) | _finished(plan, reference)
    for row in levels.values():
        gaps = [_between(row, other) for run, other in _distinct(levels.values()).items() if run != row["run"]]
        yield {"label": RETRAINED, "model": RETRAINED, "paper": ""} | row | dict(pd.DataFrame(gaps).mean())


def _records(plan: Plan, rows: Sequence[Row], seed: int, reference: Path) -> list[Row]:
    """The metrics of teacher and retrained model: from an audit with both, or their own scores if no audit finished."""
    run = next((row["run"] for row in rows if row["seed"] == seed and row["status"] == "finished"), None)
    if run is not None:
        found: list[Row] = read_stamped(plan.out / run / AUDIT_JSON, {"records": [dict]})["records"]
        return found
    scored = has_scores(plan.teacher)
    record = open_run(plan.teacher).record if scored else None
    scored = record is not None and record.role == TEACHER and record.sha256.split == plan.identity["split"]
    scores = open_runs([*([plan.teacher] if scored else []), reference], shown=False).scores
    records = [
        *utility_records(scores, n_resamples=1),
        *membership_records(scores, n_resamples=1),
        *closeness_records(scores, n_resamples=1),
    ]
    return [asdict(record) for record in records]


def _between(row: Row, other: Row) -> Row:
    """The absolute differences between retrained models, which come from the seeds alone."""
    gaps = {name: abs(row[name] - other[name]) for name in (*SUBSETS, "auc") if None not in (row[name], other[name])}
    sizes = [gaps.get(name, math.nan) for name in (FORGET, RETAIN, TEST)]
    return {f"gap_{name}": gap for name, gap in gaps.items()} | {
        "average_gap": float(average_gap([*sizes, gaps.get("auc", math.nan)])),
        "tow": float(tow(sizes)),
    }


def _distinct(rows: Iterable[Row]) -> dict[str, Row]:
    """The models of rows, each once: seeds may share a retrained model."""
    return {row["run"]: row for row in rows}


def _numbers(records: Sequence[Row], role: str) -> Row:
    """An audit's results for a model: its values, their gaps to the retrained model, and one summary number."""
    own = [record for record in records if record["model"] == role and not record["attack"]]
    by_metric = {(record["metric"], record["subset"]): record for record in own}
    if not by_metric:
        return {}
    metric = leading_metric({metric for metric, _ in by_metric})
    row: Row = {"metric": metric}
    levels = {subset: by_metric.get((metric, subset)) for subset in SUBSETS}
    levels |= {name: by_metric.get((signal, FORGET)) for name, signal in _AUCS.items()}
    for name, record in levels.items():
        of_retrained = record is not None and Group.parse(record["reference"]).model == RETRAINED
        row |= {name: None if record is None else record["value"]}
        row |= {f"gap_{name}": record["gap"] if record is not None and of_retrained else None}
    summed = {name: by_metric.get((name, "")) for name in ("average_gap", "tow")}
    return row | {name: None if record is None else record["value"] for name, record in summed.items()}


def _after_attacks(found: Mapping[str, Any]) -> float | None:
    """The highest AUC of the loss after any attack on the student's weights; none without attacks."""
    values = [
        record["value"]
        for record in found["records"]
        if (record["model"], record["metric"]) == (STUDENT, _AUCS["auc"])
        and record["attack"] not in ("", _OF_THE_FOLDER)
        and State.parse(record["attack"]).step is None
        and record["value"] is not None
    ]
    return max(values, default=None)


def _cost(run: Path | None) -> Row:
    """The cost of a run."""
    record = None if run is None else read_record(run)
    names = ("seconds", "cpu_seconds", "peak_memory_mib", "device", "processes")
    return {name: getattr(record, name, None) for name in names}


def _with_ratios(rows: Rows) -> Rows:
    """The rows with the time of each run as a share of that of retraining."""
    own = [row for row in rows.values() if row["status"] == "finished"]
    retraining = list(_distinct(row for row in own if row["model"] == RETRAINED).values())
    clocks = {label: _clock([row for row in own if row["label"] == label], retraining) for label, _ in rows}
    return {key: row | {"ratio": _ratio(row, clocks[key[0]], retraining)} for key, row in rows.items()}


def _clock(rows: Sequence[Row], retraining: Sequence[Row]) -> str:
    """The kind of time that all seeds of a method have: CPU time if the CPU did all work, otherwise wall-clock time.

    None if they ran on a different device than retraining, or a time is not known. CPU time is that of all processes
    together, while wall-clock times can be compared only between as many processes.
    """
    runs = [*rows, *retraining]
    devices = {str(run.get("device")).partition(":")[0] for run in runs}
    as_many = len({run.get("processes") or 1 for run in runs}) == 1
    names = [name for name, fair in (("cpu_seconds", devices == {"cpu"}), ("seconds", as_many)) if fair]
    known = [name for name in names if all(run.get(name) is not None for run in runs)]
    return known[0] if known and retraining and len(devices) == 1 else ""


def _ratio(row: Row, clock: str, retraining: Sequence[Row]) -> float | None:
    if not clock or row["status"] != "finished":
        return None
    return float(row[clock] * len(retraining) / sum(run[clock] for run in retraining))


def _finished(plan: Plan, run: Path) -> Row:
    return {"status": "finished", "reason": "", "run": _relative(plan, run)}


def _relative(plan: Plan, run: Path) -> str:
    """The path of a run, relative to the comparison if it lies in it."""
    run, out = run.absolute(), plan.out.absolute()
    return run.relative_to(out).as_posix() if run.is_relative_to(out) else str(run)


def _trial(plan: Plan, entry: Entry, trial: Trial, *, chosen: bool) -> Row:
    cost = _cost(None if trial.reason else trial.run)
    return {
        "label": entry.label,
        "number": trial.number,
        "settings": list(trial.settings),
        "run": _relative(plan, trial.run),
        "reason": trial.reason,
        "chosen": chosen and not trial.reason,
        "seconds": cost["seconds"],
        **trial.found,
    }
