"""The runs and audits of a comparison, made by workers before the table is put together from their folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mu_monai.keys import AUDIT_JSON, STUDENT
from mu_monai.runs import is_complete
from mu_monai.workflow.comparing.plan import Entry, Plan
from mu_monai.workflow.comparing.runs import Training, audited, retrained_models, run_of, tried, unlearned
from mu_monai.workflow.quiet import quiet
from mu_monai.workflow.workers.job import Job
from mu_monai.workflow.workers.workers import Engine, run_jobs


def made(plan: Plan, workers: Engine) -> Plan:
    """Make what a comparison lacks on workers: retrained models and trials, then the chosen runs and all audits.

    Returns:
        the plan, with why runs failed.

    Raises:
        Exception: what a retrained model failed with, when all else of its wave has ended.
    """
    plan = _after(plan, workers, list(_first_wave(plan)))
    retrained = retrained_models(plan)
    with quiet(tried.__module__):  # what failed is said when the table is put together
        chosen = {entry: tried(plan, entry)[0] for entry in plan.entries}
    finished = {entry: trial.number for entry, trial in chosen.items() if not trial.reason}
    return _after(plan, workers, [*_second_wave(plan, finished, retrained), *_others(plan, retrained)])


def _first_wave(plan: Plan) -> Iterator[Job]:
    """The retrained models, which take longest, and every setting with the first seed."""
    if not plan.references:
        training = Training.of(plan)
        for seed in plan.options.seeds:
            yield Job(
                name=f"retrained, seed {seed}", place=training.run(seed), function=training.make, arguments=(seed,)
            )
    seed = plan.options.seeds[0]
    for entry in plan.entries:
        for number in range(1, len(entry.trials) + 1):
            yield Job(
                name=f"{entry.label}, trial {number}, seed {seed}",
                place=run_of(plan, entry, number, seed),
                function=unlearned,
                arguments=(plan, entry, number, seed),
            )


def _second_wave(plan: Plan, chosen: Mapping[Entry, int], retrained: Mapping[int, Path]) -> Iterator[Job]:
    """The chosen setting of every method with every seed, and its audit."""
    for entry, number in chosen.items():
        for seed, reference in retrained.items():
            yield Job(
                name=f"{entry.label}, seed {seed}, with its audit",
                place=run_of(plan, entry, number, seed),
                function=_judged,
                arguments=(plan, entry, number, seed, reference),
            )


def _others(plan: Plan, retrained: Mapping[int, Path]) -> Iterator[Job]:
    """The audits of methods that are in the folder and were not named this time."""
    named = {entry.label for entry in plan.entries}
    for row in plan.earlier.get("rows", []):
        if row["model"] == STUDENT and row["label"] not in named and row["status"] == "finished":
            run = plan.out / row["run"]
            yield Job(
                name=f"audit of {row['label']}, seed {row['seed']}",
                place=run,
                function=audited,
                arguments=(plan, run, retrained[row["seed"]]),
            )


def _judged(plan: Plan, entry: Entry, number: int, seed: int, reference: Path) -> None:
    audited(plan, unlearned(plan, entry, number, seed), reference)


def _after(plan: Plan, workers: Engine, jobs: Sequence[Job]) -> Plan:
    """The plan when its jobs have ended, with what failed: an audit if the run itself is complete."""
    ended = {done.job.place: done.error for done in run_jobs(workers, jobs)}
    errors = {place: error for place, error in ended.items() if error is not None}
    failed = {place / AUDIT_JSON if is_complete(place) else place: error for place, error in errors.items()}
    return replace(plan, failed={**plan.failed, **failed})
