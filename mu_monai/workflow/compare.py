"""Compare unlearning methods on one split: the same trials and seeds for each, beside retrained models."""

from __future__ import annotations

import logging
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mu_monai.audit.bootstrap import N_RESAMPLES
from mu_monai.files import read_json, write_json
from mu_monai.keys import AUDIT_JSON, FORGET, PROVENANCE, RETAIN, RETRAINED, RUN_JSON, STUDENT, SUBSETS, TEACHER, TEST
from mu_monai.methods import METHODS
from mu_monai.metrics import average_gap, tow
from mu_monai.record import without_nan
from mu_monai.report import comparison_table, write_comparison
from mu_monai.workflow.comparison_plan import ALL, COMPARISON_JSON, Entry, Plan, read_plan
from mu_monai.workflow.comparison_runs import Trial, audited, reason_of, retrained_models, tried, unlearned

_FORMAT = 1
_PACKAGES = ("mu-monai", "torch", "monai", "numpy")
_UTILITY = ("accuracy", "dice")
_AUC = "auc[loss]"
_OF_THE_FOLDER = "adapter-removal"  # says what the run folder gives away, and nothing of the released model
_ON_THE_WAY = "@"
_TOLD = ("source", "phantom", "selector", "group_by", "seed", "counts")  # of the split's provenance
Row = dict[str, Any]
logger = logging.getLogger(__name__)


def compare(
    bundle: str | Path,
    *,
    split: str | Path,
    teacher: str | Path,
    out: str | Path,
    methods: Sequence[str] = (ALL,),
    seeds: Sequence[int] = (0,),
    trials: int = 3,
    cache: str | Path | None = None,
    references: Sequence[str | Path] = (),
    attacks: Sequence[str] = (),
    settings: Sequence[str] = (),
    overlays: Sequence[str] = (),
    device: str | None = None,
    n_resamples: int = N_RESAMPLES,
) -> Path:
    """Unlearn the forget cases with many methods and seeds, audit every run, and put all into one table and page.

    Every method is run with the same number of settings and the first seed; the best by `mu_monai.metrics.choice`,
    which sees validation cases alone, is run with the other seeds. The yardstick of each seed is a model that was
    retrained with it. What is finished is not made again, and what was interrupted goes on.

    Args:
        bundle: folder, or name of a shipped bundle.
        split: a `split.json`.
        teacher: the run folder of the original model; with `references` also a weights file.
        out: the folder of the comparison: new, or one of the same comparison to go on with.
        methods: names, with `:preset` for a preset of the bundle, or `all` that can do the task.
        seeds: the seeds of each method, the first for the trials.
        trials: how many of its settings each method may choose among, 1 to 4.
        cache: the folder that retrained models are kept in; by default `retrained` in `out`.
        references: runs of retrained models, in the order of the seeds; none to train them.
        attacks: names of attacks for the audits, or `all`.
        settings: `KEY=VALUE` overrides of config ids, the same for all methods.
        overlays: config files laid over the bundle's, by path or by name in its `configs/`.
        device: such as `cpu` or `cuda:0`; by default a GPU where there is one.
        n_resamples: bootstrap draws per interval of the audits.

    Returns:
        the path of `comparison.json`, with `index.html`, `comparison.csv` and `comparison.tex` beside it. Runs that
        failed are in it with their reason.

    Raises:
        InputError: every problem of the input, before anything is trained.
    """
    plan = read_plan(
        bundle,
        split=split,
        teacher=teacher,
        out=out,
        methods=methods,
        seeds=seeds,
        trials=trials,
        cache=cache,
        references=references,
        attacks=attacks,
        settings=settings,
        overlays=overlays,
        device=device,
        n_resamples=n_resamples,
    )
    content = _head(plan, trials)
    _keep(plan, content | {"status": "running"})
    retrained = retrained_models(plan)
    rows: list[Row] = []
    for entry in plan.entries:
        trial, *others = tried(plan, entry)
        content["trials"] += [_trial(plan, entry, found, chosen=found is trial) for found in (trial, *others)]
        rows += _cells(plan, entry, trial, retrained)
        _keep(plan, content | {"status": "running", "rows": rows})
    yardstick = list(_yardstick(plan, rows, retrained))
    retraining = [row for row in yardstick if row["model"] == RETRAINED]
    rows = [row | {"ratio": _ratio(row, retraining)} for row in [*yardstick, *rows]]
    _keep(plan, content | {"status": "finished", "rows": rows})
    file = plan.out / COMPARISON_JSON
    write_comparison(read_json(file), plan.out)
    return file


def comparison_summary(file: str | Path) -> str:
    """The means of a comparison as lines of text; the page has spreads, gaps and costs.

    Args:
        file: a `comparison.json`.
    """
    table = comparison_table(read_json(file)["rows"])
    shown = table[["label", "average_gap", "tow", *SUBSETS, "auc", "ratio", "verdicts"]]
    return shown.to_string(index=False, float_format="{:.3f}".format, na_rep="")


def _head(plan: Plan, trials: int) -> dict[str, Any]:
    """What the results are of."""
    provenance = read_json(plan.split)[PROVENANCE]
    return {
        "format": _FORMAT,
        "status": "running",
        "command": shlex.join(["mu-monai" if Path(sys.argv[0]).name == "mu-monai" else sys.argv[0], *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name.replace("-", "_"): version(name) for name in _PACKAGES},
        "identity": plan.identity,
        "split": str(plan.split.absolute()),
        "provenance": {name: provenance[name] for name in _TOLD if name in provenance},
        "teacher": str(plan.teacher.absolute()),
        "seeds": list(plan.seeds),
        "n_trials": trials,
        "left_out": dict(plan.left_out),
        "attacks": list(plan.attacks),
        "trials": [],
        "rows": [],
    }


def _keep(plan: Plan, content: Mapping[str, Any]) -> None:
    write_json(plan.out / COMPARISON_JSON, without_nan(content))


def _cells(plan: Plan, entry: Entry, trial: Trial, retrained: Mapping[int, Path]) -> Iterator[Row]:
    """A row for each seed of a method; that of the first is the chosen trial's."""
    for seed, reference in retrained.items():
        row = {"model": STUDENT, "label": entry.label, "paper": METHODS[entry.method].paper, "seed": seed}
        if trial.reason:
            yield row | {"status": "failed", "reason": trial.reason, "run": _relative(plan, trial.run)}
            return
        try:
            run = unlearned(plan, entry, trial.number, seed)
            found = audited(plan, run, reference)
        except Exception as error:
            run = trial.run.with_name(f"seed-{seed}")
            logger.warning("%s, seed %d, failed: %s", entry.label, seed, reason_of(error))
            yield row | {"status": "failed", "reason": reason_of(error), "run": _relative(plan, run)}
            continue
        yield (
            row
            | _numbers(found, STUDENT)
            | _cost(run)
            | _finished(plan, run)
            | {
                "verdict": found["verdict"]["label"],
                "auc_attacked": _after_attacks(found),
                "warnings": read_json(run / RUN_JSON)["warnings"],
            }
        )


def _yardstick(plan: Plan, rows: Sequence[Row], retrained: Mapping[int, Path]) -> Iterator[Row]:
    """Rows of the teacher and of the retrained model of every seed that some method finished."""
    levels: dict[int, Row] = {}
    for seed, reference in retrained.items():
        run = next((row["run"] for row in rows if row["seed"] == seed and row["status"] == "finished"), None)
        if run is None:
            continue
        found = read_json(plan.out / run / AUDIT_JSON)
        own = plan.teacher if (plan.teacher / RUN_JSON).is_file() else None
        row = {"label": TEACHER, "model": TEACHER, "paper": "", "seed": seed}
        yield row | _numbers(found, TEACHER) | _cost(own) | _finished(plan, plan.teacher)
        levels[seed] = {name: value for name, value in _numbers(found, RETRAINED).items() if not name.startswith("gap")}
        levels[seed] |= {"seed": seed} | _cost(reference) | _finished(plan, reference)
    seeds = list(levels)
    for place, seed in enumerate(seeds):
        other = levels[seeds[(place + 1) % len(seeds)]]
        gaps = _between(levels[seed], other) if levels[seed]["run"] != other["run"] else {}
        yield {"label": RETRAINED, "model": RETRAINED, "paper": ""} | levels[seed] | gaps


def _between(row: Row, other: Row) -> Row:
    """How far a retrained model is from that of another seed: what seeds alone make."""
    gaps = {name: row[name] - other[name] for name in (*SUBSETS, "auc") if row[name] is not None}
    sizes = [gaps.get(name, math.nan) for name in (FORGET, RETAIN, TEST)]
    return {f"gap_{name}": gap for name, gap in gaps.items()} | {
        "average_gap": float(average_gap([*sizes, gaps["auc"]])),
        "tow": float(tow(sizes)),
    }


def _numbers(found: Mapping[str, Any], role: str) -> Row:
    """What an audit says of a model: its levels, their gaps to the retrained model, and all in one number."""
    records = [record for record in found["records"] if record["model"] == role and not record["attack"]]
    by_metric = {(record["metric"], record["subset"]): record for record in records}
    metric = next(name for name in _UTILITY if any(key[0] == name for key in by_metric))
    row: Row = {"metric": metric}
    levels = {subset: by_metric.get((metric, subset)) for subset in SUBSETS} | {"auc": by_metric.get((_AUC, FORGET))}
    for name, record in levels.items():
        of_retrained = record is not None and record["reference"].startswith(RETRAINED)
        row |= {name: None if record is None else record["value"]}
        row |= {f"gap_{name}": record["gap"] if record is not None and of_retrained else None}
    summed = {name: by_metric.get((name, "")) for name in ("average_gap", "tow")}
    return row | {name: None if record is None else record["value"] for name, record in summed.items()}


def _after_attacks(found: Mapping[str, Any]) -> float | None:
    """The highest AUC of the loss after any attack on the student's weights; none without attacks."""
    values = [
        record["value"]
        for record in found["records"]
        if (record["model"], record["metric"]) == (STUDENT, _AUC)
        and record["attack"] not in ("", _OF_THE_FOLDER)
        and _ON_THE_WAY not in record["attack"]
        and record["value"] is not None
    ]
    return max(values, default=None)


def _cost(run: Path | None) -> Row:
    """What a run took."""
    record = {} if run is None else read_json(run / RUN_JSON)
    return {name: record.get(name) for name in ("seconds", "cpu_seconds", "peak_memory_mib", "device")}


def _ratio(row: Row, retraining: Sequence[Row]) -> float | None:
    """The time of a run as a share of that of retraining: the CPU's where it did all work, else the clock's."""
    runs = [row, *retraining]
    on_cpu = all(run.get("device") == "cpu" and run["cpu_seconds"] is not None for run in runs)
    name = "cpu_seconds" if on_cpu else "seconds"
    if not retraining or any(run.get(name) is None for run in runs):
        return None
    return float(row[name] * len(retraining) / sum(run[name] for run in retraining))


def _finished(plan: Plan, run: Path) -> Row:
    return {"status": "finished", "reason": "", "run": _relative(plan, run)}


def _relative(plan: Plan, run: Path) -> str:
    """Where a run lies, seen from the comparison where it is in it."""
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
