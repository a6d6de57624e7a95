"""A linear probe: whether the encoder's features still reveal who was trained on, whatever the answers are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from mu_monai.adapters import captured, pooled
from mu_monai.adapters.placement import feature_layer
from mu_monai.attacks.attack import Batches
from mu_monai.keys import CASE_ID, FORGET, IMAGE, PATIENT_ID, RETAIN, SUBSET, TEST, VALIDATION
from mu_monai.measure import Apply

LINEAR_PROBE = "linear-probe"
PROBE = "probe"
SUMMARY = "reads membership off the encoder's features with a linear model; needs retained cases and some never trained"


def probe_scores(
    network: nn.Module, loaders: Mapping[str, Batches], inferer: Apply | None, device: torch.device
) -> pd.DataFrame:
    """Fit a logistic regression on the encoder's features that separates `retain` from `validation`, and apply it.

    It learns from cases that are known to be members and non-members, and is tested on cases of `forget` and `test`,
    which it never saw. Adapters in the decoder do not change the encoder: the probe then finds exactly the same in the
    student as in the teacher.

    Args:
        network: a network whose last encoder stage is known; it must be in evaluation mode.
        loaders: whole cases of `retain`, `validation`, `forget` and `test`.
        inferer: how the network is applied to a whole image; the features of a sliding window are averaged.
        device: where the network is.

    Returns:
        one row per case of `forget` and `test`: `subset`, `patient_id`, `case_id` and `probe`, the log odds of being a
        member.

    Raises:
        InputError: if the last encoder stage of the network is not known.

    Source: Alain and Bengio, Understanding intermediate layers using linear classifier probes, arXiv 1610.01644.
    """
    layer = feature_layer(network)
    tables = {
        subset: _features(network, loaders[subset], inferer, device, layer)
        for subset in (RETAIN, VALIDATION, FORGET, TEST)
    }
    members, others = (np.stack(tables[subset][PROBE].tolist()) for subset in (RETAIN, VALIDATION))
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    probe.fit(np.concatenate([members, others]), np.repeat([1, 0], [len(members), len(others)]))
    return pd.concat(
        [
            table.assign(**{SUBSET: subset, PROBE: probe.decision_function(np.stack(table[PROBE].tolist()))})
            for subset, table in tables.items()
            if subset in (FORGET, TEST)
        ],
        ignore_index=True,
    )


@torch.no_grad()
def _features(
    network: nn.Module, loader: Batches, inferer: Apply | None, device: torch.device, layer: str
) -> pd.DataFrame:
    """The pooled features of every case, as arrays in the column `probe`."""
    rows = []
    for batch in loader:
        for index, image in enumerate(batch[IMAGE].to(device).split(1)):
            with captured(network, layer) as seen:
                if inferer is None:
                    network(image)
                else:
                    inferer(image, network)
            features = torch.cat([pooled(output) for output in seen]).mean(0)
            names = {PATIENT_ID: batch[PATIENT_ID][index], CASE_ID: batch[CASE_ID][index]}
            rows.append(names | {PROBE: features.double().cpu().numpy()})
    return pd.DataFrame(rows)
