"""The command `compose`: one model from two unlearned ones."""

from __future__ import annotations

from typing import Annotated

import typer

from mu_monai.cli.finished import finished
from mu_monai.cli.options import (
    Device,
    MovedSplit,
    OutRun,
    Quiet,
    Resume,
    RunBundle,
    RunDir,
    Settings,
    TeacherFile,
    TrustConfig,
    trust,
)


def compose(
    good_retain: RunDir,
    good_forget: RunDir,
    out: OutRun,
    how: Annotated[
        str,
        typer.Option(
            help="head: features of the first, head of the second; weights: interpolated; adapters: added up."
        ),
    ] = "head",
    share: Annotated[
        float | None, typer.Option(help="Share of the second run in weights or adapters, in [0, 1]; by default 0.5.")
    ] = None,
    fine_tune: Annotated[str, typer.Option(help="What trains on retain cases afterwards: all, or head.")] = "all",
    settings: Settings = None,
    resume: Resume = False,
    device: Device = None,
    quiet: Quiet = False,
    split: MovedSplit = None,
    teacher: TeacherFile = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Compose a run that retains well with one that forgets well, then fine-tune it on retain cases.

    Example: mu-monai compose runs/gentle runs/strong --out runs/composed
    """
    from mu_monai import workflow

    run = workflow.compose(
        good_retain,
        good_forget,
        out=out,
        how=how,
        share=share,
        fine_tune=fine_tune,
        settings=settings or [],
        resume=resume,
        device=device,
        quiet=quiet,
        split=split,
        teacher=teacher,
        trust=trust(bundle, trust_config),
    )
    finished(run)
