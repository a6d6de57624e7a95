"""Make a trained model forget the split's forget cases."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from mu_monai.bundle import open_bundle
from mu_monai.bundle.config import parse_settings, sharing_data, unknown_ids
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import STRANGER, Trust, inherited
from mu_monai.data import Split
from mu_monai.errors import InputError, collect, did_you_mean, raise_if_any, unless_raised
from mu_monai.keys import FORGET, MODEL_PT, RETAIN, TEST, TRAINING_SUBSETS, VALIDATION
from mu_monai.lock import writes
from mu_monai.methods import UnlearningMethod
from mu_monai.methods.registry import imported, method_named, registered
from mu_monai.runs import is_run, read_record, run_of
from mu_monai.runs.record import GONE, training_passes
from mu_monai.workflow.bundling.trying import Trial, label_problems, trained_passes, tried
from mu_monai.workflow.checks import (
    class_problems,
    classes_to_forget,
    device_problems,
    is_own,
    mask_class_problems,
    number_problems,
    place_problems,
    reading_problems,
    usable_split,
    weight_problems,
)
from mu_monai.workflow.evaluating import scored_instead
from mu_monai.workflow.moved import own_split
from mu_monai.workflow.planning import planned
from mu_monai.workflow.recipe import (
    FORGET_CLASSES,
    FORGET_IMAGES_GONE,
    budget_options,
    budget_problems,
    class_options,
    common_options,
    configured,
    gone_options,
    gone_problems,
    milestone_options,
    milestone_problems,
    needs_milestones,
    own_settings,
    reading_options,
    recipe_of,
    target_problems,
)
from mu_monai.workflow.several import lay_several, overlays_for, run_together, several_problems

DEFAULT_METHOD = "shrink-and-restore"  # of a bundle that has no settings of its own: it needs no milestones
logger = logging.getLogger(__name__)


@writes("out")
def unlearn(
    bundle: str | Path,
    *,
    split: str | Path | None,
    teacher: str | Path | None,
    out: str | Path,
    method: str | None = None,
    preset: str | None = None,
    lora_targets: str | None = None,
    forget_classes: Sequence[str] = (),
    milestones: str | Path | None = None,
    budget: float | None = None,
    forget_images_gone: bool = False,
    settings: Sequence[str] = (),
    overlays: Sequence[str] = (),
    plan: bool = False,
    resume: bool = False,
    device: str | None = None,
    processes: int = 1,
    quiet: bool = False,
    trust: Trust = STRANGER,
) -> Path:
    """Unlearn the forget cases, or classes of all masks, with a method; score every case under teacher and student.

    If `teacher` is a run folder, network, transforms, image size and loss are those of that run.

    Args:
        bundle: folder, or name of a shipped bundle.
        split: a `split.json`; None for the bundle's built-in phantoms.
        teacher: a run folder or weights file; None for the bundle's own weights. The weights in a run folder stand for
            the run.
        out: the run folder to make.
        method: one of `mu_monai.workflow.methods()`; None for that of the preset, or of the bundle; for a bundle that
            was trained elsewhere, `shrink-and-restore`. Its settings
            come from the bundle's config with that name, if there is one.
        preset: one of the bundle's presets, such as `paper`, `paper-code` or `two-phase`; None for the bundle's own
            settings.
        lora_targets: the layers to adapt: a regular expression over full layer names, or `decoder`, `head` or `all`.
        forget_classes: classes of a mask to forget in all training cases, instead of the forget cases.
        milestones: a folder with the weights of earlier epochs; by default those that the teacher's run kept.
        budget: the most that the run may cost, as a share of the teacher's training in sample passes, in [0, 1].
        forget_images_gone: the images of the forget cases no longer exist, or must not be opened; for methods that do
            not need them. A resumed run is as it began.
        settings: `KEY=VALUE` overrides of config ids, such as `method#forget_weight=2`.
        overlays: config files laid over the bundle's, by path or by name in its `configs/`.
        plan: only say what the run would take, from a few steps in a temporary folder; `out` is not made.
        resume: continue an interrupted run.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        processes: how many processes of this machine run it together, each with a GPU of its own if there are any.
        quiet: no progress bar.
        trust: how far the teacher's run is trusted.

    Returns:
        the run folder.

    Raises:
        InputError: every problem of the input, before anything is trained.
    """
    teacher = None if teacher is None else run_of(teacher)
    began_without = resume and is_run(out) and read_record(out).forget_images == GONE
    source = open_bundle(bundle)
    method = method or (None if source.parts is None else DEFAULT_METHOD)
    kind = method_named(method)  # an unknown name is reported below, with all other problems
    tuned = own_settings(source, method if kind else None)
    raise_if_any(
        collect(
            lambda: unless_raised(tuned or source.preset(preset)),
            lambda: unless_raised(teacher is None or teacher_file(teacher)),
            lambda: unless_raised(parse_settings(settings)),
        )
    )
    overlays = [*overlays_for(processes, source, "unlearn"), *overlays]
    config = LayeredConfig(source, "unlearn", presets=tuned or source.preset(preset), overlays=overlays)
    config.lay("options", {"run_dir": str(out), "resume": resume, "quiet": quiet})
    start_from(config, teacher, lora_targets, trust)
    config.lay(
        "options",
        class_options(forget_classes)
        | gone_options(forget_images_gone or began_without)
        | common_options(source, split, device),
    )
    config.lay("settings", parse_settings(settings))
    if kind is not None and not tuned:
        config.lay("recipe", recipe_of(kind, source, config.read("recipe")))
    if resume and scored_instead(out, device, config.trusted(trust), split=split, teacher=teacher):
        return Path(out)
    used = kind or configured(config.read())
    config.lay("options", milestone_options(used, teacher, milestones))
    names = classes_to_forget(config.read("recipe"), config.overrides)
    gone = config.read().get(FORGET_IMAGES_GONE) is True
    opened, broken = usable_split(split, [RETAIN] if names else TRAINING_SUBSETS, forget_images_gone=gone)
    config.lay("options", reading_options(opened, config))
    trial, whole = _tried(config, opened, teacher)
    filled = budget_options(budget, used, whole, config, samples=trial.samples, processes=processes)
    config.lay("options", filled)
    lay_several(processes, config, "unlearn")
    parser, overrides = config.read("recipe"), config.overrides
    overrides |= _changed_preset(parser, overrides)
    problems = collect(
        lambda: method_problems(method, preset, tuned),
        lambda: (
            gone_problems(gone, used, names, parser)
            or class_problems(parser, overrides)
            or unknown_ids(parser, list(overrides))
        ),
        lambda: target_problems(lora_targets, parser),
        lambda: never_learned(names, teacher) + unable_problems(names, parser, overrides),
        lambda: broken or trained_otherwise(opened, teacher) + mask_class_problems(parser, overrides, opened),
        lambda: reading_problems(opened, config),
        lambda: place_problems({"--out": out, "--split": split, "--teacher": teacher, "BUNDLE": source.place}),
        lambda: place_problems({"--milestones": milestones}),
        lambda: milestone_problems(used, milestones, config) + budget_problems(budget, whole, teacher),
        lambda: device_problems(device),
        lambda: several_problems(processes, device, used, plan=plan),
        lambda: number_problems(overrides),
    )
    raise_if_any(problems or trial.problems)
    parser.update(overrides)
    raise_if_any(weight_problems(parser, parser.get_parsed_content("teacher")))
    _warn_of_condition(parser, opened, used)
    with sharing_data():
        raise_if_any(label_problems(trial, config))
        if plan:
            logger.info("%s", planned(config.files, overrides, whole))
        else:
            run_together(processes, config, overrides, out)
    return Path(out)


def start_from(config: LayeredConfig, teacher: str | Path | None, lora_targets: str | None, trust: Trust) -> None:
    """Lay a teacher's weights and what its run says of network and transforms, and the layers to adapt."""
    if teacher is not None:
        config.lay("run", inherited(teacher, config.bundle, overlays=config.overlays, trust=trust))
        config.lay("options", {"teacher": str(teacher_file(teacher).resolve())})
    if lora_targets is not None:
        config.lay("options", {"network::scope": lora_targets})


def _changed_preset(parser: ConfigParser, overrides: Mapping[str, Any]) -> dict[str, str]:
    """Another name for a preset whose settings are overridden."""
    changed = any(key.startswith(("method::", "network::")) for key in overrides)
    return {"preset": f"{parser.get('preset')}, changed"} if parser.get("preset") and changed else {}


def _tried(config: LayeredConfig, split: Split | None, teacher: str | Path | None) -> tuple[Trial, int | None]:
    """A case taken through an adopted bundle, and the sample passes of the teacher's training if known."""
    passes = training_passes(teacher)
    if config.bundle.parts is None or split is None:
        return Trial(), passes
    trial = tried(config)
    if passes is None:
        passes = trained_passes(trial, config, split)
        config.lay("options", {"teacher_passes": passes})
    return trial, passes


def _warn_of_condition(parser: ConfigParser, opened: Split | None, kind: type[UnlearningMethod] | None) -> None:
    """Warn that cases that are alike are not like unseen ones, which a run is led to or goes by."""
    if not _chosen_by_condition(opened):
        return
    if needs_milestones(kind):
        logger.warning(
            "the forget cases were chosen by a condition (--forget-where): the epoch is chosen by how well patients "
            "are told from unseen ones, and what the model had learned by then of cases like these, such as how a "
            "device looks, stays; compare with a retrained model (mu-monai audit --reference)"
        )
    if parser.get("method::stop_at") is not None:
        logger.warning(
            "the forget cases were chosen by a condition (--forget-where): a model that never saw them may do better "
            "or worse on them than on unseen cases, but this run moves their losses toward those of unseen cases; "
            "compare with a retrained model (mu-monai audit --reference)"
        )


def _chosen_by_condition(split: Split | None) -> bool:
    """Whether a split's forget cases share a property, such as a device or a diagnosis."""
    selector = None if split is None else split.provenance.selector
    return bool(selector and selector.get("kind") == "where")


def trained_otherwise(split: Split | None, teacher: str | Path | None) -> list[str]:
    """Why a split does not match the images that a teacher's run trained on.

    A case that was never trained on cannot be forgotten, and a case that was trained on is not unseen. This cannot be
    checked if the teacher is a bare weights file, or its split is missing or was written again.
    """
    if split is None or teacher is None or not is_run(teacher):
        return []
    run = read_record(teacher)
    before = split if is_own(run, split) else own_split(teacher, run)
    if before is None:
        logger.warning(
            "the split '%s' of the teacher '%s' does not exist, or another one was written in its place, so whether it "
            "was trained on the cases to forget, and not on validation and test, is not checked; put it back, or make "
            "the split from the teacher's own",
            run.split.file,
            teacher,
        )
        return []
    trained = {digest for subset in run.subsets for digest in before.digests(subset).values()}
    problems = [
        f"case '{case}' is to be forgotten, but the teacher '{teacher}' was not trained on it"
        for case, digest in split.digests(FORGET).items()
        if digest not in trained
    ]
    problems += [
        f"case '{case}' is in '{subset}', but the teacher '{teacher}' was trained on it; make the split from the "
        f"teacher's own: mu-monai split {before.path} --forget-ids ..."
        for subset in (VALIDATION, TEST)
        for case, digest in split.digests(subset).items()
        if digest in trained
    ]
    return problems


def never_learned(names: Sequence[str], teacher: str | Path | None) -> list[str]:
    """Why classes cannot be forgotten: a teacher's run left them out, or forgot them."""
    if teacher is None or not is_run(teacher):
        return []
    absent = read_record(teacher).forget_classes
    return [
        f"class '{name}' is to be forgotten, but the teacher '{teacher}' was itself made without it (its record: "
        f"{FORGET_CLASSES} {', '.join(absent)}); give a teacher that was trained on it"
        for name in names
        if name in absent
    ]


def unable_problems(names: Sequence[str], parser: ConfigParser, overrides: Mapping[str, Any]) -> list[str]:
    """Why a method cannot be used: its rule has no meaning for the task, or it cannot forget classes."""
    config = overrides.get("method") or parser.get("method")
    kind, task = imported(overrides.get("method::_target_", config["_target_"])), config.get("task")
    if kind is None:  # nothing is known about it
        return []
    problems = []
    if task not in kind.tasks:
        able = [name for name, other in registered().items() if task in other.tasks]
        problems.append(f"{kind.__name__} cannot forget in a {task} task; use one of {', '.join(able)}")
    if names and not kind.forgets_classes:
        able = [name for name, other in registered().items() if other.forgets_classes]
        problems.append(
            f"{kind.__name__} cannot forget classes ({', '.join(names)}), only cases; use a method that can "
            f"({', '.join(able)}), or forget cases"
        )
    return problems


def method_problems(method: str | None, preset: str | None = None, tuned: Sequence[str] = ()) -> list[str]:
    """Why a method's name is not known, with the nearest known one, or why it has no such preset.

    Args:
        method: the name; None for the bundle's method.
        preset: the name of the requested preset.
        tuned: the bundle's own settings for the method; presets only belong to the bundle's default method.
    """
    if method is not None and method_named(method) is None:
        known = registered()
        return [f"method '{method}' is not known; use one of {', '.join(known)}{did_you_mean(method, known)}"]
    if tuned and preset is not None:
        return [
            f"--preset {preset} and --method {method} contradict each other: the bundle has its own settings for "
            "this method; omit one of them"
        ]
    return []


def teacher_file(teacher: str | Path) -> Path:
    """The weights of a teacher, given as run folder or as file.

    Raises:
        InputError: if the folder or file has no weights.
    """
    path = Path(teacher)
    if path.is_dir():
        path = path / MODEL_PT
    if not path.is_file():
        raise InputError(f"teacher '{teacher}' has no weights ({path} is missing); give a finished run or a .pt file")
    return path
