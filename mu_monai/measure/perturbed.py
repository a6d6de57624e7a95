"""How right networks are near a case: on copies of it with a little noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import nn

from mu_monai.keys import CASE_ID, IMAGE, LABEL, MODEL, PATIENT_ID
from mu_monai.measure.case_scores import case_scores
from mu_monai.measure.probes import Apply
from mu_monai.runs.scores import leading_metric

RADIUS, DRAWS = 0.03, 5


@torch.no_grad()
def perturbed_scores(
    models: Mapping[str, nn.Module],
    cases: Iterable[Mapping[str, Any]],
    *,
    radius: float = RADIUS,
    draws: int = DRAWS,
    seed: int = 0,
    inferer: Apply | None = None,
    device: torch.device | str = "cpu",
    classes: Sequence[str] | None = None,
    softmax: bool | None = None,
) -> pd.DataFrame:
    r"""Measure how right networks are on noisy copies of every case; all networks see the same copies.

    .. math:: x' = x + \tau \, (\max x - \min x) \, u, \qquad u \sim \mathcal{U}[-1, 1]

    Args:
        models: networks by name, in evaluation mode.
        cases: batches of whole cases with labels, without augmentation.
        radius: tau, the largest change of a pixel as a share of the image's own range of intensities, above 0.
        draws: noisy copies of each case, at least 1.
        seed: seed of the noise.
        inferer: how a network is applied to a whole image, such as a sliding window; by default at once.
        device: where the networks are.
        classes: the names of the output channels; by default their numbers.
        softmax: whether exactly one output is true; None to go by the labels.

    Returns:
        one row per network and case: `model`, `patient_id`, `case_id` and `right`, in [0, 1]: the share of copies with
        the right class, or the mean Dice of a mask.

    Example:
        >>> case = {"image": torch.tensor([[0.0, 9.0]]), "label": torch.tensor([1]), "case_id": ["c"],
        ...     "patient_id": ["p"]}
        >>> perturbed_scores({"student": nn.Flatten()}, [case])["right"].tolist()
        [1.0]
    """
    generator = torch.Generator().manual_seed(seed)
    rows: list[dict[str, Any]] = []
    for batch in cases:
        for index, image in enumerate(batch[IMAGE]):
            case = {PATIENT_ID: str(batch[PATIENT_ID][index]), CASE_ID: str(batch[CASE_ID][index])}
            label = batch[LABEL][index : index + 1].to(device)
            reach = radius * (image.max() - image.min())
            noise = [2 * torch.rand(image.shape, generator=generator) - 1 for _ in range(draws)]
            copies = [(image + reach * one)[None].to(device) for one in noise]
            for name, network in models.items():
                logits = (network(copy) if inferer is None else inferer(copy, network) for copy in copies)
                right = [_right(case_scores(each, label, classes, softmax=softmax)) for each in logits]
                rows.append({MODEL: name, **case, "right": sum(right) / draws})
    return pd.DataFrame(rows)


def _right(scores: Mapping[str, Any]) -> float:
    return float(scores[leading_metric(scores)])
