"""The commands `request add`, `run`, `status` and `verify`: the ledger of who asked a model to forget them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import (
    Device,
    ForgetIds,
    ForgetImagesGone,
    ForgetWhere,
    Quiet,
    RunBundle,
    Settings,
    TrustConfig,
    trust,
)
from mu_monai.cli.screen import show

_Folder = Annotated[Path, typer.Argument(metavar="LEDGER", help="The folder of the ledger and of its versions.")]
_Split = Annotated[
    Path | None, typer.Option("--split", help="The split.json of the first version, if it is no longer where it was.")
]

request = typer.Typer(
    help="Keep a ledger of requests to be forgotten, answer those that wait, and check that nobody came back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@request.command()
def add(
    folder: _Folder,
    run: Annotated[
        Path | None, typer.Option(help="For a new ledger: the run folder of the model that it is about.")
    ] = None,
    forget_ids: ForgetIds = None,
    forget_id: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A patient or case id to forget; may be repeated.")
    ] = None,
    forget_where: ForgetWhere = None,
    requester: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Who asks, such as a letter's number; only a salted hash is kept."),
    ] = None,
    received: Annotated[
        str | None, typer.Option(metavar="DATE", help="The day on which it was received, 2026-01-31; by default today.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="DATE", help="The last day to answer; by default 30 days after the receipt.")
    ] = None,
    split: _Split = None,
) -> None:
    """Enter a request; the first one begins the ledger.

    Example: mu-monai request add ledger --run runs/teacher --forget-ids withdrawn.txt --deadline 2026-03-31

    Example: mu-monai request add ledger --forget-id patient_017
    """
    from mu_monai import workflow

    entered = workflow.add_request(
        folder,
        run=run,
        forget=workflow.ForgetChoice(ids=forget_ids, where=forget_where),
        ids=forget_id or [],
        requester=requester,
        received=received,
        deadline=deadline,
        split=split,
    )
    show(f"request {entered.number}: {entered.counts}, to be answered by {entered.deadline}")


@request.command()
def run(
    folder: _Folder,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say which route, why no better one, what it costs and what it risks.")
    ] = False,
    route: Annotated[
        str | None,
        typer.Option(
            help="rollback, shards, rewind, calibrated-erase-to-retain or retraining; by default the first possible."
        ),
    ] = None,
    folds: Annotated[
        Path | None, typer.Option(help="The folder of a cross-validation of the same cases, for rollback.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="The most that an approximate route may cost, as a share of the first training, 0.05."),
    ] = None,
    forget_images_gone: ForgetImagesGone = False,
    settings: Settings = None,
    split: _Split = None,
    device: Device = None,
    quiet: Quiet = False,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Answer all waiting requests with one new version, and audit the earlier ones again; exit code 1 if it is refused.

    After an interruption the same command goes on.

    Example: mu-monai request run ledger --plan

    Example: mu-monai request run ledger --budget 0.05
    """
    from mu_monai import workflow

    options = workflow.RequestOptions(
        route=route,
        folds=folds,
        budget=budget,
        settings=settings or [],
        forget_images_gone=forget_images_gone,
        device=device,
        quiet=quiet,
    )
    trusted = trust(bundle, trust_config)
    if plan:
        for sentence in workflow.plan_requests(folder, split=split, options=options, trust=trusted):
            show(sentence)
        return
    answer = workflow.answer_requests(folder, split=split, options=options, trust=trusted)
    for sentence in workflow.answer_summary(folder, answer):
        show(sentence)
    if answer.came_back:
        raise typer.Exit(1)


@request.command()
def status(folder: _Folder) -> None:
    """Show what became of every request, and the digest of the last entry, to be kept elsewhere.

    Example: mu-monai request status ledger
    """
    from mu_monai import workflow

    table, said = workflow.request_status(folder)
    show(table.to_string(index=False) if len(table) else "no request was entered", lines=True)
    show(said)


@request.command()
def verify(
    folder: _Folder,
    backup: Annotated[
        list[Path] | None,
        typer.Option(
            help="A run folder or weights to look for the forgotten in, such as a restored backup; may be repeated."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="The digest that request status told: is that entry still there?"),
    ] = None,
    split: _Split = None,
) -> None:
    """Check the ledger, its versions and their splits, and backups against it; exit code 1 if anything is wrong.

    Example: mu-monai request verify ledger --backup /restored/teacher
    """
    from mu_monai import workflow

    checks = workflow.verify_requests(folder, backups=backup or [], head=head, split=split)
    for check in checks:
        show(str(check))
    if any(check.failed for check in checks):
        raise typer.Exit(1)
