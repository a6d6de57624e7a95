"""The command `rollback`: back to a fold that never saw the forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.finished import finished
from mu_monai.cli.options import (
    Device,
    ForgetImagesGone,
    OutRun,
    Quiet,
    Resume,
    RunBundle,
    TrustConfig,
    trust,
)


def rollback(
    folds: Annotated[
        Path, typer.Option(help="The folder that train --folds wrote; with --plan also folds of nnU-Net or Auto3DSeg.")
    ],
    split: Annotated[Path, typer.Option(help="A split.json with whom to forget, made from the cross-validation's.")],
    out: OutRun,
    teacher: Annotated[
        Path | None, typer.Option(help="The run in use now, to compare with; by default a fold that saw them.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Train the fold's model on with retained cases, for this share of its training."),
    ] = None,
    forget_images_gone: ForgetImagesGone = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say which fold never saw them.")] = False,
    resume: Resume = False,
    device: Device = None,
    quiet: Quiet = False,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Go back to the model of a fold that never saw the forgotten patients, as a run like any other.

    Example: mu-monai rollback --folds runs/folds --split request.json --out runs/rolled-back
    """
    from mu_monai import workflow

    run = workflow.rollback(
        folds,
        split=split,
        out=out,
        teacher=teacher,
        budget=budget,
        forget_images_gone=forget_images_gone,
        plan=plan,
        resume=resume,
        device=device,
        quiet=quiet,
        trust=trust(bundle, trust_config),
    )
    if not plan:
        finished(run)
