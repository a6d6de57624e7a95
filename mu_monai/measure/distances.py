"""Distances between networks of one architecture: in their answers, their features and their weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.conv import _ConvNd

from mu_monai.adapters.weights import draw_weights
from mu_monai.keys import CASE_ID, IMAGE, MODEL, PATIENT_ID
from mu_monai.measure.probes import Apply

WEIGHTS, STATISTICS = "weights", "statistics"
_PIXELS_AT_ONCE = 1 << 20  # limits memory: double-precision probabilities of a volume take gigabytes

Features = dict[str, NDArray[np.float64]]


class Distance(NamedTuple):
    """How far two answers to one case are from each other; `divergence` is in nats."""

    divergence: float
    activation_distance: float


def answer_distance(first: torch.Tensor, second: torch.Tensor, *, softmax: bool, compat: bool = False) -> Distance:
    r"""Measure how far two networks' answers to one case are from each other, as means over pixels.

    The Jensen-Shannon divergence, in [0, log 2] nats, and the activation distance, in [0, sqrt 2]:

    .. math:: \tfrac12 \mathrm{KL}(p \| m) + \tfrac12 \mathrm{KL}(q \| m), \quad m = \tfrac12 (p + q)
    .. math:: \|p - q\|_2

    Both are of vectors of probabilities. A sigmoid channel is such a vector too, (p, 1 - p), so that a mask has the
    same numbers whether it is one sigmoid channel or two softmax channels; several sigmoid channels are averaged.

    Args:
        first: logits `(C, ...)` of one case.
        second: those of the other network.
        softmax: whether the channels are one softmax or independent sigmoids.
        compat: compute the divergence as the reference code of ZRF does: with KL(m || p) and KL(m || q), which is not
            the Jensen-Shannon divergence, and divided by the number of classes.

    Source: Chundawat et al., arXiv 2205.08096, for classifiers. The means over pixels and the sigmoid's two
        probabilities are ours.

    Example:
        >>> sure, opposite = torch.tensor([[99.0, 99.0]]), torch.tensor([[99.0, -99.0]])  # two pixels, one differs
        >>> [round(number, 4) for number in answer_distance(sure, opposite, softmax=False)]
        [0.3466, 0.7071]
    """
    divergence, distance, count = 0.0, 0.0, 0
    for one, other in zip(_parts(first), _parts(second), strict=True):
        p, q = _probabilities(one, softmax), _probabilities(other, softmax)
        divergence += float((_reversed if compat else _jensen_shannon)(p, q).sum())
        distance += float((p - q).square().sum(0).sqrt().sum())
        count += p.shape[1]
    return Distance(max(divergence, 0.0) / count, distance / count)


@torch.no_grad()
def answer_distances(
    models: Mapping[str, nn.Module],
    pairs: Sequence[tuple[str, str]],
    cases: Iterable[Mapping[str, Any]],
    *,
    softmax: bool,
    inferer: Apply | None = None,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Measure how far the answers of pairs of networks are from each other on every case.

    Args:
        models: networks by name, in evaluation mode.
        pairs: the names to compare, as `(model, against)`.
        cases: batches of whole cases, without augmentation.
        softmax: whether the channels are one softmax or independent sigmoids.
        inferer: how a network is applied to a whole image, such as a sliding window; by default at once.
        device: where the networks are.

    Returns:
        one row per case and pair: `model`, `against`, `patient_id`, `case_id`, `js` (nats) and `activation_distance`,
        see `answer_distance`.

    Example:
        >>> nets = {"student": nn.Identity(), "retrained": nn.Identity()}
        >>> case = {"image": torch.zeros(1, 1, 2, 2), "patient_id": ["p"], "case_id": ["c"]}
        >>> answer_distances(nets, [("student", "retrained")], [case], softmax=False)["js"].tolist()
        [0.0]
    """
    needed = dict.fromkeys(name for pair in pairs for name in pair)
    rows = []
    for image, case in _each(cases, device):
        logits = {name: _apply(inferer, image, models[name])[0] for name in needed}
        for model, against in pairs:
            distance = answer_distance(logits[model], logits[against], softmax=softmax)
            numbers = {"js": distance.divergence, "activation_distance": distance.activation_distance}
            rows.append({MODEL: model, "against": against, **case, **numbers})
    return pd.DataFrame(rows)


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a network with new random weights, from each layer's own initialization, and initial statistics.

    Weights that a network holds outside of layers, such as position embeddings, are drawn from a normal distribution of
    deviation 0.02, cut at two.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> fresh = randomized(net, seed=1)
        >>> torch.equal(fresh.weight, randomized(net, seed=1).weight), torch.equal(fresh.weight, net.weight)
        (True, False)
    """
    device = next(network.parameters()).device
    fresh = copy.deepcopy(network).cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for module in fresh.modules():
            draw_weights(module)
    return fresh.to(device).eval()


@torch.no_grad()
def layer_features(
    models: Mapping[str, nn.Module],
    cases: Iterable[Mapping[str, Any]],
    *,
    inferer: Apply | None = None,
    device: torch.device | str = "cpu",
) -> tuple[dict[str, Features], list[str]]:
    """Collect what every convolution and linear layer of each network returns, averaged over space, case by case.

    Only the averages are kept. With a sliding window they are means over its windows, so voxels in two windows count
    twice. Layers that a network does not run are left out.

    Args:
        models: networks by name, in evaluation mode.
        cases: batches of whole cases, without augmentation.
        inferer: how a network is applied to a whole image; by default at once.
        device: where the networks are.

    Returns:
        by network, by layer: features `(cases, channels)`; and the patient of each case, in the same order.

    Example:
        >>> case = {"image": torch.ones(2, 1, 4, 4), "patient_id": ["p", "q"], "case_id": ["c", "d"]}
        >>> features, patients = layer_features({"student": nn.Sequential(nn.Conv2d(1, 3, 1))}, [case])
        >>> features["student"]["0"].shape, patients
        ((2, 3), ['p', 'q'])
    """
    rows: dict[str, dict[str, list[torch.Tensor]]] = {name: {} for name in models}
    patients = []
    for image, case in _each(cases, device):
        patients.append(case[PATIENT_ID])
        for name, network in models.items():
            with _averaged(network) as sums:
                _apply(inferer, image, network)
            for layer, (total, count) in sums.items():
                rows[name].setdefault(layer, []).append((total / count).cpu())
    features = {
        name: {layer: torch.stack(found).numpy() for layer, found in layers.items()} for name, layers in rows.items()
    }
    return features, patients


@torch.no_grad()
def weight_distances(first: nn.Module, second: nn.Module) -> pd.DataFrame:
    r"""Measure how far the weights of two networks of one architecture are from each other, layer by layer.

    .. math:: \|\theta_l - \theta'_l\|_2, \quad \|\theta_l - \theta'_l\|_2 / \|\theta'_l\|_2

    Weights are what an optimizer trains, including the scale and shift of normalization. The running mean and variance
    of BatchNorm are not weights: they have separate rows, of the kind `statistics`. Its counter of batches is left out.

    Two networks trained with different seeds are far apart even if they answer alike, since channels may be permuted.
    The distance to the teacher says how far unlearning went; the distance to a retrained model needs another retrained
    model as a scale.

    Returns:
        one row per layer and kind: `layer`, `kind` (`weights` or `statistics`), `distance`, `norm` (of the second
        network) and `relative`, their ratio (NaN where the norm is 0).

    Example:
        >>> one, other = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.constant_(one.weight, 4.0), nn.init.constant_(other.weight, 1.0)
        >>> weight_distances(nn.Sequential(one), nn.Sequential(other)).round(3).to_dict("records")
        [{'layer': '0', 'kind': 'weights', 'distance': 4.243, 'norm': 1.414, 'relative': 3.0}]
    """
    rows = []
    for kind, one, other in (
        (WEIGHTS, dict(first.named_parameters()), dict(second.named_parameters())),
        (STATISTICS, dict(first.named_buffers()), dict(second.named_buffers())),
    ):
        for name in one:
            if one[name].is_floating_point():
                old = other[name].double()
                squares = {"distance": (one[name].double() - old).square().sum(), "norm": old.square().sum()}
                rows.append(
                    {"layer": name.rpartition(".")[0], "kind": kind, **{k: float(v) for k, v in squares.items()}}
                )
    table = pd.DataFrame(rows).groupby(["layer", "kind"], sort=False, as_index=False).sum()
    table[["distance", "norm"]] = np.sqrt(table[["distance", "norm"]])
    return table.assign(relative=table["distance"] / table["norm"].where(table["norm"] > 0))


def _each(
    cases: Iterable[Mapping[str, Any]], device: torch.device | str
) -> Iterator[tuple[torch.Tensor, dict[str, str]]]:
    """One image `(1, C, ...)` at a time, with its ids: in a batch, windows of two images would be averaged together."""
    for batch in cases:
        for index, image in enumerate(batch[IMAGE].to(device)):
            yield image[None], {PATIENT_ID: str(batch[PATIENT_ID][index]), CASE_ID: str(batch[CASE_ID][index])}


def _apply(inferer: Apply | None, image: torch.Tensor, network: nn.Module) -> torch.Tensor:
    return network(image) if inferer is None else inferer(image, network)


def _parts(logits: torch.Tensor) -> Iterable[torch.Tensor]:
    return logits.reshape(len(logits), -1).split(_PIXELS_AT_ONCE, dim=1)


def _probabilities(logits: torch.Tensor, softmax: bool) -> torch.Tensor:
    """Columns that sum to 1: `(C, pixels)` of a softmax, `(2, C * pixels)` of sigmoids."""
    logits = logits.double()
    if softmax:
        return logits.softmax(0)
    return torch.stack([logits.flatten().sigmoid(), (-logits).flatten().sigmoid()])


def _jensen_shannon(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    middle = (p + q) / 2
    return (_kl(p, middle) + _kl(q, middle)) / 2


def _reversed(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    middle, least = (p + q) / 2, torch.finfo(p.dtype).tiny
    return (_kl(middle, p.clamp(min=least)) + _kl(middle, q.clamp(min=least))) / (2 * len(p))


def _kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p || q) of every column, where q is above 0 wherever p is."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(0)


@contextmanager
def _averaged(network: nn.Module) -> Iterator[dict[str, tuple[torch.Tensor, int]]]:
    """By layer, the sum of its features over windows, each averaged over space, and the number of windows."""
    sums: dict[str, tuple[torch.Tensor, int]] = {}

    def hook(name: str, channel: int) -> Any:
        def add(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            rows = output.transpose(0, channel).flatten(1).mean(1, dtype=torch.float64)
            total, count = sums.get(name, (0.0, 0))
            sums[name] = (total + rows * len(output), count + len(output))

        return add

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, _ConvNd | nn.Linear)]
    hooks = [
        module.register_forward_hook(hook(name, 1 if isinstance(module, _ConvNd) else -1)) for name, module in layers
    ]
    try:
        yield sums
    finally:
        for handle in hooks:
            handle.remove()
