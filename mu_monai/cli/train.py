"""The command `train`: train a bundle's network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.finished import finished
from mu_monai.cli.options import (
    Bundle,
    Device,
    ForgetClasses,
    ForgetImagesGone,
    OutRun,
    Overlays,
    Processes,
    Quiet,
    Resume,
    Settings,
    SplitFile,
    listed,
    only_without,
    several,
)
from mu_monai.errors import raise_if_any


def train(
    bundle: Bundle,
    out: OutRun,
    split: SplitFile = None,
    subsets: Annotated[
        str, typer.Option(help="What to train on: retain,forget (the teacher) or retain (the retrained model).")
    ] = "retain,forget",
    forget_class: ForgetClasses = None,
    forget_images_gone: ForgetImagesGone = False,
    base: Annotated[
        Path | None,
        typer.Option(
            help="Frozen weights or a run, on which adapters are trained in shards; it must not know who may withdraw."
        ),
    ] = None,
    shards: Annotated[
        int | None, typer.Option(help="With --base: how many shards of patients to train adapters for.")
    ] = None,
    shard_by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="With --base: the column of the split that decides the shard, such as site."
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validate: train so many models, each without a fold of the patients.")
    ] = None,
    settings: Settings = None,
    overlay: Overlays = None,
    resume: Resume = False,
    device: Device = None,
    processes: Processes = 1,
    quiet: Quiet = False,
) -> None:
    """Train a bundle's network: the teacher, or with --subsets retain or --forget-class the retrained model.

    Example: mu-monai train isic --split split.json --out runs/teacher

    Example: mu-monai train isic --split split.json --folds 5 --out runs/folds

    Example: mu-monai train isic --split split.json --base public.pt --shards 8 --out runs/sharded
    """
    from mu_monai import workflow

    whole: dict[str, object] = {"--forget-class": forget_class, "--forget-images-gone": forget_images_gone}
    if base is not None or shards is not None or shard_by is not None:
        raise_if_any(only_without({**whole, "--folds": folds, **several(processes)}, "training in shards"))
        run = workflow.train_shards(
            bundle,
            split=split,
            base=base,
            out=out,
            shards=shards,
            shard_by=shard_by,
            subsets=listed(subsets),
            settings=settings or [],
            overlays=overlay or [],
            resume=resume,
            device=device,
            quiet=quiet,
        )
        finished(run)
        return
    if folds is not None:
        raise_if_any(only_without({**whole, **several(processes)}, "--folds"))
        for run in workflow.train_folds(
            bundle,
            split=split,
            folds=folds,
            out=out,
            subsets=listed(subsets),
            settings=settings or [],
            overlays=overlay or [],
            resume=resume,
            device=device,
            quiet=quiet,
        ):
            finished(run)
        return
    run = workflow.train(
        bundle,
        split=split,
        out=out,
        subsets=listed(subsets),
        forget_classes=forget_class or [],
        forget_images_gone=forget_images_gone,
        settings=settings or [],
        overlays=overlay or [],
        resume=resume,
        device=device,
        processes=processes,
        quiet=quiet,
    )
    finished(run)
