"""The command `split`: divide images by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.screen import show


def split(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of images in a known layout, a manifest CSV, or a split.json to forget more patients from."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The split file to write.")] = Path("split.json"),
    layout: Annotated[
        str | None,
        typer.Option(help="isic, chase, class-folders, volumes, decathlon, dicom or manifest; recognized if left out."),
    ] = None,
    label_set: Annotated[str | None, typer.Option(help="CHASE_DB1's observer: 1stHO or 2ndHO.")] = None,
    salt: Annotated[
        str | None,
        typer.Option(help="Secret text (16 or more characters) to hash identifiers of DICOM series; drawn by default."),
    ] = None,
    forget: Annotated[float | None, typer.Option(help="Share of the training patients to forget, in (0, 1).")] = None,
    forget_ids: Annotated[
        Path | None, typer.Option(help="File with patient or case ids to forget: one per line, or a table.")
    ] = None,
    forget_where: Annotated[
        str | None, typer.Option(help="Condition over manifest columns: \"device == 'a'\".")
    ] = None,
    forget_fraction_of: Annotated[
        float | None,
        typer.Option(help="With --forget-where: forget only this share of the matching training patients, in (0, 1)."),
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of all patients for validation, in [0, 1); by default 0.2.")
    ] = None,
    test: Annotated[
        float | None, typer.Option(help="Share of all patients for the test set, in [0, 1); by default 0.2.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(help="Column whose groups stay within one subset; by default patient_id.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    on_duplicates: Annotated[
        str | None, typer.Option(help="Copies in the source: error (the default), drop or together.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Near-duplicates of forget cases are an error, not a warning.")] = False,
    force: Annotated[bool, typer.Option(help="Replace an existing split file.")] = False,
) -> None:
    """Divide images by patient into retain, forget, validation and test.

    For a request that comes after the training, give the split that the model was trained on; validation and test stay
    as they were:

    Example: mu-monai split data/chase_db1 --label-set 1stHO --forget 0.1 --out split.json

    Example: mu-monai split split.json --forget-ids withdrawn.txt --out request.json
    """
    from mu_monai import workflow

    summary = workflow.split(
        source,
        out=out,
        layout=layout,
        label_set=label_set,
        salt=salt,
        forget=workflow.ForgetChoice(fraction=forget, ids=forget_ids, where=forget_where, share=forget_fraction_of),
        validation=validation,
        test=test,
        group_by=group_by,
        seed=seed,
        on_duplicates=on_duplicates,
        strict=strict,
        force=force,
    )
    show(summary, lines=True)
