"""The command `predict`: apply a run's model to images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import Device, OutFolder, RunBundle, RunDir, TrustConfig, trust
from mu_monai.cli.screen import show


def predict(
    run: RunDir,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Image files, or folders with one DICOM series each.")
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option("--split", help="Predict the test cases of a split.json, such as cases of several files."),
    ] = None,
    out: OutFolder = Path("predictions"),
    device: Device = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Write the predictions of a run's model: masks in the geometry of the images, or a table of classes.

    Example: mu-monai predict runs/e2r hospital/images/a.nii.gz hospital/images/c --out predictions
    """
    from mu_monai import workflow

    folder = workflow.predict(run, images, split=split, out=out, device=device, trust=trust(bundle, trust_config))
    show(f"predictions: {folder}")
