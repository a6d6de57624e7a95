"""Compose one model from two unlearned models of the same teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mu_monai.bundle import Bundle
from mu_monai.bundle.config import parse_settings, run_config, unknown_ids
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import STRANGER, Trust, inherited
from mu_monai.data import Split, read_split
from mu_monai.errors import collect, raise_if_any
from mu_monai.keys import ADAPTER_DIR, MODEL_PT, RETAIN, STUDENT, TEACHER
from mu_monai.lock import writes
from mu_monai.methods import METHODS
from mu_monai.runs import Run, RunRecord, open_run
from mu_monai.runs.record import GONE
from mu_monai.workflow.checks import changed_problems, device_problems, number_problems, place_problems, usable_split
from mu_monai.workflow.evaluating import scored_instead
from mu_monai.workflow.moved import gone_problems, moved
from mu_monai.workflow.recipe import common_options, recipe_of
from mu_monai.workflow.unlearning import teacher_file

_METHOD = next(method for method in METHODS.values() if "two runs" in method.needs)


@writes("out")
def compose(
    good_retain: str | Path,
    good_forget: str | Path,
    *,
    out: str | Path,
    how: str = "head",
    share: float | None = None,
    fine_tune: str = "all",
    settings: Sequence[str] = (),
    resume: bool = False,
    device: str | None = None,
    quiet: bool = False,
    split: str | Path | None = None,
    teacher: str | Path | None = None,
    trust: Trust = STRANGER,
) -> Path:
    """Compose a model from two finished unlearning runs, fine-tune it on retain cases, and score every case.

    Both runs must have the same bundle, split, teacher, network, transforms and loss; the composed run has these too.

    Args:
        good_retain: folder of the run whose features are kept.
        good_forget: folder of the run whose head, or share of the weights, is taken.
        out: the run folder to make.
        how: `head`, `weights` or `adapters`, see `mu_monai.methods.Composition`.
        share: the share of `good_forget`, in [0, 1]; by default 0.5.
        fine_tune: `all` weights, or only the `head`.
        settings: `KEY=VALUE` overrides of config ids, such as `max_epochs=2`.
        resume: continue an interrupted run.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        quiet: no progress bar.
        split: the split file of both runs, if it is no longer where they found it.
        teacher: the teacher's weights or run folder, if they are no longer where the runs found them.
        trust: how far the runs are trusted.

    Returns:
        the run folder.

    Raises:
        InputError: every problem of the input, before anything is trained: runs that are not finished, did not unlearn
            patients, or differ in teacher, split, bundle, network or transforms; weights that have changed.
    """
    if resume and scored_instead(out, device, trust, split=split, teacher=teacher):
        return Path(out)
    folders = [Path(good_retain).resolve(), Path(good_forget).resolve()]
    uses = (MODEL_PT, ADAPTER_DIR)
    runs: list[Run] = []
    raise_if_any(collect(*(lambda folder=folder: runs.append(open_run(folder, *uses)) for folder in folders)))
    given = teacher_file(teacher) if teacher else None
    runs = [replace(run, record=moved(run.record, split=split, teacher=given)) for run in runs]
    raise_if_any(collect(*(lambda run=run: gone_problems(run.folder, run.record) for run in runs)))
    record, other = (run.record for run in runs)
    bundle, file = trust.bundle_of(record), record.split.file
    config, overrides = LayeredConfig(bundle, "unlearn"), parse_settings(settings)
    config.lay("recipe", recipe_of(_METHOD, bundle, config.read()))
    parser = config.read()
    chosen: dict[str, Any] = {"method::good_retain": str(folders[0]), "method::good_forget": str(folders[1])}
    chosen |= {"method::how": how, "method::fine_tune": fine_tune} | ({} if share is None else {"method::share": share})
    config.lay("options", {"run_dir": str(out), "resume": resume, "quiet": quiet, "teacher": record.teacher} | chosen)
    config.lay("options", common_options(bundle, file, device))
    config.lay("settings", overrides)
    opened, broken = usable_split(file, [RETAIN])
    raise_if_any(
        collect(
            lambda: [text for run in runs for text in _parent_problems(run)],
            lambda: _pair_problems(folders, record, other),
            lambda: list(unknown_ids(parser, list(overrides))),
            lambda: _share_problems(how, share),
            lambda: broken,
            lambda: [text for run in runs for text in _changed(run, Path(file), opened)],
            lambda: _config_problems(folders, bundle, trust),
            lambda: place_problems({"--out": out, "GOOD_RETAIN": good_retain, "GOOD_FORGET": good_forget}),
            lambda: place_problems({"the split": file, "the teacher": record.teacher, "the bundle": bundle.place}),
            lambda: device_problems(device),
            lambda: number_problems(config.overrides),
        )
    )
    config.lay("run", inherited(folders[0], bundle, trust=trust))
    run_config(config.files, config.overrides)
    return Path(out)


def _parent_problems(run: Run) -> Iterator[str]:
    folder, record = run.folder, run.record
    if record.role != STUDENT:
        yield f"'{folder}' is the run of {record.whose}; compose two unlearning runs"
    elif record.forget_classes:
        yield (
            f"'{folder}' forgot the classes {', '.join(record.forget_classes)} in every case; compose runs that "
            "forgot patients"
        )
    elif record.forget_images == GONE:
        yield (
            f"'{folder}' was made when the images of the forget cases were gone, and a composition is measured on "
            "them; compose runs that had them"
        )
    elif not record.teacher:
        yield f"'{folder}' does not name its teacher; compose runs that 'mu-monai unlearn' made"


def _pair_problems(folders: Sequence[Path], first: RunRecord, second: RunRecord) -> Iterator[str]:
    if folders[0] == folders[1]:
        yield f"'{folders[0]}' is given twice; compose two runs, one that retains well and one that forgets well"
    compared = {
        "starting weights": lambda record: record.sha256.starting_weights,
        "split": lambda record: record.sha256.split,
        "bundle": lambda record: record.bundle.name,
    }
    for what, value in compared.items():
        if value(first) != value(second):
            yield (
                f"'{folders[0]}' and '{folders[1]}' differ in their {what} ({value(first)}, {value(second)}); compose "
                "runs of the same teacher on the same split"
            )


def _config_problems(folders: Sequence[Path], bundle: Bundle, trust: Trust) -> list[str]:
    """The config ids that decide how the models are used and differ between the runs."""
    first, second = (inherited(folder, bundle, trust=trust) for folder in folders)
    return [
        f"config id '{key}' is {first.get(key)!r} in '{folders[0]}' and {second.get(key)!r} in '{folders[1]}'; compose "
        "runs whose models are used the same way"
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    ]


def _share_problems(how: str, share: float | None) -> list[str]:
    if share is None or how != "head":
        return []
    return [f"--share {share} has no effect with --how head, which takes the whole head; omit it, or use another --how"]


def _changed(run: Run, file: Path, opened: Split | None) -> list[str]:
    """What has changed since the run was made: its own weights, its teacher's, or its split.

    Args:
        run: one of the two runs.
        file: the split file in use.
        opened: its content; None if it is broken.
    """
    record = run.record
    if record.role != STUDENT:
        return []
    split = opened if Path(record.split.file) == file else read_split(record.split.file)
    weights = {STUDENT: str(run.weights), TEACHER: record.teacher}
    known = {role: path for role, path in weights.items() if path}
    return changed_problems(run.folder, record, split, known)
