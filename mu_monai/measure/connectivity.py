"""What lies between two networks of one architecture: the loss along the straight line from one to the other."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mu_monai.keys import IMAGE, LABEL
from mu_monai.measure.probes import Apply

POINTS = (0.25, 0.5, 0.75)


@torch.no_grad()
def linear_barrier(
    first: nn.Module,
    second: nn.Module,
    batches: Sequence[Mapping[str, Any]],
    *,
    loss: nn.Module,
    inferer: Apply,
    points: Sequence[float] = POINTS,
) -> float:
    r"""Measure how much worse the networks between two networks are than these themselves.

    .. math:: \max_\alpha \left[ L((1 - \alpha)\,\theta + \alpha\,\theta')
              - (1 - \alpha)\,L(\theta) - \alpha\,L(\theta') \right]

    Near 0, both lie in one basin of the loss, and a little training may lead from one back to the other. It can be
    below 0.

    BatchNorm: the running mean and variance of every network on the line, both ends included, are estimated anew from
    the batches. Statistics that are interpolated as well do not fit the features of interpolated weights, whose
    variance is smaller, so they would add a barrier that the weights do not have.

    Args:
        first: a network, the one with the weights theta; it is not changed.
        second: another one.
        batches: images and labels, the same for all points; at least one.
        loss: the supervised loss, a mean over the cases of a batch.
        inferer: how a network is applied to a batch.
        points: values of alpha, in (0, 1).

    Returns:
        the barrier, in units of the loss.

    Source: Frankle et al., arXiv 1912.05671; as a predictor of what comes back: Siddiqui et al., arXiv 2505.22310. New
        statistics: Jordan et al., arXiv 2211.08403. The three points are ours.

    Example:
        >>> one, other = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        >>> one.weight.data, other.weight.data = torch.tensor([[1.0]]), torch.tensor([[-1.0]])
        >>> batch = {"image": torch.ones(1, 1), "label": torch.ones(1, 1)}
        >>> apply = lambda images, network: network(images).square()
        >>> linear_barrier(one, other, [batch], loss=nn.MSELoss(), inferer=apply)
        1.0
    """

    def at(share: float) -> float:
        network = _between(first, second, share)
        _estimate_statistics(network, batches, inferer)
        sizes, losses = zip(*(_loss(network, batch, loss, inferer) for batch in batches), strict=True)
        return sum(size * value for size, value in zip(sizes, losses, strict=True)) / sum(sizes)

    start, end = at(0.0), at(1.0)
    return max(at(share) - (1 - share) * start - share * end for share in points)


def _between(first: nn.Module, second: nn.Module, share: float) -> nn.Module:
    """The network whose weights and statistics lie between those of two others; integers are the first's."""
    other = second.state_dict()
    state = {
        name: torch.lerp(value, other[name], share) if value.is_floating_point() else value
        for name, value in first.state_dict().items()
    }
    network = copy.deepcopy(first)
    network.load_state_dict(state)
    return network.eval()


def _estimate_statistics(network: nn.Module, batches: Sequence[Mapping[str, Any]], inferer: Apply) -> None:
    """Set the statistics of BatchNorm to their mean over the batches; everything else stays in evaluation mode.

    A batch of one case is left out where there are larger ones: features of a single place have no variance.
    """
    layers = [
        module for module in network.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    larger = [batch for batch in batches if len(batch[IMAGE]) > 1]
    for batch in larger or batches:
        inferer(_there(batch[IMAGE], network), network)
    network.eval()


def _loss(network: nn.Module, batch: Mapping[str, Any], loss: nn.Module, inferer: Apply) -> tuple[int, float]:
    images = _there(batch[IMAGE], network)
    return len(images), float(loss(inferer(images, network), _there(batch[LABEL], network)))


def _there(tensor: torch.Tensor, network: nn.Module) -> torch.Tensor:
    return tensor.to(next(network.parameters()).device)
