"""The command `compare`: which method to use, on one's own data and under one audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import TrustConfig, trust
from mu_monai.cli.screen import show
from mu_monai.errors import InputError


def compare(
    bundle: Annotated[
        str,
        typer.Argument(help="A MONAI bundle's folder, or a shipped one: isic, chase, isic_classification, volume3d."),
    ],
    split: Annotated[Path, typer.Option(help="The split.json.")],
    teacher: Annotated[
        Path, typer.Option(help="The original model: the folder of its training run; with --reference also a .pt file.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to make, or that of a comparison to go on with.")],
    methods: Annotated[
        str, typer.Option(help="all, or names with commas; erase-to-retain:two-phase is a preset of the bundle.")
    ] = "all",
    seeds: Annotated[str, typer.Option(help="The seeds of every method, with commas.")] = "0",
    trials: Annotated[int, typer.Option(help="How many settings each method may choose among, 1 to 4.")] = 3,
    reference: Annotated[
        list[Path] | None,
        typer.Option("--reference", help="The run of a retrained model, for each seed; by default they are trained."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="The folder to keep retrained models in; by default retrained/ in --out.")
    ] = None,
    attacks: Annotated[
        str | None, typer.Option(help="Attacks on the weights, for the audits: all, or names with commas.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a config id for all methods; may be repeated."),
    ] = None,
    overlay: Annotated[
        list[str] | None,
        typer.Option("--overlay", metavar="CONFIG", help="A config laid over the bundle's; may be repeated."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:0 ...; by default a GPU where there is one.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line for each run.")] = False,
    trust_config: TrustConfig = False,
) -> None:
    """Compare unlearning methods: the same trials and seeds for each, audited beside retrained models.

    What is finished is not made again: the same command goes on with a comparison that was interrupted.

    Example: mu-monai compare isic --split split.json --teacher runs/teacher --seeds 0,1,2 --out comparison

    Example: mu-monai compare isic --split split.json --teacher runs/teacher --methods scrub,npo --out comparison
    """
    import logging

    from mu_monai import workflow
    from mu_monai.files import read_json

    if quiet:
        logging.getLogger("mu_monai").setLevel(logging.WARNING)
    file = workflow.compare(
        bundle,
        split=split,
        teacher=teacher,
        out=out,
        methods=_listed(methods),
        seeds=_numbers(seeds),
        trials=trials,
        cache=cache,
        references=reference or [],
        attacks=_listed(attacks or ""),
        settings=settings or [],
        overlays=overlay or [],
        device=device,
        trust=trust(bundle, trust_config),
    )
    show(workflow.comparison_summary(file), lines=True)
    show(f"comparison: {file.with_name('index.html')}")
    failed = [row for row in read_json(file, {"rows": [{"status": str}]})["rows"] if row["status"] == "failed"]
    for row in failed:
        show(f"failed: {row['label']}, seed {row['seed']}: {row['reason']}", err=True)
    if failed:
        raise typer.Exit(1)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    names = _listed(text)
    wrong = [name for name in names if not name.removeprefix("-").isdecimal()]
    if wrong:
        raise InputError(f"--seeds {text} is no list of whole numbers; use 0,1,2 or the like")
    return [int(name) for name in names]
