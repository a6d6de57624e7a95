"""Runs federations in NVFlare's simulator: `python -m mu_monai.workflow.federation.flare.job FOLDER...`.

It is a process of its own, since NVFlare takes over logging and `sys.argv` of the one that imports it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nvflare.fuel.utils.constants import FrameworkType
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import ScriptRunner
from nvflare.recipe import SimEnv
from nvflare.recipe.spec import Recipe

from mu_monai.runs.federation import read_federation
from mu_monai.workflow.federation.flare.server import Rounds


class _FederationRecipe(Recipe):
    """A job whose rounds and sites `federation.json` names."""


def simulate(folders: Sequence[str]) -> None:
    """Run the rounds of federations, one after the other, each site in a process of its own.

    Args:
        folders: their folders, each with `federation.json` and the model to start from.
    """
    rounds = [work for folder in folders for work in read_federation(folder).rounds]
    names = sorted({name for work in rounds for name in work.sites})
    job = FedJob(name="federation", min_clients=len(names))
    job.to_server(Rounds(folders=list(folders)))
    script = str(Path(__file__).with_name("client.py"))
    for name in names:
        job.to(ScriptRunner(script=script, framework=FrameworkType.PYTORCH), name)
    with tempfile.TemporaryDirectory() as workspace:
        _FederationRecipe(job).execute(SimEnv(clients=names, workspace_root=workspace))


if __name__ == "__main__":
    simulate(sys.argv[1:])
