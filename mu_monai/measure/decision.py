"""The features from which a classifier's head computes the classes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mu_monai.adapters import captured
from mu_monai.keys import CASE_ID, IMAGE
from mu_monai.measure.probes import Apply


@torch.no_grad()
def penultimate_features(
    models: Mapping[str, nn.Module],
    layer: str,
    loaders: Iterable[Iterable[Mapping[str, Any]]],
    cases: Collection[str],
    *,
    inferer: Apply | None = None,
    device: torch.device | str = "cpu",
) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """Collect the input of each network's head, for some of the cases.

    Args:
        models: networks by name, in evaluation mode.
        layer: the name of their head.
        loaders: batches of cases, without augmentation.
        cases: the ids of the cases to collect; only they go through the networks.
        inferer: how a network is applied to an image; by default at once.
        device: where the networks are.

    Returns:
        by network: features `(cases, C)`; and the id of each case, in the same order.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(4, 2))
        >>> batch = {"image": torch.ones(2, 1, 2, 2), "case_id": ["a", "b"]}
        >>> penultimate_features({"student": net}, "2", [[batch]], {"b"})
        ({'student': array([[1., 1., 1., 1.]], dtype=float32)}, ['b'])
    """
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in models}
    ids: list[str] = []
    for batch in (batch for loader in loaders for batch in loader):
        places = [place for place, case in enumerate(batch[CASE_ID]) if case in cases]
        if not places:
            continue
        ids += [batch[CASE_ID][place] for place in places]
        image = batch[IMAGE][places].to(device)
        for name, network in models.items():
            with captured(network, layer, inputs=True) as seen:
                network(image) if inferer is None else inferer(image, network)
            rows[name] += [features.flatten(1).float().cpu() for features in seen]
    return {name: torch.cat(features).numpy() for name, features in rows.items() if features}, ids
