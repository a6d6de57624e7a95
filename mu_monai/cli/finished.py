"""The summary that a command prints about the run that it has finished."""

from __future__ import annotations

from pathlib import Path

import typer

from mu_monai.cli.screen import show


def finished(run: Path) -> None:
    """Print cost, coverage and mean scores of a run; exit code 1 if it failed a self-check."""
    from mu_monai import workflow
    from mu_monai.runs import read_record

    record = read_record(run)
    show(f"run: {run} ({workflow.cost_in_words(record)}; {record.parameters.coverage})")
    show(workflow.summary(run), lines=True)
    if not all(check.passed for check in record.checks):  # the run has already logged which
        raise typer.Exit(1)
