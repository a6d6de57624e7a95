"""The command `predict`: a run's model answers on images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import Device, OutFolder, RunBundle, RunDir, TrustConfig, trust
from mu_monai.cli.screen import show


def predict(
    run: RunDir,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of one DICOM series each.")],
    out: OutFolder = Path("predictions"),
    device: Device = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Write what a run's model answers on images: masks in their geometry, or a table of classes.

    Example: mu-monai predict runs/e2r hospital/images/a.nii.gz hospital/images/c --out predictions
    """
    from mu_monai import workflow

    said = trust(bundle, trust_config)
    show(f"predictions: {workflow.predict(run, images, out=out, device=device, trust=said)}")
