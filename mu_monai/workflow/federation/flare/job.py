"""The program that runs a federation in NVFlare's simulator: `python -m mu_monai.workflow.federation.flare.job FOLDER`.

It is a process of its own, since NVFlare takes over logging and `sys.argv` of the one that imports it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from nvflare.fuel.utils.constants import FrameworkType
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import ScriptRunner
from nvflare.recipe import SimEnv
from nvflare.recipe.spec import Recipe

from mu_monai.runs.federation import FOLDER, read_federation
from mu_monai.workflow.federation.flare.server import Rounds


class _FederationRecipe(Recipe):
    """A job whose rounds and sites `federation.json` names."""


def simulate(folder: str) -> None:
    """Run the rounds of a federation, each site in a process of its own.

    Args:
        folder: its folder, with `federation.json` and the model to start from.
    """
    federation = read_federation(folder)
    names = sorted({name for each in federation.rounds for name in each.sites})
    job = FedJob(name="federation", min_clients=len(names))
    job.to_server(Rounds(folder=folder))
    script = str(Path(__file__).with_name("client.py"))
    for name in names:
        job.to(ScriptRunner(script=script, framework=FrameworkType.PYTORCH), name)
    os.environ[FOLDER] = folder  # sites inherit it; NVFlare would divide a script's arguments at spaces
    with tempfile.TemporaryDirectory() as workspace:
        _FederationRecipe(job).execute(SimEnv(clients=names, workspace_root=workspace))


if __name__ == "__main__":
    simulate(sys.argv[1])
