"""What a site does in a round: an ordinary run of its bundle on its own cases, from the weights that it was sent."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mu_monai.adapters import read_weights
from mu_monai.adapters.milestones import write_safetensors
from mu_monai.audit import Sample, loss_membership, mean_interval
from mu_monai.bundle import open_bundle
from mu_monai.bundle.config import run_config
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import INHERITED, SEPARATOR, with_references
from mu_monai.data import Split, read_split
from mu_monai.engine.stop_at_reference import REFERENCE
from mu_monai.errors import InputError
from mu_monai.keys import (
    CASE_ID,
    MODEL_PT,
    PATIENT_ID,
    RETAIN,
    RETRAINED,
    STUDENT,
    SUBSET,
    TEACHER,
    TEST,
)
from mu_monai.methods import GradientAscent, ShrinkAndRestore, UnlearningMethod
from mu_monai.record import without_nan
from mu_monai.runs import read_record, scores_file
from mu_monai.runs.federation import (
    RESTORE,
    RETRAINING,
    TEACHER_FILE,
    TRAIN,
    TRAINING,
    UNLEARN,
    Federation,
    Round,
    Site,
    SiteNumbers,
    site_folder,
)
from mu_monai.runs.scores import leading_metric, read_scores
from mu_monai.workflow.bundling.trying import label_problems, tried
from mu_monai.workflow.recipe import common_options, gone_options, reading_options, recipe_of

Weights = Mapping[str, torch.Tensor]
_SCORER, _RUN = "@scorer", ["$@train::trainer.run()"]


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What a site made of the global model.

    Args:
        weights: its weights.
        passes: the sample passes that they took.
        said: what its run warned of; it names nobody.
    """

    weights: dict[str, torch.Tensor]
    passes: int
    said: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AtSite:
    """One site, as it sees itself.

    Args:
        folder: the folder of the federation.
        federation: how it is made.
        site: the site.
    """

    folder: Path
    federation: Federation
    site: Site

    @property
    def own(self) -> Path:
        """The folder that nobody else reads."""
        return site_folder(self.folder, self.site.name)

    @cached_property
    def split(self) -> Split:
        """Its split."""
        return read_split(self.site.split)

    def stamp(self) -> list[str]:
        """Name, version, code and configs of its bundle, which must be those of the federation."""
        bundle = open_bundle(self.site.bundle)
        return [", ".join(bundle.names), bundle.version, bundle.code_sha256, bundle.configs_sha256]

    def problems(self) -> list[str]:
        """Why a bundle that was made elsewhere cannot train on the site's cases: one goes through all of its parts."""
        config = self._training(self.federation.rounds[0], self.own)
        found = label_problems(tried(config), config)
        return [f"site '{self.site.name}': {problem}" for problem in found]

    def change(self, work: Round, received: Weights) -> Changed:
        """Train, restore or unlearn.

        Args:
            work: the round.
            received: the global model.
        """
        run, file = self.own / "run", self._kept("received", received)
        shutil.rmtree(run, ignore_errors=True)
        config = {TRAIN: self._training, RESTORE: self._restoring, UNLEARN: self._unlearning}[work.task](work, file)
        config.lay("options", {"run_dir": str(run), "quiet": True, "seed": self._seed(work)})
        run_config(config.files, config.overrides)
        record = read_record(run)
        said = record.warnings if work.task == UNLEARN else ()
        made = Changed(weights=read_weights(run / MODEL_PT), passes=record.cost.passes or 0, said=said)
        shutil.rmtree(run)
        return made

    def measure(self, received: Weights) -> SiteNumbers:
        """Score every case of the site, keep the scores there, and tell a few numbers."""
        place = self.own / "audit"
        config = LayeredConfig(open_bundle(self.site.bundle), "evaluate")
        self._lay(config, self._alike(config))
        role = {TRAINING: TEACHER, RETRAINING: RETRAINED}.get(self.federation.route, STUDENT)
        weights = {role: str(self._kept("received", received))}
        config.lay("options", {"weights": weights, "run_dir": str(place)})
        run_config(config.files, config.overrides)
        return site_numbers(self.site.name, read_scores(scores_file(place)), self.split)

    def _seed(self, work: Round) -> int:
        """Of the first epoch of a round, so that the epochs of all rounds have seeds of their own."""
        return self.federation.seed + (work.number - 1) * self.federation.local_epochs

    def _kept(self, name: str, weights: Weights) -> Path:
        return write_safetensors((self.own / f"{name}.safetensors").resolve(), weights)

    def _lay(self, config: LayeredConfig, settings: Mapping[str, Any]) -> None:
        device = self.federation.device or None
        config.lay("options", common_options(config.bundle, self.site.split, device))
        config.lay("settings", settings)
        config.lay("options", reading_options(self.split, config))

    def _alike(self, config: LayeredConfig) -> dict[str, Any]:
        """The settings of the training that say how a model is used: network, transforms, loss and what they need."""
        ids = {*with_references(config.read().get(), INHERITED)}
        settings = self.federation.settings
        return {key: value for key, value in settings.items() if key.partition(SEPARATOR)[0] in ids}

    def _training(self, _: Round, received: Path) -> LayeredConfig:
        config = LayeredConfig(open_bundle(self.site.bundle), "train")
        parser = config.read()
        config.lay("recipe", {"handlers": _starting(parser.get("handlers"), received), "run": _RUN})
        config.lay("recipe", {"milestones": 0} if "milestones" in parser else {})
        config.lay("options", {"subsets": [RETAIN], "max_epochs": self.federation.local_epochs})
        self._lay(config, self.federation.settings)
        return config

    def _restoring(self, work: Round, received: Path) -> LayeredConfig:
        teacher = (self.own / TEACHER_FILE).resolve()
        if work.damage:  # the first of these rounds brings the model as it was when the site left
            shutil.copyfile(received, teacher)
        config = self._method(ShrinkAndRestore)
        config.lay("recipe", {"handlers": _starting(config.read().get("handlers"), received), "max_epochs": 1})
        config.lay("options", {"method::damage": work.damage, "method::stop_at": None, "teacher": str(teacher)})
        config.lay("options", gone_options(True))  # no case of the site that left is here
        self._lay(config, self._alike(config) | self.federation.forgetting)
        batch, cases = config.read().get("batch_size"), len(self.split.rows[RETAIN])  # --set may have another batch
        if isinstance(batch, int) and batch > 0:
            config.lay("recipe", {"epoch_length": self.federation.local_epochs * math.ceil(cases / batch)})
        return config

    def _unlearning(self, _: Round, received: Path) -> LayeredConfig:
        config = self._method(GradientAscent)
        # faster and longer than the method's own recipe, which hardly moves the losses of a whole site: the run ends
        # when they are like those of unseen cases
        faster = {"learning_rate": 3e-4, "max_epochs": 30, "score_interval": 30}
        config.lay("recipe", {"cases": "$mu_monai.data.load_leaving(@split)", **faster})
        config.lay("options", {"method::stop_at": REFERENCE, "teacher": str(received)})
        self._lay(config, self._alike(config) | self.federation.forgetting)
        return config

    def _method(self, kind: type[UnlearningMethod]) -> LayeredConfig:
        config = LayeredConfig(open_bundle(self.site.bundle), "unlearn")
        config.lay("recipe", recipe_of(kind, config.bundle, config.read("recipe")))
        config.lay("recipe", {"run": _RUN})
        return config


def _starting(handlers: list[Any], received: Path) -> list[Any]:
    """The handlers of a run that starts from weights that were sent, and that nobody scores at its end."""
    start = {"_target_": "mu_monai.engine.StartFrom", "weights": str(received)}
    return [start, *(handler for handler in handlers if handler != _SCORER)]


def site_numbers(name: str, scores: pd.DataFrame, split: Split) -> SiteNumbers:
    """What a site tells of its scores: the mean over unseen cases, and how well its own patients can be told from them.

    Args:
        name: the name of the site.
        scores: the scores of one model on its split.
        split: the split.

    Raises:
        InputError: if no unseen case was scored.
    """
    metric, unseen = leading_metric(scores), scores[scores[SUBSET] == TEST]
    if unseen.empty:
        raise InputError(f"site '{name}' has no cases in 'test' to measure the model on; make a split with some")
    found = mean_interval(Sample(unseen[metric], unseen[PATIENT_ID].astype(str)))
    members = {str(case[CASE_ID]) for case in split.rows[RETAIN]}
    told = loss_membership(scores, members)
    auc = {} if told is None else {"auc": told.value, "auc_low": told.low, "auc_high": told.high}
    utility = {"value": found.value, "low": found.low, "high": found.high}
    counts = {"unseen": found.n_patients, "trained": len(split.patients(RETAIN))}
    return SiteNumbers(site=name, metric=metric, **counts, **without_nan({**utility, **auc}))
