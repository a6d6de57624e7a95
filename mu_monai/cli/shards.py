"""The command `shards`: what a model that was trained in shards is made of, and whether it still is."""

from __future__ import annotations

import typer

from mu_monai.cli.options import RunBundle, RunDir, TrustConfig, trust
from mu_monai.cli.screen import show


def shards(run: RunDir, bundle: RunBundle = None, trust_config: TrustConfig = False) -> None:
    """Show the shards of a run, and check base, members, adapters and their average; exit code 1 if any differs.

    Example: mu-monai shards runs/sharded
    """
    from mu_monai import workflow

    table, checks = workflow.shards(run, trust=trust(bundle, trust_config))
    show(table.to_string(index=False), lines=True)
    for check in checks:
        show(str(check))
    if any(check.failed for check in checks):
        raise typer.Exit(1)
