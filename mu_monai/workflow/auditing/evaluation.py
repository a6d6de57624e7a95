"""The models and data of a finished run, rebuilt as its bundle builds them, for audits and attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn
from torch.utils.data import DataLoader

from mu_monai.adapters import load_models
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import DRAWN, INHERITED, SEPARATOR, STRANGER, Trust, inherited
from mu_monai.engine import ScoreSubsets
from mu_monai.errors import raise_if_any
from mu_monai.files import file_sha256
from mu_monai.measure import Apply
from mu_monai.runs import open_run
from mu_monai.workflow.checks import place_problems
from mu_monai.workflow.recipe import common_options
from mu_monai.workflow.trained_alike import digest

Batches = DataLoader[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Models of one architecture and the cases of one split.

    Args:
        models: a network per role (`teacher`, `retrained`, `student`), each with its weights, in evaluation mode.
        scorer: whole cases of every subset and how they are scored; its `loaders` do not shuffle or augment.
        retain_batches: the shuffled retain batches that unlearning trains on; patches, for volumes.
        forget_batches: the same for the forget cases.
        inferer: how a network is applied to such a batch.
        loss: the supervised loss.
        softmax: whether the outputs are a softmax over channels; otherwise, they are independent sigmoids.
        device: where the networks are.
        made_of: a digest of the split, the bundle's code and the settings that decide how cases are read and scored.
    """

    models: dict[str, nn.Module]
    scorer: ScoreSubsets
    retain_batches: Batches
    forget_batches: Batches
    inferer: Apply
    loss: nn.Module
    softmax: bool
    device: torch.device
    made_of: str


def open_evaluation(
    run: str | Path,
    weights: Mapping[str, str | Path],
    *,
    split: str | Path | None = None,
    device: str | None = None,
    trust: Trust = STRANGER,
) -> Evaluation:
    """Load models into the network of a run, and its data as the bundle's `unlearn.json` reads them.

    Args:
        run: the folder of a finished run; its network, transforms, loss, inferer and way to draw patches are used.
        weights: weights files or run folders by role.
        split: a `split.json` to use instead of the run's, such as one whose files have moved.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        trust: how far the run is trusted.

    Raises:
        InputError: if the run is not finished, or weights do not fit the network.
    """
    parser, made_of = _config(run, split=split, device=device, trust=trust)

    def part(name: str) -> Any:
        return parser.get_parsed_content(name, instantiate=True)

    return Evaluation(
        models=load_models(part("network_def"), weights, part("device")),
        scorer=part("scorer"),
        retain_batches=part("train::dataloader"),
        forget_batches=part("method::forget_loader"),
        inferer=part("train::inferer"),
        loss=part("loss"),
        softmax=bool(part("method::softmax")),
        device=part("device"),
        made_of=made_of,
    )


def _config(run: str | Path, *, split: str | Path | None, device: str | None, trust: Trust) -> tuple[ConfigParser, str]:
    """The unlearning config of a run's bundle, with the run's settings that its model needs; and a digest of both."""
    record = open_run(run).record
    bundle, split = trust.bundle_of(record), split or record.split.file
    raise_if_any(place_problems({"--split": split, "the bundle": bundle.place}))
    config = LayeredConfig(bundle, "unlearn")
    known, taken = config.read(), inherited(run, bundle, (*INHERITED, *DRAWN), trust=trust)
    taken = {key: value for key, value in taken.items() if key in known or SEPARATOR not in key}
    config.lay("run", taken)
    config.lay("options", common_options(bundle, split, device))
    code = None if bundle.parts is None else bundle.code_sha256
    return config.read(), digest({"settings": taken, "split": file_sha256(split), "code": code})
