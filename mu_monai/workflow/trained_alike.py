"""How a run was trained, so that others are trained alike; and a run of many that is made, resumed or kept."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from mu_monai.bundle import Bundle
from mu_monai.bundle.config import read_config
from mu_monai.bundle.multi_gpu import multi_gpu
from mu_monai.bundle.trust import SEPARATOR, Trust, inherited, received_config
from mu_monai.engine.checkpoint import has_checkpoint
from mu_monai.errors import InputError
from mu_monai.keys import CHECKPOINTS_DIR
from mu_monai.lock import writing
from mu_monai.runs import RunRecord, is_complete, is_finished
from mu_monai.runs.shards import has_shards

# Ids of a run's config that each shadow model sets for itself, or that only say how a run is logged and written.
_OWN = {
    *("bundle_name", "bundle_root", "dataset_dir", "run_dir", "split", "device", "teacher", "seed", "subsets"),
    *("imports", "cases", "scorer", "run_folder", "handlers", "initialize", "run", "preset", "method"),
    *("resume", "quiet", "score_interval", "cache_dir"),
}
_BATCH = "batch_size"


def changed_settings(
    run: str | Path, record: RunRecord, config: str, trust: Trust, overlays: Sequence[str] = ()
) -> dict[str, Any]:
    """The values in a run's config that differ from its bundle's, as an overlay, or as one below others.

    What several processes made, one process makes alike with batches of as many cases as all of them took.

    Raises:
        InputError: if the config is more than data, the model is an average of shards, or several processes made it and
            their batches have no size that can be set.
    """
    if has_shards(run):
        raise InputError(
            f"the model of '{run}' is an average of shards, and a model that is trained in one piece is not its like; "
            "forget with mu-monai unlearn --exact, whose result is the retrained model, and leave comparisons with "
            "others out (compare, --shadows)"
        )
    bundle = trust.bundle_of(record)
    bundled, ran = read_config(bundle.files(config)), received_config(run)
    together = record.processes or 1
    if together > 1:
        ran = _as_one_process(ran, config, bundled)
    changed = [key for key, value in ran.items() if key not in _OWN and value != bundled.get(key)]
    found = inherited(run, bundle, changed, overlays=overlays, trust=trust)
    settings = {key: value for key, value in found.items() if key.partition(SEPARATOR)[0] in changed}
    if together > 1:
        size = settings.get(_BATCH, bundled.get(_BATCH))
        if not isinstance(size, int):
            raise InputError(
                f"{together} processes made '{run}', and its bundle has no {_BATCH} by which one process could take as "
                "many cases in a step; leave out what trains models alike (compare, --shadows)"
            )
        settings[_BATCH] = together * size
    return settings


def _as_one_process(ran: dict[str, Any], name: str, bundled: ConfigParser) -> dict[str, Any]:
    """A config without what was laid over it for several processes."""
    parser, made = ConfigParser(copy.deepcopy(ran)), multi_gpu(name, bundled.get())
    for place in made:
        if place in bundled and place in parser:
            parser[place] = bundled.get(place)
    return {key: value for key, value in parser.get().items() if key in bundled or key not in made}


def training_digest(training: RunRecord, overlay: Mapping[str, Any], trust: Trust) -> str:
    """The digest of the config that a run was trained with, without the ids that each model sets for itself."""
    bundled = read_config(trust.bundle_of(training).files("train")).get()
    return digest({key: value for key, value in (bundled | overlay).items() if key not in (*_OWN, "_meta_")})


def unlearning_digest(bundle: Bundle, layers: Sequence[str]) -> str:
    """The digest of what a bundle gives an unlearning run: its config, without the ids that each run sets, and code.

    Args:
        bundle: the bundle.
        layers: what is laid over its config: a preset or its own settings of a method, and the user's overlays.
    """
    config = read_config(bundle.files("unlearn", layers)).get()
    own = {key: value for key, value in config.items() if key == "method" or key not in (*_OWN, "_meta_")}
    return digest({"config": own, "code": bundle.code_sha256})


def digest(content: Any) -> str:
    """SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def complete(folder: Path, make: Callable[[Path, bool], object]) -> None:
    """Start a run, resume it if it was interrupted or lacks its scores, or leave it if it is complete.

    Raises:
        InputError: if another command is making it, as two comparisons may with one cache.
    """
    if is_complete(folder):
        return
    with writing(folder):  # before anything is removed
        resume = is_finished(folder) or has_shards(folder) or has_checkpoint(folder / CHECKPOINTS_DIR)
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)  # its first epoch never finished
        make(folder, resume)
