"""The server of federations, on NVFlare: sends the global model to the sites of a round and averages what comes back.

Needs NVFlare, so that it is imported in a job only; it sees no case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper
from nvflare.app_common.workflows.model_controller import ModelController
from safetensors.numpy import load_file, save_file

from mu_monai.adapters import read_weights, weights_sha256
from mu_monai.errors import InputError, RunError
from mu_monai.files import atomic_path
from mu_monai.reasons import reason_for, unexpected
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


class Rounds(ModelController):
    """Runs the rounds that each `federation.json` names, and keeps the model after each round.

    The average is NVFlare's, weighted by the cases of a site, and taken in the order of the sites' names: the same
    answers give the same bits, in whatever order they come.

    Args:
        folders: the folders of federations of the same sites, in the order in which their rounds are run.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        super().__init__(persistor_id="")
        self.folders = folders

    def run(self) -> None:
        """Run all rounds; NVFlare would only log an error."""
        try:
            for folder in self.folders:
                self._run(folder)
        except Exception as error:
            keep_reason(reason_for(error) or unexpected(error))
            raise

    def _run(self, folder: str) -> None:
        federation = read_federation(folder)
        left = [work for work in federation.rounds if work.bytes is None]
        model: Arrays = load_file(round_file(folder, left[0].number - 1))
        for work in left:
            self.info(f"round {work.number}: {work.task} at {', '.join(work.sites)}")
            message = FLModel(params=model, current_round=work.number, meta={"folder": folder, "work": asdict(work)})
            found = self.send_model_and_wait(task_name=work.task, targets=list(work.sites), data=message)
            answers = {str(answer.meta["client_name"]): answer for answer in found}
            wrong = answer_error(federation, work, answers)
            if wrong is not None:
                raise wrong
            weights = ""
            if work.task == AUDIT:
                federation = _measured(federation, answers)
            else:
                model = average(model, {name: answers[name] for name in sorted(answers)}, work.number)
                weights = _keep(Path(folder), work.number, model)
            federation = federation.after(_done(work, answers), weights)
            write_federation(folder, federation)


def answer_error(federation: Federation, work: Round, answers: Mapping[str, Any]) -> Exception | None:
    """Why the answers of a round cannot be used: a site has another bundle, or is silent."""
    stamp = [federation.name, federation.version, federation.code, federation.configs]
    told = {name: list(answer.meta["stamp"]) for name, answer in answers.items()}
    other = {name: " ".join(found[:2]) for name, found in told.items() if found != stamp}
    silent = [name for name in work.sites if name not in answers]
    if other:
        return InputError(
            f"site '{name}' answered with the bundle {found}, or with other code or configs in it, and the federation "
            f"trains {federation.name} {federation.version}; give it the same"
            for name, found in other.items()
        )
    return RunError(f"no answer in round {work.number} from {', '.join(silent)}") if silent else None


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
        total.add(data=weights, weight=answer.meta["cases"], contributor_name=name, contribution_round=number)
    found = total.get_result()
    return {key: _like(np.asarray(found[key]), np.asarray(value)) for key, value in model.items()}


def _like(found: Any, sent: Any) -> Any:
    if np.issubdtype(sent.dtype, np.integer):
        found = np.rint(found)
    return np.asarray(found, dtype=sent.dtype).reshape(sent.shape)  # a sum of single numbers is not an array


def _keep(folder: Path, number: int, model: Arrays) -> str:
    """Write the model after a round; returns the SHA-256 of its weights."""
    with atomic_path(round_file(folder, number)) as path:
        save_file(model, path)
    return weights_sha256(read_weights(round_file(folder, number)))


def _done(work: Round, answers: Mapping[str, Any]) -> Round:
    told = [answers[name].meta for name in sorted(answers)]
    return replace(
        work,
        bytes=sum(int(meta["sent_bytes"] + meta["received_bytes"]) for meta in told),
        passes=sum(int(meta["passes"]) for meta in told),
        said=tuple(str(sentence) for meta in told for sentence in meta["said"]),
    )


def _measured(federation: Federation, answers: Mapping[str, Any]) -> Federation:
    told = {name: made(SiteNumbers, answer.meta["numbers"]) for name, answer in answers.items()}
    return replace(federation, numbers=tuple(told[site.name] for site in federation.everybody if site.name in told))
