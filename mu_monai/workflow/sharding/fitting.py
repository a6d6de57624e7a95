"""The trainings of single shards: ordinary runs that see a shard's cases, the base and the seed, and nothing else."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mu_monai.adapters import Student, load_weights
from mu_monai.bundle import Bundle
from mu_monai.bundle.config import built_network, read_config, run_config
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.data import Split
from mu_monai.data.shards import expected_requests, expected_share
from mu_monai.engine.checkpoint import has_checkpoint
from mu_monai.engine.running_config import FREE, changed_ids
from mu_monai.files import read_json
from mu_monai.keys import BASE_PT, CHECKPOINTS_DIR, CONFIG_JSON, MODEL_PT, RETAIN
from mu_monai.runs import is_finished, read_record
from mu_monai.runs.shards import Shard, Shards, adapter_sha256, shard_folder, shard_split, write_shards
from mu_monai.workflow.recipe import common_options, reading_options

_DECIDED = FREE - {"max_epochs", "initialize"}  # a shard's training has to be repeated with the same epochs
_ADAPTERS = {"scope": "all", "r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "bn_mode": "eval"}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How every shard of a model is trained: alike, apart from its cases.

    Args:
        bundle: the bundle.
        split: the split of all cases, for how its files are read.
        inherited: what comes with the base's run, or with the shards that were trained before, by config id.
        settings: overrides by config id.
        overlays: config files laid over the bundle's.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        quiet: no progress bar.
    """

    bundle: Bundle
    split: Split
    inherited: Mapping[str, Any]
    settings: Mapping[str, Any]
    overlays: Sequence[str] = ()
    device: str | None = None
    quiet: bool = False

    def config(self, out: Path, shard: Shard, *, resume: bool = False) -> LayeredConfig:
        """The config of a shard's training in a run folder."""
        config = LayeredConfig(self.bundle, "train", overlays=self.overlays)
        config.lay("recipe", _recipe(config))
        config.lay("run", self.inherited)
        places = {"run_dir": str(shard_folder(out, shard)), "teacher": str((out / BASE_PT).resolve())}
        config.lay("options", {**places, "subsets": [RETAIN], "resume": resume, "quiet": self.quiet})
        config.lay("options", common_options(self.bundle, shard_split(out, shard), self.device))
        config.lay("settings", self.settings)
        config.lay("options", reading_options(self.split, config))
        return config

    def fit(self, out: Path, shard: Shard) -> Shard:
        """Train a shard, resume its training, or leave it if it is finished; returns what came out.

        The weights of the base with the shard's adapters are not kept: they can be made from both.
        """
        folder = shard_folder(out, shard)
        if not is_finished(folder):
            resume = has_checkpoint(folder / CHECKPOINTS_DIR)
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)  # its first epoch never finished
            config = self.config(out, shard, resume=resume)
            run_config(config.files, config.overrides)
        record = read_record(folder)
        (folder / MODEL_PT).unlink(missing_ok=True)
        cost = record.cost
        return replace(shard, steps=cost.steps, passes=cost.passes, adapter=adapter_sha256(folder))

    def fit_all(self, out: Path, shards: Shards) -> Shards:
        """Train the shards of a run folder that are not trained yet, and write down each when it is finished."""
        for number, shard in enumerate(shards.shards):
            if shard.adapter is None:
                logger.info("shard '%s' (%d of %d)", shard.name, number + 1, len(shards.shards))
                made = [*shards.shards]
                made[number] = self.fit(out, shard)
                shards = replace(shards, shards=tuple(made))
                write_shards(out, shards)
        return shards

    def problems(self, folder: Path, out: Path, shards: Sequence[Shard]) -> Iterator[str]:
        """Why shards would not be trained as those in a run folder were: the config ids that differ."""
        for shard in shards:
            file = shard_folder(folder, shard) / CONFIG_JSON
            if file.is_file():
                yield from trained_otherwise(file, self.config(out, shard))
                return

    def steps(self, out: Path, shard: Shard) -> int | None:
        """The optimizer steps of a shard's training; None if the config does not tell."""
        parser = self.config(out, shard).read()
        epochs, batch = parser.get("max_epochs"), parser.get("batch_size")
        whole = isinstance(epochs, int) and isinstance(batch, int)
        return epochs * math.ceil(shard.cases / batch) if whole else None

    def adapter_size(self, out: Path, shard: Shard) -> int:
        """The number of weights that the adapters of one shard have."""
        parser = self.config(out, shard).read()
        settings = {key: value for key, value in parser.get("network").items() if key not in ("_target_", "network")}
        student = Student(load_weights(built_network(parser), out / BASE_PT), **settings)
        return int(student.budget()["trainable"])


def _recipe(config: LayeredConfig) -> dict[str, Any]:
    """Adapters instead of weights, in one cycle, scored at the end: laid over a bundle's training.

    Statistics stay those of the base, so that adapters are all that a shard changes, and nothing is chosen by cases
    outside of it.
    """
    unlearning, parser = read_config(config.bundle.files("unlearn")), config.read()
    laid = {
        "network": {**unlearning.get("network"), **_ADAPTERS},
        "optimizer": unlearning.get("optimizer"),
        "handlers": [{"_target_": "mu_monai.engine.OneCycle"}, *parser.get("handlers")],
        "run": ["$@train::trainer.run()"],
    }
    quiet = {"milestones": 0, "score_interval": "@max_epochs", "learning_rate": 3e-3}
    return laid | {key: value for key, value in quiet.items() if key in parser}


def announce(fitting: Fitting, out: Path, shards: Shards) -> None:
    """Say what the shards take, now and for every request to come."""
    parts = shards.shards
    steps = [fitting.steps(out, shard) for shard in parts]
    known = [count for count in steps if count is not None]
    told = f", {sum(known)} steps in all" if len(known) == len(steps) else ""
    size, people = 4 * fitting.adapter_size(out, parts[0]), [shard.patients for shard in parts]
    each = f"{min(people)} to {max(people)}" if len(set(people)) > 1 else f"{people[0]}"
    logger.info(
        "%d shards of %s patients%s; adapters take %.2f MB each, %.1f MB in all, and the base %.1f MB",
        len(parts),
        each,
        told,
        size / 1e6,
        len(parts) * size / 1e6,
        (out / BASE_PT).stat().st_size / 1e6,
    )
    for shard, count in zip(parts, steps, strict=True):
        last = "" if count is None else f", {count} steps"
        logger.info("shard '%s': %d patients, %d cases%s", shard.name, shard.patients, shard.cases, last)
    cost = known if len(known) == len(steps) else [shard.cases for shard in parts]
    logger.info(
        "a request of one patient will take %.1f %% of all shards' training on average; after about %.0f such requests "
        "every shard was trained again once",
        100 * expected_share(people, cost),
        expected_requests(people),
    )
    logger.info(
        "every shard takes its last epoch, and the statistics of the base: no case outside of a shard decides anything "
        "in it, validation cases included"
    )


def trained_otherwise(file: Path, config: LayeredConfig) -> list[str]:
    """The ids by which the config of an earlier training differs from this one, if they decide about the weights."""
    return changed_ids(read_json(file, dict), config.resolved(), _DECIDED)
