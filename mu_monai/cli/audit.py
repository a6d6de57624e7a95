"""The command `audit`: can it still be told who was forgotten?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mu_monai.cli.options import RunBundle, TrustConfig, trust
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
        Path | None, typer.Option(help="The original model: a run folder or weights, where the run does not know them.")
    ] = None,
    sibling: Annotated[
        list[Path] | None, typer.Option("--sibling", help="The same unlearning with another seed; may be repeated.")
    ] = None,
    attacks: Annotated[str | None, typer.Option(help="Attacks on the weights: all, or names with commas.")] = None,
    shadows: Annotated[int, typer.Option(help="How many shadow models LiRA compares with; they are trained.")] = 0,
    pool: Annotated[Path | None, typer.Option(help="The folder that shadow models are kept in.")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="A column to look for groups that lost; may be repeated; by default all with groups."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Audit these weights, of a model that was not unlearned here.")
    ] = None,
    split: Annotated[Path | None, typer.Option(help="With --weights: the split.json.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of draws and attacks.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:0 ...; by default a GPU where there is one.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write, by default audit.json in the run; with --weights the run folder to make."
        ),
    ] = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Judge whether it can still be told who was forgotten, and who pays for the forgetting.

    Example: mu-monai audit runs/e2r --reference runs/retrained --attacks all

    Example: mu-monai audit isic --weights model.pt --split split.json --teacher teacher.pt --out runs/audited
    """
    from mu_monai import workflow

    folder = run
    options: dict[str, Any] = {
        "references": reference or [],
        "siblings": sibling or [],
        "attacks": [name.strip() for name in (attacks or "").split(",") if name.strip()],
        "shadows": shadows,
        "pool": pool,
        "by": by or [],
        "seed": seed,
    }
    said = trust(bundle, trust_config)
    if weights is not None or split is not None:
        said = trust(run, trust_config)  # the bundle is named in the place of a run
        if weights is None or split is None or out is None:
            raise InputError("a model that was not unlearned here needs all of --weights, --split and --out")
        model: dict[str, Any] = {"weights": weights, "split": split, "out": out, "teacher": teacher}
        folder = str(workflow.adopt(run, **model, device=device, options=options, trust=said))
        teacher, out = None, None
    file = workflow.audit(folder, teacher=teacher, device=device, quiet=quiet, out=out, trust=said, **options)
    show(workflow.audit_summary(file), lines=True)
    show(f"audit: {file}")
