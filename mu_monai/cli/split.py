"""The command `split`: divide images by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.options import ForgetIds, ForgetWhere
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
        typer.Option(
            help="manifest, class-folders, volumes, decathlon or dicom; or a published data set: isic, chase, drive, "
            "stare, hrf, ph2, busi-classes, busi-masks, nnunet, kits, lits, btcv, amos, totalsegmentator, brats, bids, "
            "ham10000, isic-2018-task3, isic-2019 or isic-archive. Recognized if left out."
        ),
    ] = None,
    from_bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Take the cases that a bundle's own lists name, and keep what it was validated on out of training.",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="Where the images are in a folder of another layout: 'imagesTr/{case}_0000.nii.gz'."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="With --images: where the labels are: 'labelsTr/{case}.nii.gz'; none if {class} names them."),
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(help="Who the patient is: '{case}', or an expression over the path: '(?P<patient>p[0-9]+)_'."),
    ] = None,
    label_set: Annotated[
        str | None,
        typer.Option(help="Which of several label sets: CHASE_DB1's observer 1stHO or 2ndHO, or a structure."),
    ] = None,
    salt: Annotated[
        str | None,
        typer.Option(help="Secret text (16 or more characters) to hash identifiers of DICOM series; drawn by default."),
    ] = None,
    forget: Annotated[float | None, typer.Option(help="Share of the training patients to forget, in (0, 1).")] = None,
    forget_ids: ForgetIds = None,
    forget_where: ForgetWhere = None,
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
    strict: Annotated[
        bool, typer.Option(help="Look-alikes of forget cases, and whatever is left out, are errors.")
    ] = False,
    picture_range: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Values of black and white of images above 8 bits; by default what their bits can hold."),
    ] = None,
    label_map: Annotated[
        str | None, typer.Option(help="Classes of label values, '{205: 1}' or '{205: \"left ventricle\"}'.")
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option(
            help="A structure of DICOM objects (SEG, RTSTRUCT) to take as a class, by name or number; give it once for "
            "each class, 'a|b' for two names of one. All by default."
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option(help="Also show five cases as they were understood, and draw them beside the split (PNG).")
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace an existing split file.")] = False,
) -> None:
    """Divide images by patient into retain, forget, validation and test.

    For a request that comes after the training, give the split that the model was trained on; validation and test stay
    as they were:

    Example: mu-monai split data/chase_db1 --label-set 1stHO --forget 0.1 --out split.json

    Example: mu-monai split data --images '{patient}/{case}.png' --labels '{patient}/{case}_seg.png' --out split.json

    Example: mu-monai split split.json --forget-ids withdrawn.txt --out request.json
    """
    from mu_monai import workflow
    from mu_monai.data import Patterns

    summary = workflow.split(
        source,
        out=out,
        layout=layout,
        label_set=label_set,
        salt=salt,
        from_bundle=from_bundle,
        patterns=Patterns(images=images, labels=labels, patient=patient),
        forget=workflow.ForgetChoice(fraction=forget, ids=forget_ids, where=forget_where, share=forget_fraction_of),
        validation=validation,
        test=test,
        group_by=group_by,
        seed=seed,
        on_duplicates=on_duplicates,
        strict=strict,
        picture_range=picture_range,
        label_map=label_map,
        structures=structure or (),
        explain=explain,
        force=force,
    )
    show(summary, lines=True)
