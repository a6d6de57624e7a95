"""A run folder for a model that was not unlearned here, so that it can be audited like one that was."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from mu_monai.adapters import read_weights, weights_sha256, write_tensors
from mu_monai.bundle import open_bundle
from mu_monai.bundle.config import run_config
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import STRANGER, Trust, inherited
from mu_monai.errors import collect, raise_if_any
from mu_monai.files import file_sha256, write_json
from mu_monai.keys import CONFIG_JSON, FORGET, MODEL_PT, RETAIN, STUDENT, TEACHER, TEST
from mu_monai.lock import writes
from mu_monai.runs import RunRecord, file_digests, is_run, run_of, scores_file, write_record
from mu_monai.runs.record import AUDIT, FINISHED, Digests, MadeWith, Parameters
from mu_monai.runs.scores import read_scores, task_of
from mu_monai.runs.stamp import command_line, package_versions, told_split
from mu_monai.workflow.auditing.inputs import unscored_problems
from mu_monai.workflow.checks import device_problems, place_problems, reading_problems, usable_split, weight_problems
from mu_monai.workflow.options import AuditOptions
from mu_monai.workflow.recipe import common_options, reading_options

_PACKAGES = ("mu-monai", "torch", "monai")


@writes("out")
def adopt(
    bundle: str | Path,
    *,
    weights: str | Path,
    split: str | Path,
    out: str | Path,
    teacher: str | Path | None = None,
    options: AuditOptions = AuditOptions(),  # noqa: B008 - frozen
    trust: Trust = STRANGER,
) -> Path:
    """Score every case of a split under given weights, and write a run folder of the role `student`.

    Network, transforms, image size and loss are taken from the first of `weights`, `teacher` and the first reference
    that is a run folder; if none is, from the bundle.

    Args:
        bundle: folder, or name of a shipped bundle.
        weights: the weights file or run folder of the model.
        split: the `split.json` that says which patients the model should forget.
        out: the run folder to make.
        teacher: the original model's weights or run folder; its cases are scored as well.
        options: options of the audit that follows; they are checked before anything is scored.
        trust: how far run folders are trusted.

    Returns:
        the run folder: `run.json` with the verb `audit`, `config.json`, `model.pt`, `scores.csv` and `examples.npz`.

    Raises:
        InputError: every problem of the input, before anything is scored.
    """
    out = Path(out)
    config = LayeredConfig(open_bundle(bundle), "evaluate")
    models = {role: path for role, path in ((TEACHER, teacher), (STUDENT, weights)) if path is not None}
    runs = [run_of(path) for path in (weights, teacher, *options.references[:1]) if path]
    source = next((path for path in runs if (path / CONFIG_JSON).is_file()), None)
    if source is not None:
        config.lay("run", inherited(source, config.bundle, trust=trust))
    files = {role: str(_file(path)) for role, path in models.items()}
    config.lay("options", common_options(config.bundle, split, options.device))
    config.lay("options", {"weights": files, "run_dir": str(out)})
    opened, broken = usable_split(split, [RETAIN, FORGET, TEST])
    config.lay("options", reading_options(opened, config))
    parser = config.read()
    raise_if_any(
        broken
        + collect(
            lambda: reading_problems(opened, config),
            lambda: _target_problems(out),
            lambda: place_problems({"--out": out, "--split": split, "BUNDLE": config.bundle.place}),
            lambda: place_problems({f"the weights of the {role}": _file(path) for role, path in models.items()}),
            lambda: device_problems(options.device),
            *(lambda path=path: weight_problems(parser, path) for path in models.values()),
            lambda: unscored_problems(out, opened, options),
        )
    )
    assert opened is not None  # otherwise it is broken
    began, started = time.monotonic(), datetime.now(UTC)
    run_config(config.files, config.overrides)
    states = {role: read_weights(path) for role, path in models.items()}
    write_tensors(out / MODEL_PT, states[STUDENT])
    write_json(out / CONFIG_JSON, {key: value for key, value in parser.get().items() if key != "_meta_"})
    digests = {role: weights_sha256(state) for role, state in states.items()}
    total = sum(value.numel() for value in states[STUDENT].values())
    record = RunRecord(
        verb=AUDIT,
        status=FINISHED,
        role=STUDENT,
        bundle=MadeWith(
            name=parser.get("bundle_name"),
            version=config.bundle.version,
            task=task_of(read_scores(scores_file(out))),
            root=str(config.bundle.place),
        ),
        device=options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        versions=package_versions(*_PACKAGES),
        sha256=Digests(
            split=opened.sha256,
            config=file_sha256(out / CONFIG_JSON),
            starting_weights=digests.get(TEACHER),
            weights=digests[STUDENT],
        ),
        split=told_split(opened.path, opened.content),
        teacher=files.get(TEACHER),
        parameters=Parameters(base=total, total=total, coverage="not known"),
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 3),
        command=command_line(),
        files=file_digests(out),
    )
    write_record(out, record)  # last: without it, the folder is not a run
    return out


def _file(path: str | Path) -> Path:
    path = Path(path).resolve()
    return path / MODEL_PT if path.is_dir() else path


def _target_problems(out: Path) -> list[str]:
    if is_run(out):
        return [f"--out '{out}' is already a run; audit it without --weights and --split: mu-monai audit {out}"]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return [f"--out '{out}' exists; give another folder, where the scores of the model are written as a run"]
    return []
