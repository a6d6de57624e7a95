"""The command `verify`: does a released folder match its record?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.screen import show


def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that 'mu-monai report --record' has signed.")],
    public_key: Annotated[Path, typer.Option(help="The public key that the signature must match, a PEM file.")],
    split: Annotated[Path | None, typer.Option(help="The split.json that the record must match.")] = None,
    salt: Annotated[
        Path | None, typer.Option(help="The salt of the record, which auditors get; --split is checked with it.")
    ] = None,
    without_evidence: Annotated[
        bool, typer.Option("--without-evidence", help="The folder comes without the score table evidence/scores.csv.")
    ] = False,
) -> None:
    """Check a released folder against its signed record; exit code 1 if anything differs.

    Example: mu-monai verify released --public-key key.pub

    Example: mu-monai verify released --public-key key.pub --split split.json --salt released.salt.txt
    """
    from mu_monai import workflow

    checks = workflow.verify(folder, key=public_key, split=split, salt=salt, without_evidence=without_evidence)
    for check in checks:
        show(str(check))
    if any(check.failed for check in checks):
        raise typer.Exit(1)
