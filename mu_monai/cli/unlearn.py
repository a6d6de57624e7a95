"""The command `unlearn`: make a trained model forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mu_monai.cli.finished import finished
from mu_monai.cli.options import (
    Bundle,
    Device,
    ForgetClasses,
    ForgetImagesGone,
    MilestoneFolder,
    OutRun,
    Overlays,
    Processes,
    Quiet,
    Resume,
    Settings,
    SplitFile,
    TrustConfig,
    only_without,
    several,
    trust,
)
from mu_monai.errors import raise_if_any


def unlearn(
    bundle: Bundle,
    out: OutRun,
    split: SplitFile = None,
    teacher: Annotated[
        Path | None, typer.Option(help="The trained model: a run folder or a .pt file; by default the bundle's own.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="The method; 'mu-monai methods' lists them. By default erase-to-retain.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Named settings: paper, paper-code or two-phase; --set overrides them.")
    ] = None,
    lora_targets: Annotated[
        str | None,
        typer.Option(
            "--lora-targets", metavar="REGEX", help="Layers to adapt: decoder, head, all, or a regex for their names."
        ),
    ] = None,
    forget_class: ForgetClasses = None,
    milestones: MilestoneFolder = None,
    budget: Annotated[
        float | None,
        typer.Option(help="The most that it may cost, as a share of the teacher's training, such as 0.05."),
    ] = None,
    forget_images_gone: ForgetImagesGone = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="The teacher was trained in shards: train those that hold the forgotten again without them."
        ),
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what it would take: steps, sample passes, seconds and disk.")
    ] = False,
    settings: Settings = None,
    overlay: Overlays = None,
    resume: Resume = False,
    device: Device = None,
    processes: Processes = 1,
    quiet: Quiet = False,
    trust_config: TrustConfig = False,
) -> None:
    """Make a trained model forget the split's forget cases, or classes of its masks.

    Example: mu-monai unlearn isic --split split.json --teacher runs/teacher --set method#forget_weight=2 --out runs/e2r

    Example: mu-monai unlearn isic --split split.json --teacher runs/teacher --preset two-phase --out runs/two-phase

    Example: mu-monai unlearn isic --split split.json --teacher runs/teacher --method rewind --budget 0.05 --out runs/r

    Example: mu-monai unlearn volume3d --split split.json --teacher runs/teacher --forget-class lesion --out runs/e2r

    Example: mu-monai unlearn isic --split request.json --teacher runs/sharded --exact --out runs/without
    """
    from mu_monai import workflow

    if exact:
        chosen: dict[str, object] = {"--method": method, "--preset": preset, "--lora-targets": lora_targets}
        others: dict[str, object] = {"--milestones": milestones, "--forget-class": forget_class, "--budget": budget}
        raise_if_any(only_without({**chosen, **others, **several(processes), "--set": settings}, "--exact"))
        run = workflow.unlearn_exactly(
            bundle,
            split=split,
            teacher=teacher,
            out=out,
            forget_images_gone=forget_images_gone,
            overlays=overlay or [],
            plan=plan,
            resume=resume,
            device=device,
            quiet=quiet,
            trust=trust(bundle, trust_config),
        )
        if not plan:
            finished(run)
        return
    run = workflow.unlearn(
        bundle,
        split=split,
        teacher=teacher,
        out=out,
        method=method,
        preset=preset,
        lora_targets=lora_targets,
        forget_classes=forget_class or [],
        milestones=milestones,
        budget=budget,
        forget_images_gone=forget_images_gone,
        plan=plan,
        settings=settings or [],
        overlays=overlay or [],
        resume=resume,
        device=device,
        processes=processes,
        quiet=quiet,
        trust=trust(bundle, trust_config),
    )
    if not plan:
        finished(run)
