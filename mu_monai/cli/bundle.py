"""The commands `bundle inspect`, `adopt`, `new` and `check`: using and making your own bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import OutFolder, Settings
from mu_monai.cli.screen import show
from mu_monai.printable import one_line

_NEXT = """next, in {folder}:
  configs/*.json          network, sizes, transforms and loss; an id that several files have must be equal in all
  configs/metadata.json   inputs, outputs and authors
  next to configs/        unlearn.json, metadata.json and logging.conf are copies: copy them again after a change
  docs/README.md          its purpose, and the license of your weights
then: mu-monai bundle check {folder}"""

_Foreign = Annotated[str, typer.Argument(metavar="BUNDLE", help="A MONAI bundle's folder.")]

bundle = typer.Typer(
    help="Say what is understood of a MONAI bundle of anybody's; make one of your own, and check it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@bundle.command()
def new(
    folder: Annotated[Path, typer.Argument(help="The folder to make; its name is the bundle's.")],
    source: Annotated[
        str, typer.Option("--from", metavar="BUNDLE", help="The bundle to start from, a folder or a shipped one.")
    ] = "isic",
) -> None:
    """Make a bundle of your own from another one, without its weights.

    Example: mu-monai bundle new mine --from isic
    """
    from mu_monai import workflow

    show(f"bundle: {workflow.new_bundle(folder, source=source)}")
    show(_NEXT.format(folder=one_line(str(folder))), lines=True)


@bundle.command()
def check(
    folder: Annotated[str, typer.Argument(metavar="BUNDLE", help="A MONAI bundle's folder, or a shipped one.")],
) -> None:
    """Check a bundle: that its configs agree, its parts exist, and a run and its report can rely on it.

    Nothing is written or trained. The bundle's components are imported and its network is built.

    Example: mu-monai bundle check mine
    """
    from mu_monai import workflow

    for sentence in workflow.check_bundle(folder):
        show(sentence)


@bundle.command()
def inspect(
    folder: _Foreign,
    split: Annotated[Path | None, typer.Option("--split", help="A split.json, to take one case through it.")] = None,
    settings: Settings = None,
    show_code: Annotated[
        bool, typer.Option("--show-code", help="Only list what the bundle would execute; nothing is executed.")
    ] = False,
) -> None:
    """Say what is understood of a bundle that was trained elsewhere: each part, the id it is from, and what is missing.

    A bundle is a program: its expressions are executed, but for --show-code.

    Example: mu-monai bundle inspect spleen_ct_segmentation --split split.json
    """
    from mu_monai import workflow

    told = (
        workflow.code_of(folder) if show_code else workflow.inspect_bundle(folder, split=split, settings=settings or [])
    )
    for sentence in told:
        show(sentence)


@bundle.command()
def adopt(
    folder: _Foreign,
    out: OutFolder,
) -> None:
    """Write the configs that commands make for a bundle that was trained elsewhere, to read them.

    Example: mu-monai bundle adopt spleen_ct_segmentation --out adopted
    """
    from mu_monai import workflow

    show(f"configs: {workflow.adopt_bundle(folder, out=out)}")
