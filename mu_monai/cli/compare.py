"""The command `compare`: compare methods on your own data under the same audit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import Attacks, Bundle, Device, GpusPerJob, Overlays, TrustConfig, Workers, listed, trust
from mu_monai.cli.screen import show
from mu_monai.errors import InputError


def compare(
    bundle: Bundle,
    split: Annotated[Path, typer.Option(help="The split.json.")],
    teacher: Annotated[
        Path, typer.Option(help="The original model: the folder of its training run; with --reference also a .pt file.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to make, or the folder of a comparison to continue.")],
    methods: Annotated[
        str,
        typer.Option(help="all, or names separated by commas; erase-to-retain:two-phase is a preset of the bundle."),
    ] = "all",
    seeds: Annotated[str, typer.Option(help="The seeds of every method, separated by commas.")] = "0",
    trials: Annotated[int, typer.Option(help="How many settings each method may choose from, 1 to 4.")] = 3,
    reference: Annotated[
        list[Path] | None,
        typer.Option("--reference", help="The run of a retrained model, one per seed; by default they are trained."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="The folder to keep retrained models in; by default retrained/ in --out.")
    ] = None,
    attacks: Attacks = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a config id for all methods; may be repeated."),
    ] = None,
    overlay: Overlays = None,
    device: Device = None,
    workers: Workers = None,
    gpus_per_job: GpusPerJob = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line for each run.")] = False,
    trust_config: TrustConfig = False,
) -> None:
    """Compare unlearning methods: the same trials and seeds for each, audited against retrained models.

    Finished runs are not repeated: the same command continues a comparison that was interrupted.

    Example: mu-monai compare isic --split split.json --teacher runs/teacher --seeds 0,1,2 --out comparison

    Example: mu-monai compare isic --split split.json --teacher runs/teacher --methods scrub,npo --out comparison
    """
    from mu_monai import workflow
    from mu_monai.files import read_json

    if quiet:
        logging.getLogger("mu_monai").setLevel(logging.WARNING)
    options = workflow.CompareOptions(
        methods=listed(methods),
        seeds=_numbers(seeds),
        trials=trials,
        cache=cache,
        references=reference or [],
        attacks=listed(attacks),
        settings=settings or [],
        overlays=overlay or [],
        device=device,
        workers=workers,
        gpus_per_job=gpus_per_job,
    )
    trusted = trust(bundle, trust_config)
    file = workflow.compare(bundle, split=split, teacher=teacher, out=out, options=options, trust=trusted)
    show(workflow.comparison_summary(file), lines=True)
    show(f"comparison: {file.with_name('index.html')}")
    failed = [row for row in read_json(file, {"rows": [{"status": str}]})["rows"] if row["status"] == "failed"]
    for row in failed:
        show(f"failed: {row['label']}, seed {row['seed']}: {row['reason']}", err=True)
    if failed:
        raise typer.Exit(1)


def _numbers(text: str) -> list[int]:
    names = listed(text)
    wrong = [name for name in names if not name.removeprefix("-").isdecimal()]
    if wrong:
        raise InputError(f"--seeds {text} is not a list of whole numbers; use for example 0,1,2")
    return [int(name) for name in names]
