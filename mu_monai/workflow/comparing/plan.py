"""The plan of a comparison: methods, settings to try, seeds and models, all checked before anything is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.bundle import Bundle, open_bundle
from mu_monai.bundle.config import parse_settings, read_config, unknown_ids
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import SEPARATOR, STRANGER, Trust
from mu_monai.errors import collect, did_you_mean, raise_if_any, unless_raised
from mu_monai.files import file_sha256, link_problems, read_json
from mu_monai.keys import FORGET, RETAIN, RETRAINED, SUBSETS, TEACHER, TEST
from mu_monai.methods import UnlearningMethod
from mu_monai.methods.registry import method_named, registered
from mu_monai.runs import is_run, open_run, run_of
from mu_monai.workflow.auditing.attacking import chosen_attacks
from mu_monai.workflow.auditing.inputs import copy_problems, other_problems
from mu_monai.workflow.checks import device_problems, number_problems, place_problems, usable_split, weight_problems
from mu_monai.workflow.options import ALL, CompareOptions
from mu_monai.workflow.recipe import milestone_options, needs_milestones, own_settings, recipe_of
from mu_monai.workflow.trained_alike import unlearning_digest
from mu_monai.workflow.unlearning import method_problems, teacher_file, trained_otherwise
from mu_monai.workflow.workers.workers import worker_problems

COMPARISON_JSON = "comparison.json"
SHAPE = {
    "identity": dict,
    "seeds": [int],
    "trials": [{"label": str, "number": int}],
    "rows": [{"seed": int, **dict.fromkeys(("label", "model", "paper", "status", "run"), str)}],
}
TRIALS = 4
_TOLD = ("source", "phantom", "selector", "group_by", "seed", "counts")  # keys of the split's provenance
_TWO_RUNS = "two runs"
_NEVER = 10**6  # epochs between scores: only the last epoch is scored, so that times are those of unlearning


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One method in a comparison.

    Args:
        label: its name, with `:preset` if a preset was requested.
        trials: the settings to choose among, as `KEY=VALUE`.
    """

    label: str
    trials: tuple[tuple[str, ...], ...]

    @property
    def method(self) -> str:
        """The name of the method."""
        return self.label.partition(":")[0]

    @property
    def preset(self) -> str | None:
        """The bundle's preset; None for the method's own settings."""
        return self.label.partition(":")[2] or None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The methods to compare, and the models to compare them with.

    Args:
        bundle: the bundle.
        split: the split file.
        told: what the results report about how the split was made.
        teacher: the run folder or weights of the original model.
        out: the folder of the comparison.
        entries: the methods.
        left_out: the methods that are not compared, with the reason.
        options: how they are compared, including the folder's own seeds and attacks.
        trust: how far the teacher's run is trusted; its bundle is the one that is compared.
        earlier: the content of the folder's `comparison.json`; empty for a new folder.
        failed: why workers could not make runs and audits, by run folder and audit file; they are not tried again.
    """

    bundle: Bundle
    split: Path
    told: Mapping[str, Any]
    teacher: Path
    out: Path
    entries: tuple[Entry, ...]
    left_out: Mapping[str, str]
    options: CompareOptions
    trust: Trust
    earlier: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[Path, Exception] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        """The folder of retrained models."""
        return self.out / RETRAINED if self.options.cache is None else Path(self.options.cache)

    @property
    def references(self) -> list[Path]:
        """Runs of retrained models; empty to train one for each seed."""
        return [Path(folder) for folder in self.options.references]

    @property
    def read(self) -> dict[str, Path]:
        """The files and folders that are read, by option."""
        parts = self.bundle.parts
        bundle = self.bundle.configs / "metadata.json" if parts is None else parts.config.files[0]
        return {"--split": self.split, "--teacher": Path(teacher_file(self.teacher)), "BUNDLE": bundle}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What all results in a comparison's folder have in common."""
        files = self.bundle.files("unlearn", self.options.overlays)
        return {
            "bundle": read_config(files).get("bundle_name"),
            "split": file_sha256(self.split),
            "teacher": weights_sha256(read_weights(self.teacher)),
            "settings": parse_settings(self.options.settings),
            "overlays": [file_sha256(file) for file in files[1:]],
            "config": unlearning_digest(self.bundle, self.options.overlays),
        }


def read_plan(
    bundle: str | Path,
    *,
    split: str | Path,
    teacher: str | Path,
    out: str | Path,
    options: CompareOptions,
    trust: Trust = STRANGER,
) -> Plan:
    """Read and check what a comparison starts from; the arguments are those of `compare`.

    Raises:
        InputError: every problem.
    """
    found, fixed, teacher = open_bundle(bundle), parse_settings(options.settings), run_of(teacher)
    own = LayeredConfig(found, "unlearn", overlays=options.overlays).read()
    file = Path(out) / COMPARISON_JSON
    raise_if_any(link_problems(out))
    earlier = read_json(file, SHAPE) if file.is_file() else {}
    raise_if_any(_label_problems(file, earlier))
    task = own.get("method")["task"]
    names, left_out = _chosen(options.methods, task, teacher)
    quiet = [] if "score_interval" not in own or "score_interval" in fixed else [f"score_interval={_NEVER}"]
    attacks = earlier.get("attacks", [])
    opened, broken = usable_split(split, SUBSETS if options.trials > 1 else (RETAIN, FORGET, TEST))
    known = {} if opened is None else opened.provenance.content
    plan = Plan(
        bundle=found,
        split=Path(split),
        told={name: known[name] for name in _TOLD if name in known},
        teacher=Path(teacher),
        out=Path(out),
        entries=tuple(Entry(label=name, trials=_trials(name, options.trials, fixed)) for name in names),
        left_out=left_out,
        options=replace(
            options,
            seeds=list(dict.fromkeys([*earlier.get("seeds", []), *options.seeds])),
            attacks=attacks,
            settings=[*quiet, *options.settings],
        ),
        trust=replace(trust, bundle=bundle),
        earlier=earlier,
    )
    raise_if_any(
        collect(
            lambda: [text for name in names for text in _name_problems(plan, name, task)],
            lambda: list(_number_problems(plan, options, fixed)),
            lambda: broken or trained_otherwise(opened, teacher),
            lambda: _teacher_problems(plan, own.get("bundle_name")),
            lambda: _reference_problems(plan, own.get("bundle_name")),
            lambda: place_problems({"--out": out, "--split": split, "--teacher": teacher, "--cache": options.cache}),
            lambda: device_problems(options.device),
            lambda: unless_raised(chosen_attacks(options.attacks)),
            lambda: worker_problems(options.workers, options.gpus_per_job),
        )
    )
    raise_if_any(_folder_problems(plan))
    chosen = chosen_attacks([*attacks, *options.attacks])
    return replace(plan, options=replace(plan.options, attacks=chosen))


def _label_problems(file: Path, earlier: Mapping[str, Any]) -> Iterator[str]:
    """Which rows of an earlier comparison name no known method: their labels go into the page and the LaTeX table."""
    labels = dict.fromkeys(row["label"] for key in ("rows", "trials") for row in earlier.get(key, []))
    for label in labels:
        method, colon, preset = label.partition(":")
        named = method_named(method) is not None and (not colon or re.fullmatch(r"[\w-]+", preset))
        if label not in (TEACHER, RETRAINED) and not named:
            yield (
                f"'{file}' has the label {label!r}, which is not a known method: its package is not installed, or the "
                "file is damaged; install the package, or start a new comparison"
            )


def _chosen(methods: Sequence[str], task: str, teacher: str | Path | None) -> tuple[list[str], dict[str, str]]:
    """The requested names, in their order; if all were requested, also why some are left out."""
    left_out, able = {}, []
    if ALL in methods:
        reasons = {name: _unfit(kind, task, teacher) for name, kind in registered().items()}
        left_out = {name: reason for name, reason in reasons.items() if reason and name not in methods}
        able = [name for name in reasons if name not in left_out]
    return list(dict.fromkeys([*able, *(name for name in methods if name != ALL)])), left_out


def _unfit(kind: type[UnlearningMethod], task: str, teacher: str | Path | None) -> str:
    """Why a method cannot be compared; empty if it can."""
    if task not in kind.tasks:
        return f"it cannot forget in a {task} task"
    if needs_milestones(kind) and not milestone_options(kind, teacher, None):
        return "it starts from the weights of an earlier epoch, and the teacher's run kept none"
    return "it starts from two finished runs" if _TWO_RUNS in kind.needs else ""


def _trials(label: str, number: int, fixed: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """The settings to choose among; those that the user has fixed are not varied, so there may be fewer."""
    method = method_named(label.partition(":")[0])
    found = [{k: v for k, v in trial.items() if k not in fixed} for trial in method.trials[:number]] if method else []
    unique = [trial for place, trial in enumerate(found) if trial not in found[:place]]
    return tuple(
        tuple(f"{key.replace(SEPARATOR, '#')}={json.dumps(value)}" for key, value in trial.items()) for trial in unique
    )


def _name_problems(plan: Plan, label: str, task: str) -> list[str]:
    """Why a method cannot be compared as requested."""
    name, _, preset = label.partition(":")
    kind = method_named(name)
    if kind is None:
        known = registered()
        listed = ", ".join((ALL, *(other for other in known if not _unfit(known[other], task, plan.teacher))))
        return [f"method '{name}' is not known; use some of {listed}{did_you_mean(name, known)}"]
    unfit = _unfit(kind, task, plan.teacher)
    if unfit:
        return [f"method '{name}' cannot be compared here: {unfit}; omit it"]
    tuned = own_settings(plan.bundle, name)
    problems = method_problems(name, preset or None, tuned)
    if problems:
        return problems
    base, overlays = tuned or plan.bundle.preset(preset or None), plan.options.overlays
    config = LayeredConfig(plan.bundle, "unlearn", presets=base, overlays=overlays)
    made = {} if tuned else recipe_of(kind, plan.bundle, config.read())
    if made and preset:
        return [f"'{label}': presets belong to the bundle's own method, and '{name}' is another one; omit ':{preset}'"]
    config.lay("recipe", made)
    return [f"{text} (of {label})" for text in unknown_ids(config.read(), list(parse_settings(plan.options.settings)))]


def _number_problems(plan: Plan, given: CompareOptions, fixed: Mapping[str, Any]) -> Iterator[str]:
    """Why the numbers of trials, seeds or methods are not allowed."""
    if not 1 <= given.trials <= TRIALS:
        yield f"--trials {given.trials} is not allowed; use 1 to {TRIALS} settings per method"
    if not given.seeds or min(given.seeds) < 0 or len(set(given.seeds)) < len(given.seeds):
        listed = ",".join(map(str, given.seeds))
        yield f"--seeds {listed or 'of none'} is not allowed; use distinct seeds of 0, 1, 2 ..., such as 0,1,2"
    if not plan.entries:
        yield "--methods is empty; use all, or names separated by commas"
    yield from (
        f"--set {name}= contradicts the comparison; use --{name}s" for name in ("seed", "method") if name in fixed
    )
    yield from number_problems(fixed)


def _teacher_problems(plan: Plan, bundle: str) -> list[str]:
    """Why the original model cannot be used: its weights, or its training, which the retrained models repeat."""
    file = teacher_file(plan.teacher)
    foreign = _bundle_problems("--teacher", [plan.teacher], bundle) if is_run(plan.teacher) else []
    if foreign:
        return foreign
    if not is_run(plan.teacher) or open_run(plan.teacher).record.verb != "train":
        if not plan.references:
            return [
                f"how the teacher '{plan.teacher}' was trained is not known, so no model can be retrained the same "
                "way; give the folder of its training run, or retrained models as --reference"
            ]
        config = LayeredConfig(plan.bundle, "unlearn", overlays=plan.options.overlays)
        config.lay("settings", parse_settings(plan.options.settings))
        return weight_problems(config.read(), file)
    return []


def _reference_problems(plan: Plan, bundle: str) -> Iterator[str]:
    if not plan.references:
        return
    if len(plan.references) not in (1, len(plan.options.seeds)):
        yield (
            f"--reference is given {len(plan.references)} times for {len(plan.options.seeds)} seeds "
            f"({', '.join(map(str, plan.options.seeds))}); give one retrained model for all seeds, or one for each"
        )
    yield from _bundle_problems("--reference", plan.references, bundle)
    if plan.split.is_file():
        yield from other_problems(plan.references, RETRAINED, file_sha256(plan.split), "--reference")
    yield from copy_problems("--reference", plan.references, {})


def _bundle_problems(option: str, folders: Sequence[Path], bundle: str) -> list[str]:
    """Which runs were made with another bundle, whose network, images or loss differ."""
    names = {folder: open_run(folder).record.bundle.name for folder in folders}
    return [
        f"{option} '{folder}' is a run of the bundle '{name}', and the comparison uses '{bundle}'; give a run of that "
        "bundle"
        for folder, name in names.items()
        if name != bundle
    ]


def _folder_problems(plan: Plan) -> Iterator[str]:
    """Why the folder cannot take the results; one with the same comparison is continued."""
    if not plan.earlier:
        if plan.out.is_file() or (plan.out.is_dir() and any(plan.out.iterdir())):
            yield f"'{plan.out}' holds files and is not a comparison; give a new folder as --out"
        return
    before, now = plan.earlier["identity"], json.loads(json.dumps(plan.identity))
    advice = "give another --out, or the same as before"
    for name, value in now.items():
        if name != "settings" and before.get(name, value) != value:
            yield f"'{plan.out}' is a comparison of another {name}; {advice}"
    changed = _changed(before.get("settings", {}), now["settings"])
    if changed:
        yield f"'{plan.out}' is a comparison with other settings ({changed}); {advice}"


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which `--set` options differ; ids that a comparison sets by itself do not count."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    shown = [{key: found[key] for key in keys if found.get(key) not in (None, _NEVER)} for found in (before, now)]
    return "; ".join(
        f"{key.replace(SEPARATOR, '#')} was {shown[0].get(key, 'not set')}, now {shown[1].get(key, 'not set')}"
        for key in keys
    )
