"""The command `train`: train a bundle's network."""

from __future__ import annotations

from typing import Annotated

import typer

from mu_monai.cli.finished import finished
from mu_monai.cli.options import (
    Bundle,
    Device,
    ForgetClasses,
    OutRun,
    Overlays,
    Processes,
    Quiet,
    Resume,
    Settings,
    SplitFile,
    listed,
)


def train(
    bundle: Bundle,
    out: OutRun,
    split: SplitFile = None,
    subsets: Annotated[
        str, typer.Option(help="What to train on: retain,forget (the teacher) or retain (the retrained model).")
    ] = "retain,forget",
    forget_class: ForgetClasses = None,
    settings: Settings = None,
    overlay: Overlays = None,
    resume: Resume = False,
    device: Device = None,
    processes: Processes = 1,
    quiet: Quiet = False,
) -> None:
    """Train a bundle's network: the teacher, or with --subsets retain or --forget-class the retrained model.

    Example: mu-monai train isic --split split.json --out runs/teacher
    """
    from mu_monai import workflow

    run = workflow.train(
        bundle,
        split=split,
        out=out,
        subsets=listed(subsets),
        forget_classes=forget_class or [],
        settings=settings or [],
        overlays=overlay or [],
        resume=resume,
        device=device,
        processes=processes,
        quiet=quiet,
    )
    finished(run)
