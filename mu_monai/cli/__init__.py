"""The command line: each command is a few lines over `mu_monai.workflow`, which is imported inside the command only."""

from __future__ import annotations

import logging
import sys
import warnings
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import typer

from mu_monai import __version__
from mu_monai.cli.audit import audit
from mu_monai.cli.compare import compare
from mu_monai.cli.compose import compose
from mu_monai.cli.ending import INTERRUPTED, show_error
from mu_monai.cli.finished import finished
from mu_monai.cli.handover import merge, release, revert, verify
from mu_monai.cli.methods import methods
from mu_monai.cli.options import RunBundle, RunDir, TrustConfig, trust
from mu_monai.cli.screen import LogFormatter, one_line, show
from mu_monai.errors import InputError

_CLOSED_PIPE = 128 + 13  # as a shell tells of SIGPIPE
_Usage: Any = typer.BadParameter.__mro__[2]  # click's ClickException, which is a part of typer or of click
_COMPARE = "compare"  # whose folder knows what is finished

app = typer.Typer(
    name="mu-monai",
    help="Make a trained medical imaging model forget chosen patients, devices or classes, and show the evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

Bundle = Annotated[
    str, typer.Argument(help="A MONAI bundle's folder, or a shipped one: isic, chase, isic_classification, volume3d.")
]
SplitFile = Annotated[Path | None, typer.Option("--split", help="The split.json; without it, built-in phantoms.")]
OutRun = Annotated[Path, typer.Option("--out", help="The run folder to make.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config id, such as max_epochs=3; may be repeated."),
]
Overlays = Annotated[
    list[str] | None,
    typer.Option(
        "--overlay",
        metavar="CONFIG",
        help="A config laid over the bundle's, by path or name: paper_size; may be repeated.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run: same command, plus --resume.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda:0 ...; by default a GPU where there is one.")]
ForgetClasses = Annotated[
    list[str] | None,
    typer.Option(
        "--forget-class",
        metavar="NAME",
        help="A class of the bundle's masks to forget in all cases; may be repeated.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what the libraries log.")] = False,
) -> None:
    if version:
        show(f"mu-monai {__version__}")
        raise typer.Exit
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL, handlers=[handler])
    logging.getLogger("mu_monai").setLevel(logging.INFO)
    # MONAI announces at every start that DICOM files will not be decoded on a GPU
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")


@app.command()
def split(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of images in a known layout, a manifest CSV, or a split.json to forget further patients of."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The split file to write.")] = Path("split.json"),
    layout: Annotated[
        str | None,
        typer.Option(
            help="isic, chase, class-folders, volumes, decathlon, dicom or manifest; recognized where it is left out."
        ),
    ] = None,
    label_set: Annotated[str | None, typer.Option(help="CHASE_DB1's observer: 1stHO or 2ndHO.")] = None,
    salt: Annotated[
        str | None,
        typer.Option(help="Secret text (16 or more characters) to hash identifiers of DICOM series; drawn by default."),
    ] = None,
    forget: Annotated[float | None, typer.Option(help="Share of the training patients to forget, in (0, 1).")] = None,
    forget_ids: Annotated[Path | None, typer.Option(help="File of patient or case ids to forget, one a line.")] = None,
    forget_where: Annotated[
        str | None, typer.Option(help="Condition over manifest columns: \"device == 'a'\".")
    ] = None,
    forget_fraction_of: Annotated[
        float | None,
        typer.Option(help="With --forget-where: forget only this share of the training patients found, in (0, 1)."),
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of all patients for validation, in [0, 1); by default 0.2.")
    ] = None,
    test: Annotated[
        float | None, typer.Option(help="Share of all patients for the test set, in [0, 1); by default 0.2.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(help="Column that never straddles subsets; by default patient_id.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    on_duplicates: Annotated[
        str | None, typer.Option(help="Copies in the source: error (the default), drop or together.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Near-duplicates of forget cases are an error, not a warning.")] = False,
    force: Annotated[bool, typer.Option(help="Replace an existing split file.")] = False,
) -> None:
    """Divide images by patient into retain, forget, validation and test.

    A request that comes after the training is met from the split that the model was trained on; validation and test
    stay as they were:

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
        forget={"fraction": forget, "ids": forget_ids, "where": forget_where, "share": forget_fraction_of},
        validation=validation,
        test=test,
        group_by=group_by,
        seed=seed,
        on_duplicates=on_duplicates,
        strict=strict,
        force=force,
    )
    show(summary, lines=True)


@app.command()
def train(
    bundle: Bundle,
    out: OutRun,
    split: SplitFile = None,
    subsets: Annotated[
        str, typer.Option(help="What to train on: retain,forget (the teacher) or retain (the retrained model).")
    ] = "retain,forget",
    forget_class: ForgetClasses = None,
    settings: Settings = None,
    overlay: Overlays = None,
    resume: Resume = False,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Train a bundle's network: the teacher, or with --subsets retain or --forget-class the retrained model.

    Example: mu-monai train isic --split split.json --out runs/teacher
    """
    from mu_monai import workflow

    names = [name.strip() for name in subsets.split(",") if name.strip()]
    options: dict[str, Any] = {"resume": resume, "device": device, "quiet": quiet}
    run = workflow.train(
        bundle,
        split=split,
        out=out,
        subsets=names,
        forget_classes=forget_class or [],
        settings=settings or [],
        overlays=overlay or [],
        **options,
    )
    finished(run)


@app.command()
def unlearn(
    bundle: Bundle,
    out: OutRun,
    split: SplitFile = None,
    teacher: Annotated[
        Path | None, typer.Option(help="The trained model: a run folder or a .pt file; without it, the bundle's own.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="The method, 'mu-monai methods' lists them; by default erase-to-retain.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Settings under a name: paper, paper-code or two-phase; --set goes over them.")
    ] = None,
    lora_targets: Annotated[
        str | None,
        typer.Option(
            "--lora-targets", metavar="REGEX", help="Layers to adapt: decoder, head, all, or a regex over their names."
        ),
    ] = None,
    forget_class: ForgetClasses = None,
    settings: Settings = None,
    overlay: Overlays = None,
    resume: Resume = False,
    device: Device = None,
    quiet: Quiet = False,
    trust_config: TrustConfig = False,
) -> None:
    """Make a trained model forget the split's forget cases, or classes of its masks.

    Example: mu-monai unlearn isic --split split.json --teacher runs/teacher --set method#forget_weight=2 --out runs/e2r

    Example: mu-monai unlearn isic --split split.json --teacher runs/teacher --preset two-phase --out runs/two-phase

    Example: mu-monai unlearn volume3d --split split.json --teacher runs/teacher --forget-class lesion --out runs/e2r
    """
    from mu_monai import workflow

    options: dict[str, Any] = {"resume": resume, "device": device, "quiet": quiet}
    run = workflow.unlearn(
        bundle,
        split=split,
        teacher=teacher,
        out=out,
        method=method,
        preset=preset,
        lora_targets=lora_targets,
        forget_classes=forget_class or [],
        settings=settings or [],
        overlays=overlay or [],
        trust=trust(bundle, trust_config),
        **options,
    )
    finished(run)


@app.command()
def evaluate(
    run: RunDir,
    split: Annotated[
        Path | None, typer.Option(help="Another split.json than the run's, whose files have moved.")
    ] = None,
    device: Device = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Score every case of a run's split again.

    Example: mu-monai evaluate runs/e2r
    """
    from mu_monai import workflow

    said = trust(bundle, trust_config)
    show(f"scores: {workflow.evaluate(run, split=split, device=device, trust=said)}")
    show(workflow.summary(run), lines=True)


@app.command()
def predict(
    run: RunDir,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of one DICOM series each.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("predictions"),
    device: Device = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Write what a run's model answers on images: masks in their geometry, or a table of classes.

    Example: mu-monai predict runs/e2r hospital/images/a.nii.gz hospital/images/c --out predictions
    """
    from mu_monai import workflow

    said = trust(bundle, trust_config)
    show(f"predictions: {workflow.predict(run, images, out=out, device=device, trust=said)}")


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders: an unlearning run, and its teacher and retrained model.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The folder to write index.html, figures/ and tables/ into.")
    ] = Path("report"),
    images: Annotated[bool, typer.Option(help="Show example images of patients.")] = True,
    record: Annotated[
        Path | None, typer.Option(help="A folder that 'mu-monai release' made: sign a record into it.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The private key to sign the record with, a PEM file.")] = None,
) -> None:
    """Write one self-contained HTML page from run folders, and sign a record of what was released.

    Example: mu-monai report runs/teacher runs/retrained runs/e2r --out report

    Example: mu-monai report runs/teacher runs/retrained runs/e2r --record released --key key.pem
    """
    from mu_monai import workflow

    show(f"report: {workflow.report(runs, out=out, images=images, record=record, key=key)}")
    if record is not None:
        show(f"record: {record / 'record.dsse.json'}")
        for told in workflow.signed(record):
            show(f"  {told}")


for _command in (audit, compare, compose, revert, merge, release, verify):
    app.command()(_command)
app.command()(methods)


@app.command()
def networks() -> None:
    """List the networks whose decoder and head are known, with the share of weights that adapters train.

    Example: mu-monai networks
    """
    from mu_monai import workflow

    show(workflow.networks().to_string(index=False), lines=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("mu-monai-demo"),
    volume: Annotated[bool, typer.Option("--volume", help="Volumes like CT instead of images of lesions.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole job on built-in phantoms: split, train, retrain, unlearn, audit, report.

    Example: mu-monai demo --out demo
    """
    from mu_monai import workflow

    show(f"report: {workflow.demo(out=out, volume=volume, quiet=quiet)}")


def main() -> None:
    """Run the command line: exit code 0 for success, 2 for wrong input, 130 for Ctrl-C, 1 for anything else."""
    code: int = 0
    try:
        code = app(standalone_mode=False) or 0
    except _Usage as error:
        show(_usage(error), lines=True, err=True)
        code = error.exit_code
    except (InputError, FloatingPointError, OSError) as error:  # a full disk is told in the file system's own words
        show_error(error)
        code = 2 if isinstance(error, InputError) else 1
    except SystemExit as stop:
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
        code = _CLOSED_PIPE  # typer ends so where nobody reads its help to the end
    if code == INTERRUPTED:
        how = "by the same command" if _COMPARE in sys.argv[1:3] else "through --resume"
        show(f"interrupted; a run goes on from its last finished epoch {how}", err=True)
    sys.exit(code)


def _usage(error: Any) -> str:
    """What typer says of a command line that it does not understand; an argument stays on one line."""
    text = StringIO()
    error.show(file=text)
    told = text.getvalue().rstrip("\n")
    for argument in sys.argv[1:]:
        told = told.replace(argument, one_line(argument))
    return told
