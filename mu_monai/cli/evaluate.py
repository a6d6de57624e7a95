"""The command `evaluate`: score a run's split again."""

from __future__ import annotations

from mu_monai.cli.options import Device, MovedSplit, Processes, RunBundle, RunDir, TeacherFile, TrustConfig, trust
from mu_monai.cli.screen import show


def evaluate(
    run: RunDir,
    split: MovedSplit = None,
    teacher: TeacherFile = None,
    device: Device = None,
    processes: Processes = 1,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Score every case of a run's split again.

    Example: mu-monai evaluate runs/e2r
    """
    from mu_monai import workflow

    scores = workflow.evaluate(
        run,
        split=split,
        teacher=teacher,
        device=device,
        processes=processes,
        trust=trust(bundle, trust_config),
    )
    show(f"scores: {scores}")
    show(workflow.summary(run), lines=True)
