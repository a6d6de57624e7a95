"""Options that several commands share; an option of a single command is in its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mu_monai.bundle.trust import Trust

Bundle = Annotated[
    str, typer.Argument(help="A MONAI bundle's folder, or a shipped one: isic, chase, isic_classification, volume3d.")
]
RunDir = Annotated[Path, typer.Argument(help="The folder of a finished run.")]
SplitFile = Annotated[Path | None, typer.Option("--split", help="The split.json; without it, built-in phantoms.")]
MovedSplit = Annotated[
    Path | None,
    typer.Option("--split", help="The split.json to use instead of the run's, if its files have moved."),
]
OutRun = Annotated[Path, typer.Option("--out", help="The run folder to make.")]
OutFolder = Annotated[Path, typer.Option("--out", help="The folder to make.")]
OutFile = Annotated[Path, typer.Option("--out", help="The weights file to write.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config id, such as max_epochs=3; may be repeated."),
]
Overlays = Annotated[
    list[str] | None,
    typer.Option(
        "--overlay",
        metavar="CONFIG",
        help="A config on top of the bundle's, by path or by name, such as paper_size; may be repeated.",
    ),
]
ForgetClasses = Annotated[
    list[str] | None,
    typer.Option(
        "--forget-class",
        metavar="NAME",
        help="A class of the bundle's masks to forget in all cases; may be repeated.",
    ),
]
ForgetIds = Annotated[
    Path | None, typer.Option(help="File with patient or case ids to forget: one per line, or a table.")
]
ForgetWhere = Annotated[str | None, typer.Option(help="Condition over manifest columns: \"device == 'a'\".")]
Attacks = Annotated[str, typer.Option(help="Attacks on the weights: all, or names separated by commas.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run: same command, plus --resume.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda:0 ...; by default a GPU if there is one.")]
Processes = Annotated[
    int,
    typer.Option("--processes", metavar="N", help="Run it in N processes of this machine, each with a GPU if any."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Workers = Annotated[
    str | None,
    typer.Option(help="Make the runs at the same time: 2 (processes), ray, ray:HOST:PORT, slurm or slurm:PARTITION."),
]
GpusPerJob = Annotated[
    float | None, typer.Option(help="With --workers: the GPU of each run, 1, or the part of one, such as 0.25.")
]
TeacherFile = Annotated[
    Path | None,
    typer.Option("--teacher", help="The teacher's run folder or weights, if they have moved since the run."),
]
RunBundle = Annotated[
    Path | None,
    typer.Option("--bundle", help="The folder of the bundle that the run was made with, if it is not a shipped one."),
]
MilestoneFolder = Annotated[
    Path | None,
    typer.Option(
        "--milestones",
        metavar="FOLDER",
        help="Weights of earlier epochs, such as MONAI's model_epoch=16.pt; by default those that the run kept.",
    ),
]
ForgetImagesGone = Annotated[
    bool,
    typer.Option(
        "--forget-images-gone",
        help="The forget cases' images are deleted: read none of them. For methods that need none, or retraining.",
    ),
]
TrustConfig = Annotated[
    bool,
    typer.Option(
        "--trust-config",
        help="Use the run's config as it is, including its code: only if you know who made the run.",
    ),
]


def trust(bundle: str | Path | None, config: bool) -> Trust:
    """How far the user trusts run folders, from the options `--bundle` and `--trust-config`."""
    from mu_monai.bundle.trust import Trust

    return Trust(bundle=bundle, config=config)


def several(processes: int) -> dict[str, object]:
    """`--processes` for `only_without`, if it asks for other than one."""
    return {"--processes": processes if processes != 1 else None}


def only_without(given: Mapping[str, object], what: str) -> list[str]:
    """Why options cannot be given together with something.

    Example:
        >>> only_without({"--method": "npo", "--preset": None}, "--exact")
        ['--method and --exact contradict each other; leave one of them out']
        >>> only_without({"--budget": 0.0, "--forget-images-gone": False}, "--exact")
        ['--budget and --exact contradict each other; leave one of them out']
    """
    return [
        f"{name} and {what} contradict each other; leave one of them out"
        for name, value in given.items()
        if not (value is None or value is False or value == [])
    ]


def listed(text: str) -> list[str]:
    """The names in a comma-separated text.

    Example:
        >>> listed("int8, int4,")
        ['int8', 'int4']
    """
    return [name.strip() for name in text.split(",") if name.strip()]
