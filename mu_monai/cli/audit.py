"""The command `audit`: can anyone still find out who was forgotten?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import Attacks, Device, GpusPerJob, Quiet, RunBundle, TrustConfig, Workers, listed, trust
from mu_monai.cli.screen import show
from mu_monai.errors import InputError


def audit(
    run: Annotated[
        str, typer.Argument(help="The folder of an unlearning run; with --weights a bundle's folder or name.")
    ],
    reference: Annotated[
        list[Path] | None,
        typer.Option("--reference", help="The run of a retrained model; may be repeated for other seeds."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="The original model: a run folder or weights, if the run does not know them.")
    ] = None,
    sibling: Annotated[
        list[Path] | None, typer.Option("--sibling", help="The same unlearning with another seed; may be repeated.")
    ] = None,
    attacks: Attacks = "",
    shadows: Annotated[int, typer.Option(help="How many shadow models LiRA compares with; they are trained.")] = 0,
    pool: Annotated[Path | None, typer.Option(help="The folder for the shadow models.")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="A column to look for groups that lost; may be repeated; by default all columns with groups."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Audit these weights, of a model that was not unlearned here.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="The split.json, with --weights or if the run's has moved.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of draws and attacks.")] = 0,
    device: Device = None,
    workers: Workers = None,
    gpus_per_job: GpusPerJob = None,
    quiet: Quiet = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write, by default audit.json in the run; with --weights the run folder to make."
        ),
    ] = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Test whether the forgotten patients can still be identified, and who pays for the forgetting.

    Example: mu-monai audit runs/e2r --reference runs/retrained --attacks all

    Example: mu-monai audit isic --weights model.pt --split split.json --teacher teacher.pt --out runs/audited
    """
    from mu_monai import workflow

    options = workflow.AuditOptions(
        references=reference or [],
        siblings=sibling or [],
        attacks=listed(attacks),
        shadows=shadows,
        pool=pool,
        by=by or [],
        seed=seed,
        device=device,
        workers=workers,
        gpus_per_job=gpus_per_job,
        quiet=quiet,
    )
    if weights is None:
        trusted = trust(bundle, trust_config)
        file = workflow.audit(run, teacher=teacher, split=split, out=out, options=options, trust=trusted)
    else:
        if split is None or out is None:
            raise InputError("a model that was not unlearned here needs all of --weights, --split and --out")
        trusted = trust(run, trust_config)  # the argument names a bundle instead of a run
        adopted = workflow.adopt(
            run, weights=weights, split=split, out=out, teacher=teacher, options=options, trust=trusted
        )
        file = workflow.audit(adopted, options=options, trust=trusted)
    show(workflow.audit_summary(file), lines=True)
    show(f"audit: {file}")
