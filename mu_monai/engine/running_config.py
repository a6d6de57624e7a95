"""The config that the running MONAI workflow was started with, and what of it may differ when a run is resumed."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

# What may differ when a run is resumed: paths, the number of epochs unless something takes its course over all of them
# (`mu_monai.engine.schedule.span`), and what is only observed. Split and weights are compared by content.
FREE = {
    *("resume", "run_dir", "bundle_root", "dataset_dir", "split", "teacher", "device"),
    *("max_epochs", "quiet", "score_interval", "initialize", "milestones"),
}


def running_config() -> dict[str, Any] | None:
    """The config of the MONAI workflow that is running, including overrides; `None` outside a workflow.

    A MONAI config cannot refer to itself as a whole, so the workflow is looked up among the callers.
    """
    for frame in inspect.stack(context=0):
        workflow = frame.frame.f_locals.get("self")
        if isinstance(workflow, ConfigWorkflow):
            config = workflow.parser.get()
            return {key: value for key, value in config.items() if key != "_meta_"}
    return None


def changed_ids(before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = FREE) -> list[str]:
    """Why the rest of a run would differ from its beginning: the config ids that changed, other than the free ones."""
    old, new = (beside(content, content.get("teacher")) for content in (before, now))
    ids = sorted(key for key in old.keys() | new.keys() if key not in free and old.get(key) != new.get(key))
    return [
        f"config id '{key}' was {before.get(key)!r} and is now {now.get(key)!r}; resume with the same, or start a new "
        "run"
        for key in ids
    ]


def beside(value: Any, teacher: Any) -> Any:
    """A value with the paths of what lies beside the teacher's weights, such as its milestones, as seen from there.

    These move with the teacher, whose weights are compared by content.

    Args:
        value: a value of a config or record.
        teacher: the path of the weights; anything else if there are none.

    Example:
        >>> beside({"kd_weight": 0.0, "milestones": "/old/teacher/milestones"}, "/old/teacher/model.pt")
        {'kd_weight': 0.0, 'milestones': 'milestones'}
    """
    if isinstance(value, Mapping):
        return {key: beside(item, teacher) for key, item in value.items()}
    if isinstance(value, list):
        return [beside(item, teacher) for item in value]
    if isinstance(value, str) and isinstance(teacher, str):
        return value.removeprefix(f"{Path(teacher).parent.as_posix()}/")
    return value
