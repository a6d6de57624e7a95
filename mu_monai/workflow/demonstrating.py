"""The whole workflow on built-in phantoms: split, teacher, retrained model, unlearning, audit, report."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from mu_monai.data import phantom_split
from mu_monai.data.phantoms import PhantomKind
from mu_monai.errors import InputError
from mu_monai.keys import RETAIN
from mu_monai.lock import writes
from mu_monai.runs import read_record
from mu_monai.workflow.auditing.judging import audit
from mu_monai.workflow.auditing.summarizing import attack_summary, audit_summary
from mu_monai.workflow.options import AuditOptions
from mu_monai.workflow.reporting import report
from mu_monai.workflow.summarizing import cost_in_words
from mu_monai.workflow.training import train
from mu_monai.workflow.unlearning import unlearn

_IMAGE = "image_size=[96, 96]"  # 1/7 of the bundle's pixels: the demo should take minutes on a CPU
# Volumes are resampled to voxels twice as large in each direction, for a network with fewer layers.
_VOLUME = (
    *("spacing=[3.0, 3.0, 4.0]", "patch_size=[32, 32, 32]"),
    *("network_def#channels=[8, 16, 32, 64]", "network_def#strides=[2, 2, 2]"),
)
_ATTACKS = ("retain-finetuning",)  # at three rates; relearning would say little about three forgotten patients
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The settings of the demo for one kind of phantom.

    Args:
        bundle: a shipped one.
        patients: the number of patients, with `images_per_patient` each.
        training: settings of the teacher and of the retrained model.
        method: the method that unlearns.
        budget: the most that it may cost, as a share of the teacher's training.
        unlearning: settings of the unlearning, besides those taken from the teacher's run.
    """

    bundle: str
    patients: int
    images_per_patient: int
    training: tuple[str, ...]
    method: str
    budget: float
    unlearning: tuple[str, ...]


_JOBS: dict[PhantomKind, _Job] = {
    "lesions": _Job(
        bundle="isic",
        patients=40,
        images_per_patient=2,
        training=(_IMAGE, "max_epochs=40", "score_interval=10"),
        method="rewind",
        budget=0.29,  # less than a third of retraining, which has fewer patients
        # a third of a training of 280 steps is short: a higher rate than the method's own makes up for it
        unlearning=("learning_rate=0.003",),
    ),
    "volumes": _Job(
        bundle="volume3d",
        patients=20,
        images_per_patient=1,
        training=(*_VOLUME, "max_epochs=60", "learning_rate=0.002", "score_interval=20"),
        # before these few volumes are memorized the model has hardly learned the task, so there is no way back
        method="shrink-and-restore",
        budget=0.33,
        unlearning=("max_epochs=1", "method#damage=0.6"),
    ),
}


@writes("out")
def demo(*, out: str | Path, volume: bool = False, quiet: bool = False) -> Path:
    """Run the whole workflow in a few minutes on a CPU.

    Args:
        out: the folder to make: `phantoms/`, `runs/` and `report/`.
        volume: use CT-like volumes with two structures instead of images of lesions.
        quiet: no progress bars.

    Returns:
        the path of the report.

    Raises:
        InputError: if `out` exists and is not empty.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"'{out}' exists and is not empty; give another --out or remove it")
    kind: PhantomKind = "volumes" if volume else "lesions"
    job, runs = _JOBS[kind], out / "runs"
    logger.info("1/6 drawing phantoms and splitting them by patient")
    split = phantom_split(kind, out / "phantoms", patients=job.patients, images_per_patient=job.images_per_patient)
    logger.info("2/6 training the teacher on retain and forget")
    teacher = train(job.bundle, split=split, out=runs / "teacher", settings=job.training, quiet=quiet)
    logger.info("3/6 training the retrained model on retain alone, for comparison")
    retrained = train(
        job.bundle, split=split, out=runs / "retrained", subsets=[RETAIN], settings=job.training, quiet=quiet
    )
    logger.info("4/6 unlearning with %s, at most %.0f %% of the teacher's training", job.method, 100 * job.budget)
    student = unlearn(
        job.bundle,
        split=split,
        teacher=teacher,
        out=runs / "unlearned",
        method=job.method,
        budget=job.budget,
        settings=job.unlearning,
        quiet=quiet,
    )
    logger.info("it took %s", cost_in_words(read_record(student), read_record(retrained)))
    logger.info("5/6 auditing: can the forgotten patients still be recognized, and does further training help?")
    audited = audit(student, options=AuditOptions(references=[retrained], attacks=_ATTACKS, quiet=quiet))
    for line in (audit_summary(audited).partition("\n")[0], *attack_summary(audited).splitlines()):
        logger.info("%s", line)
    logger.info("6/6 writing the report")
    return report([teacher, retrained, student], out=out / "report")
