"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mu_monai.bundle.trust import Trust

RunDir = Annotated[Path, typer.Argument(help="The folder of a finished run.")]
RunBundle = Annotated[
    Path | None,
    typer.Option(
        "--bundle", help="The folder of the bundle that the run was made with, where it is not one that is shipped."
    ),
]
TrustConfig = Annotated[
    bool,
    typer.Option(
        "--trust-config",
        help="Use the run's config as it is, the code in it included: only where you know who made the run.",
    ),
]


def trust(bundle: str | Path | None, config: bool) -> Trust:
    """What a user says of where run folders come from."""
    from mu_monai.bundle.trust import Trust

    return Trust(bundle=bundle, config=config)
