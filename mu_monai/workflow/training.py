"""Train a model on a split: the teacher, or on the retain cases alone, the retrained model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mu_monai.bundle import open_bundle
from mu_monai.bundle.config import parse_settings, sharing_data, unknown_ids
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.data import Split
from mu_monai.errors import collect, raise_if_any
from mu_monai.keys import RETAIN, TRAINING_SUBSETS
from mu_monai.lock import writes
from mu_monai.workflow.bundling.trying import label_problems, tried
from mu_monai.workflow.checks import (
    class_problems,
    device_problems,
    mask_class_problems,
    number_problems,
    place_problems,
    reading_problems,
    usable_split,
)
from mu_monai.workflow.evaluating import scored_instead
from mu_monai.workflow.recipe import (
    FORGET_IMAGES_GONE,
    class_options,
    common_options,
    gone_options,
    gone_unsupported,
    reading_options,
)
from mu_monai.workflow.several import lay_several, overlays_for, run_together, several_problems


@writes("out")
def train(
    bundle: str | Path,
    *,
    split: str | Path | None,
    out: str | Path,
    subsets: Sequence[str] = TRAINING_SUBSETS,
    forget_classes: Sequence[str] = (),
    forget_images_gone: bool = False,
    settings: Sequence[str] = (),
    overlays: Sequence[str] = (),
    resume: bool = False,
    device: str | None = None,
    processes: int = 1,
    quiet: bool = False,
) -> Path:
    """Train a bundle's network and score every case of the split.

    Args:
        bundle: folder, or name of a shipped bundle.
        split: a `split.json`; None for the bundle's built-in phantoms.
        out: the run folder to make.
        subsets: what to train on: `retain` and `forget` for the teacher, `retain` for the retrained model.
        forget_classes: classes of a mask to train without, for the retrained model of a run that forgets them.
        forget_images_gone: the images of the forget cases no longer exist, or must not be opened; for the retrained
            model.
        settings: `KEY=VALUE` overrides of config ids.
        overlays: config files laid over the bundle's, by path or by name in its `configs/`.
        resume: continue an interrupted run.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        processes: how many processes of this machine run it together, each with a GPU of its own if there are any.
        quiet: no progress bar.

    Returns:
        the run folder.

    Raises:
        InputError: every problem of the input, before anything is trained.
    """
    config, _, problems = prepared(
        bundle,
        split=split,
        options={"run_dir": str(out), "subsets": list(subsets), "resume": resume, "quiet": quiet}
        | gone_options(forget_images_gone),
        forget_classes=forget_classes,
        settings=parse_settings(settings),
        overlays=overlays,
        device=device,
        processes=processes,
    )
    raise_if_any(problems)
    if resume and scored_instead(out, device, config.trusted(), split=split):
        return Path(out)
    with sharing_data():
        raise_if_any(label_problems(tried(config), config))
        run_together(processes, config, config.overrides, out)
    return Path(out)


def prepared(
    bundle: str | Path,
    *,
    split: str | Path | None,
    options: Mapping[str, Any],
    forget_classes: Sequence[str] = (),
    settings: Mapping[str, Any],
    overlays: Sequence[str],
    device: str | None,
    processes: int = 1,
) -> tuple[LayeredConfig, Split | None, list[str]]:
    """The config of a training with everything laid over it, its split, and what is wrong with them.

    Args:
        bundle: folder, or name of a shipped bundle.
        split: a `split.json`; None for the bundle's built-in phantoms.
        options: those of the command, by config id: at least `run_dir` and `subsets`.
        forget_classes: classes of a mask to train without.
        settings: overrides by config id.
        overlays: config files laid over the bundle's.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        processes: how many processes run it together.

    Returns:
        the config; the split, or None if there is none or it cannot be used; and the problems.
    """
    source = open_bundle(bundle)
    config = LayeredConfig(source, "train", overlays=[*overlays_for(processes, source, "train"), *overlays])
    config.lay("options", options)
    config.lay("options", class_options(forget_classes) | common_options(config.bundle, split, device))
    config.lay("settings", settings)
    gone = options.get(FORGET_IMAGES_GONE) is True
    opened, broken = usable_split(split, [RETAIN], forget_images_gone=gone)
    config.lay("options", reading_options(opened, config))
    lay_several(processes, config, "train")
    parser, overrides = config.read("recipe"), config.overrides
    problems = collect(
        lambda: _subset_problems(options["subsets"], config),
        lambda: (
            (gone_unsupported(parser) if gone else [])
            or class_problems(parser, overrides)
            or unknown_ids(parser, list(overrides))
        ),
        lambda: broken or mask_class_problems(parser, overrides, opened) + reading_problems(opened, config),
        lambda: place_problems({"--out": options["run_dir"], "--split": split, "BUNDLE": config.bundle.place}),
        lambda: device_problems(device),
        lambda: several_problems(processes, device),
        lambda: number_problems(overrides),
    )
    return config, opened, problems


def _subset_problems(subsets: Sequence[str], config: LayeredConfig) -> Iterator[str]:
    """Why subsets cannot be trained on, or are not those that a file or a setting names."""
    if not subsets:
        yield f"--subsets is empty; use {' or '.join(TRAINING_SUBSETS)}, or both"
    for name in subsets:
        if name not in TRAINING_SUBSETS:
            yield f"--subsets {name} cannot be trained on; use {' or '.join(TRAINING_SUBSETS)}"
    overlay = config.laid("overlay").get("subsets", subsets)
    named = overlay if overlay != subsets else config.read().get("subsets")
    if named != subsets:
        yield (
            f"--set or --overlay has subsets={json.dumps(named)}, and --subsets is {','.join(subsets)}; say with "
            "--subsets alone what to train on"
        )
