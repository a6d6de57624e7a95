"""The command `revert`: the teacher as plain weights."""

from __future__ import annotations

from mu_monai.cli.options import OutFile, RunBundle, RunDir, TeacherFile, TrustConfig, trust
from mu_monai.cli.screen import show


def revert(
    run: RunDir,
    out: OutFile,
    teacher: TeacherFile = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Write the teacher as plain weights, bit for bit those that the run started from.

    Example: mu-monai revert runs/e2r --out teacher.pt
    """
    from mu_monai import workflow

    file = workflow.revert(run, out=out, teacher=teacher, trust=trust(bundle, trust_config))
    show(f"weights of the teacher: {file}")
