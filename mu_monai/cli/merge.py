"""The command `merge`: the student as plain weights."""

from __future__ import annotations

from mu_monai.cli.options import OutFile, RunBundle, RunDir, TeacherFile, TrustConfig, trust
from mu_monai.cli.screen import show


def merge(
    run: RunDir,
    out: OutFile,
    teacher: TeacherFile = None,
    bundle: RunBundle = None,
    trust_config: TrustConfig = False,
) -> None:
    """Write the student as plain weights, with its adapters merged.

    Example: mu-monai merge runs/e2r --out student.pt
    """
    from mu_monai import workflow

    file = workflow.merge(run, out=out, teacher=teacher, trust=trust(bundle, trust_config))
    show(f"weights of the student: {file}")
