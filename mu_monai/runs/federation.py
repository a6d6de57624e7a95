"""`federation.json`: how several sites trained one model, round by round, and what each of them measured on it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import link_problems
from mu_monai.keys import FEDERATION_JSON, ROUNDS_DIR, SITES_DIR
from mu_monai.runs.record import FINISHED, RUNNING
from mu_monai.runs.stamped import FORMAT, read_part, write_stamped
from mu_monai.runs.typed import plain

TRAIN, RESTORE, UNLEARN, AUDIT = "train", "restore", "unlearn", "audit"  # what sites do in a round
TRAINING, RETRAINING = "training", "retraining"  # routes: nobody left; and without the one that left, from the start
TEACHER_FILE = "teacher.safetensors"  # in the folder of a site that restores: the model as it was when a site left


@dataclass(frozen=True, kw_only=True)
class Site:
    """A site of a federation.

    Args:
        name: its name.
        split: its `split.json`, which the command opens to check all sites together; in a round only the site does.
        sha256: the digest of the split.
        bundle: the folder of the bundle as it has it.
        joins: the first round that it takes part in, from 1.
        cases: how many cases it trains on, which is its weight in the average.
    """

    name: str
    split: str
    sha256: str
    bundle: str
    joins: int = 1
    cases: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """A round: the global model goes to sites, and what they send comes back.

    Args:
        number: the number of the round, from 1.
        task: what the sites do: `train`, `restore`, `unlearn` or `audit`.
        sites: their names.
        damage: for `restore`, how far each site moves the weights toward a fresh initialization first, in [0, 1].
        bytes: the size of all weights that were sent and received; None before the round.
        passes: the sample passes of all sites, see `Cost`; None before the round.
        said: what the site that unlearned was warned of.
    """

    number: int
    task: str
    sites: tuple[str, ...]
    damage: float = 0.0
    bytes: int | None = None
    passes: int | None = None
    said: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SiteNumbers:
    """What a site measured on the model, and all that it tells of its patients; None where it cannot be measured.

    Args:
        site: its name.
        metric: `dice` or `accuracy`.
        value: the mean over its `test` cases, in [0, 1].
        low: lower end of its 95 % interval over patients.
        high: upper end.
        unseen: the number of patients in `test`.
        trained: the number of its patients that the federation trained on.
        auc: how well their losses tell the patients that it trained on from those in `test`; 0.5 is guessing.
        auc_low: lower end of its 95 % interval.
        auc_high: upper end.
    """

    site: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    unseen: int
    trained: int
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Federation:
    """The content of `federation.json`; it names sites, and no patient or case.

    Args:
        format: format of the file.
        status: `running`, or `finished` once all sites have measured the model.
        route: how it was made: `training`, or the route by which a site was forgotten.
        left: the site that left; empty if none did.
        source: the folder of the federation that the site left.
        bundle: the folder of the bundle of the command.
        name: the name of the bundle.
        version: its version, which every site must have.
        code: SHA-256 over the modules of the bundle, which every site must have alike.
        configs: SHA-256 over the configs of the bundle, as well; empty in federations of earlier versions.
        sites: the sites of the model, without the one that left.
        leaver: the site that left, as it was.
        total: the number of the last round of training.
        local_epochs: passes of each site over its cases in a round.
        seed: the seed of the first round.
        device: where sites compute; empty for a GPU if there is one.
        settings: config ids that every site sets for training.
        forgetting: config ids that sites set for rounds that restore or unlearn.
        rounds: all rounds, those to come included.
        numbers: what each site measured at the end.
        weights: SHA-256 of the weights of the result.
        models: SHA-256 of the weights after each round that is over, by its number; 0 for those that training started
            from. Empty in federations of earlier versions.
    """

    format: int = FORMAT
    status: str = RUNNING
    route: str = TRAINING
    left: str = ""
    source: str = ""
    bundle: str
    name: str
    version: str
    code: str
    configs: str = ""
    sites: tuple[Site, ...]
    leaver: Site | None = None
    total: int
    local_epochs: int
    seed: int = 0
    device: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    forgetting: dict[str, Any] = field(default_factory=dict)
    rounds: tuple[Round, ...]
    numbers: tuple[SiteNumbers, ...] = ()
    weights: str = ""
    models: dict[str, str] = field(default_factory=dict)

    @property
    def everybody(self) -> tuple[Site, ...]:
        """The sites, with the one that left."""
        return self.sites if self.leaver is None else (*self.sites, self.leaver)

    @property
    def finished(self) -> bool:
        """Whether all sites have measured the model."""
        return self.status == FINISHED

    @property
    def training(self) -> tuple[Round, ...]:
        """The rounds in which weights change."""
        return tuple(each for each in self.rounds if each.task != AUDIT)

    def model_sha256(self, number: int) -> str:
        """The SHA-256 of the weights after a round; empty if an earlier version trained it, and it is not the last."""
        last = self.finished and number == self.training[-1].number
        return self.weights if last else self.models.get(str(number), "")

    def site(self, name: str) -> Site:
        """A site by its name."""
        return next(site for site in self.everybody if site.name == name)

    def numbers_of(self, name: str) -> SiteNumbers | None:
        """What a site measured; None if it was not asked."""
        return next((each for each in self.numbers if each.site == name), None)

    def after(self, done: Round, weights: str = "") -> Federation:
        """The same, once a round is over.

        Args:
            done: the round.
            weights: the SHA-256 of the weights after it; empty if it changed none.
        """
        rounds = tuple(done if each.number == done.number else each for each in self.rounds)
        return replace(self, rounds=rounds, models=self.models | ({str(done.number): weights} if weights else {}))


def is_federation(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has a `federation.json`."""
    return (Path(folder) / FEDERATION_JSON).is_file()


def write_federation(folder: str | os.PathLike[str], federation: Federation) -> None:
    """Write `federation.json` into a folder, with the digest of its content."""
    write_stamped(Path(folder) / FEDERATION_JSON, plain(federation))


def read_federation(folder: str | os.PathLike[str]) -> Federation:
    """The `federation.json` of a folder.

    Raises:
        InputError: if there is none, the folder contains links, or the file was changed after it was written or has
            another shape.
    """
    if not is_federation(folder):
        raise InputError(
            f"'{folder}' has no {FEDERATION_JSON}, so it holds no model of a federation; train one: mu-monai "
            "federation train BUNDLE --sites sites.json --rounds 8 --out FOLDER"
        )
    raise_if_any(link_problems(folder))
    return read_part(Federation, Path(folder) / FEDERATION_JSON, _OMITTED)


_OMITTED = ("left", "source", "configs", "device", "weights", "models", "leaver")  # empty text and None may be missing


def round_file(folder: str | os.PathLike[str], number: int) -> Path:
    """The global model after a round; 0 is the one that training started from."""
    return Path(folder) / ROUNDS_DIR / f"round-{number:04d}.safetensors"


def site_folder(folder: str | os.PathLike[str], name: str) -> Path:
    """The folder of what a site keeps to itself; elsewhere than in a simulation it is on the site's own machine."""
    return Path(folder) / SITES_DIR / name
