"""The command `release`: a sealed bundle with only the student."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import MovedSplit, RunBundle, RunDir, TeacherFile, TrustConfig, trust
from mu_monai.cli.screen import show


def release(
    run: RunDir,
    out: Annotated[Path, typer.Option("--out", help="The folder to make, with the bundle in it.")],
    split: MovedSplit = None,
    teacher: TeacherFile = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="The ledger of requests: a version that holds somebody forgotten since is refused."),
    ] = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Write a sealed MONAI bundle with only the student, and search it for data that could rebuild the teacher.

    Example: mu-monai release runs/e2r --out released
    """
    from mu_monai import workflow
    from mu_monai.files import read_json

    trusted = trust(bundle, trust_config)
    folder = workflow.release(run, out=out, split=split, teacher=teacher, ledger=ledger, trust=trusted)
    show(f"released: {workflow.released_bundle(folder)}")
    for sentence in read_json(folder / "release.json", {"told": [str]})["told"]:
        show(f"  {sentence}")
