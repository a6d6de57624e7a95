"""The config that the running MONAI workflow was started with."""

from __future__ import annotations

import inspect
from typing import Any

from monai.bundle import ConfigWorkflow


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
