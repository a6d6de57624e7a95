"""What a model that was trained in shards is made of, and whether it still is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.adapters.averaging import base_problems, shard_average
from mu_monai.bundle.config import built_network
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import STRANGER, Trust, inherited
from mu_monai.data import read_split
from mu_monai.data.shards import members_sha256
from mu_monai.errors import collect
from mu_monai.keys import MODEL_PT, RETAIN
from mu_monai.runs import read_record
from mu_monai.runs.shards import Shard, adapter_problems, read_shards, shard_split
from mu_monai.workflow.handover.verifying import FAILED, NOT_CHECKED, OK, Check


def shards(run: str | Path, *, trust: Trust = STRANGER) -> tuple[pd.DataFrame, list[Check]]:
    """The shards of a run, and whether base, members, adapters and the average are those of `shards.json`.

    Args:
        run: a run folder with a `shards.json`.
        trust: how far the run is trusted.

    Returns:
        one row per shard: `shard`, `patients`, `cases`, `steps`, `fitted` (whether this run trained it) and `share` of
        all shards' training, in [0, 1]; and the checks.

    Raises:
        InputError: if the run has no shards, or its `shards.json` was changed after it was written.
    """
    folder, content = Path(run), read_shards(run)
    table = pd.DataFrame(
        {
            "shard": shard.name,
            **{"patients": shard.patients, "cases": shard.cases, "steps": shard.steps, "fitted": shard.fitted},
            "share": round((shard.passes or 0) / content.passes, 3) if content.passes else 0.0,
        }
        for shard in content.shards
    )
    checks = [
        _check("base", collect(lambda: base_problems(folder, content)), f"SHA-256 {content.base[:12]}"),
        *(_check(f"shard '{shard.name}'", _shard_problems(folder, shard), _fine(shard)) for shard in content.shards),
    ]
    average = Check("average", NOT_CHECKED, "its parts are not those that it was made of")
    return table, [*checks, average if any(check.failed for check in checks) else _average(folder, trust)]


def _fine(shard: Shard) -> str:
    return f"members {shard.members[:12]}, adapters {str(shard.adapter)[:12]}"


def _check(name: str, problems: Sequence[str], fine: str) -> Check:
    return Check(name, FAILED, "; ".join(problems)) if problems else Check(name, OK, fine)


def _shard_problems(folder: Path, shard: Shard) -> list[str]:
    return collect(lambda: adapter_problems(folder, [shard]), lambda: _member_problems(folder, shard))


def _member_problems(folder: Path, shard: Shard) -> list[str]:
    """Why the split of a shard does not hold the cases that it was trained on; their files may be gone."""
    split = read_split(shard_split(folder, shard))
    digest = members_sha256(split, split.located[RETAIN])
    if digest == shard.members:
        return []
    return [f"its split '{split.path}' holds other cases ({digest}) than it was trained on ({shard.members})"]


def _average(folder: Path, trust: Trust) -> Check:
    """Whether the run's weights are the average of its parts, bit for bit."""
    config = LayeredConfig(trust.bundle_of(read_record(folder)), "evaluate")
    config.lay("run", inherited(folder, config.bundle, ["classes", "image_size", "network_def"], trust=trust))
    made = weights_sha256(shard_average(built_network(config.read()), folder).state_dict())
    found = weights_sha256(read_weights(folder / MODEL_PT))
    problems = [] if made == found else [f"the parts make weights with the SHA-256 {made}, and {MODEL_PT} has {found}"]
    return _check("average", problems, f"{MODEL_PT} is the average of the parts, bit for bit")
