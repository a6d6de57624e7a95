"""The commands `federation train`, `forget-site`, `compare` and `demo`: one model of several sites, and one leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import Bundle, Device, OutFolder, Resume, RunBundle, Settings, TrustConfig, trust
from mu_monai.cli.screen import show

_Folder = Annotated[Path, typer.Argument(metavar="FEDERATION", help="The folder that federation train wrote.")]

federation = typer.Typer(
    help="Train one model at several sites with NVFlare, and forget a site that leaves.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@federation.command()
def train(
    bundle: Bundle,
    sites: Annotated[
        Path, typer.Option(help='A JSON file: {"north": {"split": "north.json"}, "west": {..., "joins": 3}}.')
    ],
    rounds: Annotated[int, typer.Option(help="How often the sites' models are averaged.")],
    out: OutFolder,
    local_epochs: Annotated[int, typer.Option(help="Passes of a site over its cases in each round.")] = 1,
    start: Annotated[
        Path | None, typer.Option(help="A run folder or weights to start from; by default new weights.")
    ] = None,
    settings: Settings = None,
    resume: Resume = False,
    device: Device = None,
) -> None:
    """Train a bundle at several sites in NVFlare's simulator, and keep the model of every round.

    Example: mu-monai federation train isic --sites sites.json --rounds 8 --out federation
    """
    from mu_monai import workflow

    folder = workflow.train_federation(
        bundle,
        sites=sites,
        rounds=rounds,
        out=out,
        local_epochs=local_epochs,
        start=start,
        settings=settings or [],
        resume=resume,
        device=device,
    )
    _compared([folder])
    _where(folder)


@federation.command()
def forget_site(
    folder: _Folder,
    site: Annotated[str, typer.Option(help="The name of the site that leaves.")],
    route: Annotated[str, typer.Option(help="rewind, distil, unlearn, or retraining to compare with.")],
    out: OutFolder,
    rounds: Annotated[
        int | None, typer.Option(help="With distil and unlearn: rounds of the sites that stay; 2 by default.")
    ] = None,
    damage: Annotated[
        float | None,
        typer.Option(
            help="With distil: how far weights are damaged first, 0.3; by default from the site's membership."
        ),
    ] = None,
    settings: Settings = None,
    resume: Resume = False,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Forget a site that leaves; every site measures the result, and only numbers leave it.

    Example: mu-monai federation forget-site federation --site west --route rewind --out without-west
    """
    from mu_monai import workflow

    made = workflow.forget_site(
        folder,
        site=site,
        route=route,
        out=out,
        rounds=rounds,
        damage=damage,
        settings=settings or [],
        resume=resume,
        trust=trust(bundle, trust_config),
    )
    _compared([folder, made])
    _where(made)


@federation.command()
def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FEDERATION...", help="Folders of federations that come from one training.")
    ],
) -> None:
    """Compare federations: rounds, bytes, utility at every site, and membership of the site that left.

    Example: mu-monai federation compare federation without-west retrained
    """
    _compared(folders)


@federation.command()
def demo(out: OutFolder) -> None:
    """Train three sites on phantoms, forget one by every route, and compare.

    Example: mu-monai federation demo --out federation-demo
    """
    from mu_monai import workflow

    show(workflow.demo_federation(out=out).to_string(index=False), lines=True)


def _compared(folders: list[Path]) -> None:
    """Show what the sites measured."""
    from mu_monai import workflow

    show(workflow.compare_federations(folders).to_string(index=False), lines=True)


def _where(folder: Path) -> None:
    show(f"model: {folder / 'model.pt'}")
