"""The command `report`: one page about runs, and the signed record of a release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.screen import show


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders: an unlearning run, and its teacher and retrained model.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The folder to write index.html, figures/ and tables/ into.")
    ] = Path("report"),
    images: Annotated[bool, typer.Option(help="Show example images of patients.")] = True,
    record: Annotated[
        Path | None, typer.Option(help="A folder that 'mu-monai release' made: sign a record into it.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The private key to sign the record with, a PEM file.")] = None,
) -> None:
    """Write one self-contained HTML page from run folders, and sign a record of a release.

    Example: mu-monai report runs/teacher runs/retrained runs/e2r --out report

    Example: mu-monai report runs/teacher runs/retrained runs/e2r --record released --key key.pem
    """
    from mu_monai import workflow

    show(f"report: {workflow.report(runs, out=out, images=images, record=record, key=key)}")
    if record is not None:
        show(f"record: {record / 'record.dsse.json'}")
        for sentence in workflow.signed(record):
            show(f"  {sentence}")
