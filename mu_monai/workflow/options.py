"""The options of an audit, of a comparison, of whom a split forgets and of answers to requests, each as one object.

The other verbs take their options as keywords.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mu_monai.audit import LEAST_SHADOWS
from mu_monai.audit.bootstrap import N_RESAMPLES

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class ForgetChoice:
    """Whom a split forgets: at most one of a share, a file of ids and a condition.

    Args:
        fraction: share of the training patients, in (0, 1).
        ids: a file of patient or case ids, one per line.
        where: a condition over the columns of the manifest, such as `device == 'a'`.
        share: with `where`, the share of the matching training patients to forget, in (0, 1); None for all.

    Example:
        >>> ForgetChoice(where="device == 'a'", share=0.5)
        ForgetChoice(fraction=None, ids=None, where="device == 'a'", share=0.5)
    """

    fraction: float | None = None
    ids: str | Path | None = None
    where: str | None = None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How a run is audited.

    Args:
        references: run folders of models that were retrained without the forgotten patients, with different seeds; the
            student is compared with the first.
        siblings: run folders of the same unlearning with other seeds, for KLoM.
        attacks: names of attacks on the weights, or `all`.
        shadows: the number of shadow models that LiRA compares with, at least 4; 0 for none.
        pool: the folder that the shadow models are kept in.
        by: the columns of the split to group cases by; by default all with 2 to 20 values.
        seed: seed of draws and attacks, >= 0.
        n_resamples: bootstrap draws per interval.
        distances: whether to compare the networks with the retrained model's, which takes minutes.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        workers: where shadow models are trained, such as `2`, `ray` or `slurm`; None for this process.
        gpus_per_job: the part of a GPU for each, in (0, 1]; None for none of the workers'.
        quiet: no progress bars.

    Example:
        >>> options = AuditOptions(references=["runs/retrained"], attacks=["all"])
        >>> options.n_resamples
        2000
    """

    references: Sequence[str | Path] = ()
    siblings: Sequence[str | Path] = ()
    attacks: Sequence[str] = ()
    shadows: int = 0
    pool: str | Path | None = None
    by: Sequence[str] = ()
    seed: int = 0
    n_resamples: int = N_RESAMPLES
    distances: bool = True
    device: str | None = None
    workers: str | None = None
    gpus_per_job: float | None = None
    quiet: bool = False

    def problems(self) -> Iterator[str]:
        """What is wrong with the options, regardless of the run.

        Example:
            >>> list(AuditOptions(seed=-1).problems())
            ['--seed -1 is not allowed; use 0, 1, 2 ...']
        """
        if bool(self.shadows) != (self.pool is not None):
            yield "--shadows N and --pool FOLDER must be given together: the number of shadow models, and their folder"
        if self.shadows and self.shadows < LEAST_SHADOWS:
            yield (
                f"--shadows {self.shadows} is not allowed: each patient needs 2 shadow models that were trained on it "
                f"and 2 that were not; use at least {LEAST_SHADOWS}, better 16 or more"
            )
        if self.workers is not None and not self.shadows:
            yield f"--workers {self.workers} is for shadow models; give --shadows as well, or omit it"
        if self.seed < 0:
            yield f"--seed {self.seed} is not allowed; use 0, 1, 2 ..."


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What is compared, and how.

    Args:
        methods: names, with `:preset` for a preset of the bundle, or `all` for every method that can do the task.
        seeds: the seeds of each method, the first for the trials.
        trials: the number of settings that each method may choose from, 1 to 4.
        cache: the folder that retrained models are kept in; by default `retrained` in the comparison's.
        references: runs of retrained models, one for all seeds or one per seed, in their order; empty to train them.
        attacks: names of attacks for the audits, or `all`.
        settings: `KEY=VALUE` overrides of config ids, the same for all methods.
        overlays: config files laid over the bundle's, by path or by name in its `configs/`.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        n_resamples: bootstrap draws per interval of the audits.
        workers: where runs are made, such as `2`, `ray` or `slurm`; None for this process, one after the other.
        gpus_per_job: the part of a GPU for each run, in (0, 1]; None for none of the workers'.

    Example:
        >>> CompareOptions(methods=["scrub", "npo"], seeds=[0, 1, 2]).trials
        3
    """

    methods: Sequence[str] = (ALL,)
    seeds: Sequence[int] = (0,)
    trials: int = 3
    cache: str | Path | None = None
    references: Sequence[str | Path] = ()
    attacks: Sequence[str] = ()
    settings: Sequence[str] = ()
    overlays: Sequence[str] = ()
    device: str | None = None
    n_resamples: int = N_RESAMPLES
    workers: str | None = None
    gpus_per_job: float | None = None


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """How waiting requests are answered.

    Args:
        route: the route; by default the first that is possible.
        folds: the models of a cross-validation of the first version's split, for the route `rollback`.
        budget: the most that an approximate route may cost, as a share of the first version's training, in [0, 1].
        settings: `KEY=VALUE` overrides of config ids, for routes that take them.
        forget_images_gone: the images of the forgotten no longer exist, or must not be opened.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        quiet: no progress bar.

    Example:
        >>> RequestOptions(budget=0.05).route is None
        True
    """

    route: str | None = None
    folds: str | Path | None = None
    budget: float | None = None
    settings: Sequence[str] = ()
    forget_images_gone: bool = False
    device: str | None = None
    quiet: bool = False
