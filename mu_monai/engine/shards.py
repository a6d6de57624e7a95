"""Takes the average of a run folder's shards in place of a training."""

from __future__ import annotations

import copy
import os
from pathlib import Path

from ignite.engine import Events
from monai.engines import SupervisedTrainer

from mu_monai.adapters import load_weights
from mu_monai.adapters.averaging import shard_average
from mu_monai.engine.cost import count_of
from mu_monai.keys import BASE_PT
from mu_monai.runs import read_record
from mu_monai.runs.shards import read_shards, shard_folder


class TakeShards:
    """Ends a training before its first step; its network starts as the base of the shards and becomes their average.

    Attach it before everything that looks at the network at the end. What the trainings of the shards took counts as
    the run's own cost.

    Args:
        folder: the run folder, with everything that `shards.json` names.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the start and the end of the run."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.COMPLETED, self._complete)

    def _start(self, engine: SupervisedTrainer) -> None:
        load_weights(engine.network, self.folder / BASE_PT)
        count_shards(engine, self.folder)
        engine.terminate()

    def _complete(self, engine: SupervisedTrainer) -> None:
        average = shard_average(copy.deepcopy(engine.network), self.folder)
        engine.network.load_state_dict(average.state_dict())


def count_shards(engine: SupervisedTrainer, folder: str | os.PathLike[str]) -> None:
    """Count what the trainings of the shards took that belong to this run."""
    shards = read_shards(folder).shards
    count_of(engine).taken += [read_record(shard_folder(folder, shard)) for shard in shards if shard.fitted]
