"""The command `milestones`: what the weights of earlier epochs are worth."""

from __future__ import annotations

from mu_monai.cli.options import Device, MilestoneFolder, MovedSplit, RunBundle, RunDir, TrustConfig, trust
from mu_monai.cli.screen import show


def milestones(
    run: RunDir,
    split: MovedSplit = None,
    milestones: MilestoneFolder = None,
    device: Device = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Show when a training began to memorize its patients: its milestones, scored on validation cases.

    Example: mu-monai milestones runs/teacher
    """
    from mu_monai import workflow

    table = workflow.milestones(run, split=split, folder=milestones, device=device, trust=trust(bundle, trust_config))
    show(table.to_string(index=False, float_format="{:.3f}".format, na_rep=""), lines=True)
    show("auc: the probability that a patient who was trained on has a lower loss than one of validation; 0.5 is none")
