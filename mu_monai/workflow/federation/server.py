"""The server of a federation, on NVFlare: sends the global model to the sites of a round and averages what comes back.

Needs NVFlare, so that it is imported in a job only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper
from nvflare.app_common.workflows.model_controller import ModelController

from mu_monai.adapters import read_weights
from mu_monai.adapters.milestones import write_safetensors
from mu_monai.errors import InputError
from mu_monai.runs.federation import (
    AUDIT,
    Federation,
    Round,
    SiteNumbers,
    read_federation,
    round_file,
    write_federation,
)
from mu_monai.runs.typed import made
from mu_monai.workflow.launching import keep_reason

Arrays = dict[str, Any]
WORK, STAMP, NUMBERS, CASES, PASSES = "work", "stamp", "numbers", "cases", "passes"  # what messages hold besides weights


class Rounds(ModelController):
    """Runs the rounds that `federation.json` names, and keeps the model after each.

    The average is NVFlare's, weighted by the cases of a site, and taken in the order of the sites' names: the same
    answers give the same bits, in whatever order they come.

    Args:
        folder: the folder of the federation.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(persistor_id="")
        self.folder = folder

    def run(self) -> None:
        """Run all rounds."""
        federation = read_federation(self.folder)
        first = federation.rounds[0].number
        model = {name: value.numpy() for name, value in read_weights(round_file(self.folder, first - 1)).items()}
        for work in federation.rounds:
            self.info(f"round {work.number}: {work.task} at {', '.join(work.sites)}")
            message = FLModel(params=model, current_round=work.number, meta={WORK: asdict(work)})
            found = self.send_model_and_wait(task_name=work.task, targets=list(work.sites), data=message)
            answers = {str(answer.meta["client_name"]): answer for answer in found}
            wrong = [*answer_problems(federation, work, answers)]
            if wrong:
                keep_reason(InputError(wrong))
                self.panic("; ".join(wrong))
                return
            federation = _measured(federation, answers) if work.task == AUDIT else federation
            if work.task != AUDIT:
                model = average(model, {name: answers[name] for name in sorted(answers)}, work.number)
                _keep(Path(self.folder), work.number, model)
            federation = federation.after(_done(work, answers))
            write_federation(self.folder, federation)


def answer_problems(federation: Federation, work: Round, answers: Mapping[str, Any]) -> Sequence[str]:
    """Why the answers of a round cannot be used: a site is silent, or has another bundle."""
    silent = [f"site '{name}' did not answer in round {work.number}" for name in work.sites if name not in answers]
    stamp = [federation.name, federation.version, federation.code]
    return silent + [
        f"site '{name}' answered with the bundle {' '.join(answer.meta[STAMP][:2])}, or with other code in it, and not "
        f"with {federation.name} {federation.version}"
        for name, answer in answers.items()
        if list(answer.meta[STAMP]) != stamp
    ]


def average(model: Mapping[str, Any], answers: Mapping[str, Any], number: int) -> Arrays:
    """The average of the sites' weights by their cases; counters, which are whole numbers, are rounded.

    Args:
        model: the model that was sent, whose types of numbers are kept.
        answers: by site, in the order in which they are added up.
        number: the number of the round.
    """
    total = WeightedAggregationHelper()
    for name, answer in answers.items():
        weights = {key: np.asarray(answer.params[key]) for key in model}
        total.add(data=weights, weight=answer.meta[CASES], contributor_name=name, contribution_round=number)
    found = total.get_result()
    return {key: _like(np.asarray(found[key]), np.asarray(value)) for key, value in model.items()}


def _like(found: Any, sent: Any) -> Any:
    if np.issubdtype(sent.dtype, np.integer):
        found = np.rint(found)
    return found.astype(sent.dtype).reshape(sent.shape)


def _keep(folder: Path, number: int, model: Arrays) -> None:
    write_safetensors(round_file(folder, number), {name: torch.from_numpy(value) for name, value in model.items()})


def _done(work: Round, answers: Mapping[str, Any]) -> Round:
    sent = sum(answer.meta["sent_bytes"] + answer.meta["received_bytes"] for answer in answers.values())
    return replace(work, bytes=int(sent), passes=sum(int(answer.meta[PASSES]) for answer in answers.values()))


def _measured(federation: Federation, answers: Mapping[str, Any]) -> Federation:
    told = {name: made(SiteNumbers, answer.meta[NUMBERS]) for name, answer in answers.items()}
    return replace(federation, numbers=tuple(told[site.name] for site in federation.everybody if site.name in told))
