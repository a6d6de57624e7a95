"""The mean of a network's weights over steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mu_monai.adapters import Student
from mu_monai.engine.replicas import unite


class WeightMean:
    r"""The running mean of what a student adds to its original, normalization statistics among it.

    .. math:: \bar\theta_k = \bar\theta_{k-1} + \frac{\theta_k - \bar\theta_{k-1}}{k}

    The steps of a constant learning rate move around a point that none of them reaches; their mean is near it, as if
    the rate had fallen. Counters of steps are those of the last.

    Source:
        Izmailov et al., *Averaging Weights Leads to Wider Optima* (arXiv 1803.05407), `torch.optim.swa_utils`, which
        would copy the original as well. Statistics of normalization are averaged instead of measured again.
    """

    def __init__(self) -> None:
        self._mean: dict[str, torch.Tensor] = {}
        self._count = 0

    @torch.no_grad()
    def add(self, network: Student) -> None:
        """Count the weights that the network has now."""
        self._count += 1
        for name, value in network.own_state().items():
            if name in self._mean and value.is_floating_point():
                self._mean[name].lerp_(value, 1 / self._count)
            else:
                self._mean[name] = value.clone()

    def take(self, network: Student) -> None:
        """Give the network the mean; nothing changes if no weights were counted.

        Of several processes, each has counted the statistics of its own batches; the mean over all of them is taken.
        """
        buffers = {name for name, _ in network.named_buffers()}
        for name, value in self._mean.items():
            if name in buffers and value.is_floating_point():
                unite(value)
        network.load_state_dict(self._mean, strict=False)

    def state_dict(self) -> dict[str, Any]:
        """The mean so far."""
        return {"mean": self._mean, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._mean, self._count = dict(state["mean"]), state["count"]
