"""The command `evaluate`: score a run's split again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import Device, RunBundle, RunDir, TrustConfig, trust
from mu_monai.cli.screen import show


def evaluate(
    run: RunDir,
    split: Annotated[
        Path | None, typer.Option(help="The split.json to use instead of the run's, if its files have moved.")
    ] = None,
    device: Device = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Score every case of a run's split again.

    Example: mu-monai evaluate runs/e2r
    """
    from mu_monai import workflow

    scores = workflow.evaluate(run, split=split, device=device, trust=trust(bundle, trust_config))
    show(f"scores: {scores}")
    show(workflow.summary(run), lines=True)
