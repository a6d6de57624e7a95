"""The commands about what leaves a run, and what came of it: revert, merge, release, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import RunBundle, RunDir, TrustConfig, trust
from mu_monai.cli.screen import show

OutFile = Annotated[Path, typer.Option("--out", help="The weights file to write.")]
TeacherFile = Annotated[
    Path | None,
    typer.Option("--teacher", help="The teacher's weights, where they are no longer where the run found them."),
]


def revert(
    run: RunDir,
    out: OutFile,
    teacher: TeacherFile = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Write the teacher back as plain weights, bit for bit what the run started from.

    Example: mu-monai revert runs/e2r --out teacher.pt
    """
    from mu_monai import workflow

    file = workflow.revert(run, out=out, teacher=teacher, trust=trust(bundle, trust_config))
    show(f"weights of the teacher: {file}")


def merge(
    run: RunDir,
    out: OutFile,
    teacher: TeacherFile = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Write the student as plain weights, its adapters merged.

    Example: mu-monai merge runs/e2r --out student.pt
    """
    from mu_monai import workflow

    file = workflow.merge(run, out=out, teacher=teacher, trust=trust(bundle, trust_config))
    show(f"weights of the student: {file}")


def release(
    run: RunDir,
    out: Annotated[Path, typer.Option("--out", help="The folder to make, with the bundle in it.")],
    teacher: TeacherFile = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Write a sealed MONAI bundle of the student alone, and search it for what the teacher can be rebuilt from.

    Example: mu-monai release runs/e2r --out released
    """
    from mu_monai import workflow
    from mu_monai.files import read_json

    folder = workflow.release(run, out=out, teacher=teacher, trust=trust(bundle, trust_config))
    show(f"released: {folder / 'bundle'}")
    for told in read_json(folder / "release.json", {"told": [str]})["told"]:
        show(f"  {told}")


def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that 'mu-monai report --record' has signed.")],
    public_key: Annotated[Path, typer.Option(help="The public key that it must be signed with, a PEM file.")],
    split: Annotated[Path | None, typer.Option(help="The split.json that it must be of.")] = None,
    salt: Annotated[
        Path | None, typer.Option(help="The salt of the record, which auditors get: --split is checked under it.")
    ] = None,
    without_evidence: Annotated[
        bool, typer.Option("--without-evidence", help="The score table evidence/scores.csv was not handed over.")
    ] = False,
) -> None:
    """Check a released folder against its signed record; exit code 1 where anything is not as it says.

    Example: mu-monai verify released --public-key key.pub

    Example: mu-monai verify released --public-key key.pub --split split.json --salt released.salt.txt
    """
    from mu_monai import workflow

    checks = workflow.verify(folder, key=public_key, split=split, salt=salt, without_evidence=without_evidence)
    for check in checks:
        show(str(check))
    if any(check.failed for check in checks):
        raise typer.Exit(1)
