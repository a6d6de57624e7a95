"""The command `demo`: the whole workflow on phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import OutFolder, Quiet
from mu_monai.cli.screen import show


def demo(
    out: OutFolder = Path("mu-monai-demo"),
    volume: Annotated[bool, typer.Option("--volume", help="CT-like volumes instead of images of lesions.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole workflow on built-in phantoms: split, train, retrain, unlearn, audit, report.

    Example: mu-monai demo --out demo
    """
    from mu_monai import workflow

    show(f"report: {workflow.demo(out=out, volume=volume, quiet=quiet)}")
