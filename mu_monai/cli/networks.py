"""The command `networks`: list the known networks."""

from __future__ import annotations

from mu_monai.cli.screen import show


def networks() -> None:
    """List the networks whose decoder and head are known, with the share of weights that adapters train.

    Example: mu-monai networks
    """
    from mu_monai import workflow

    show(workflow.networks().to_string(index=False), lines=True)
