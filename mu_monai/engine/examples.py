"""The cases of the qualitative figure: a few images with what every model answers, flat and of one size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from mu_monai.files import atomic_path
from mu_monai.keys import CASE_ID, FORGET, IMAGE, LABEL, RETAIN, SUBSET

_EXAMPLES = 3
_COLORS = (1, 3)  # channels that make an image for eyes

_View = dict[str, torch.Tensor]


@torch.no_grad()
def write_examples(
    models: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
    loaders: Mapping[str, DataLoader[Any]],
    target: str | Path,
    device: torch.device | str = "cpu",
    classes: Sequence[str] | None = None,
) -> None:
    """Write the first three cases by id of `retain` and of `forget`: nothing where neither has a case.

    Images go through the models one by one. Of a volume `(C, H, W, D)` the slice along D with the largest labelled area
    is shown, the middle one where nothing is labelled. Images of several sizes are stretched to the largest height and
    width, so that they fit one array and nothing is cut off.

    Args:
        models: image `(1, C, H, W[, D])` to logits, `(1, 1, H, W[, D])` of a mask or `(1, K)` of classes, by role.
        loaders: one loader per subset.
        target: the archive: `case_id`, `subset`, `image` `(n, H, W, C)` bytes with 1 or 3 channels and, for masks,
            `label` `(n, H, W)` and per model the probabilities `(n, H, W)`; for classes, `label` `(n,)` as names,
            per model the probabilities `(n, K)`, and `classes` `(K,)`.
        device: where the models are.
        classes: the names of the classes; by default their numbers.
    """
    cases = [{**case, SUBSET: subset} for subset in (RETAIN, FORGET) for case in _first_cases(loaders.get(subset))]
    if not cases:
        return
    views = [_view(case, models, device) for case in cases]
    arrays = {name: np.array([str(case[name]) for case in cases]) for name in (CASE_ID, SUBSET)}
    arrays[IMAGE] = (_stacked(views, IMAGE).movedim(1, -1) * 255).round().to(torch.uint8).numpy()
    if views[0][LABEL].ndim:
        arrays[LABEL] = (_stacked(views, LABEL, mode="nearest-exact")[:, 0] > 0.5).to(torch.uint8).numpy()
        arrays |= {model: _stacked(views, model)[:, 0].numpy() for model in models}
    else:
        answers = {model: torch.stack([view[model] for view in views]).numpy() for model in models}
        number = next(iter(answers.values())).shape[1]
        arrays["classes"] = np.array(classes or range(number), dtype=str)
        arrays |= {LABEL: arrays["classes"][[int(view[LABEL]) for view in views]], **answers}
    with atomic_path(Path(target)) as path:
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type] # numpy's stub takes the names for options


def _first_cases(loader: DataLoader[Any] | None) -> list[Mapping[str, Any]]:
    """The first cases by id: a choice that cannot flatter."""
    if loader is None or not len(loader):
        return []
    dataset: Any = loader.dataset
    ids = [str(item[CASE_ID]) for item in dataset.data]
    return [dataset[index] for index in sorted(range(len(ids)), key=ids.__getitem__)[:_EXAMPLES]]


def _view(
    case: Mapping[str, Any], models: Mapping[str, Callable[[torch.Tensor], torch.Tensor]], device: torch.device | str
) -> _View:
    """What is shown of one case: `(C, H, W)` of images and masks, `(K,)` of classes."""
    image, label = (torch.as_tensor(case[name]).float().cpu() for name in (IMAGE, LABEL))
    index = _slice_index(image, label)
    view = {IMAGE: _displayable(_flat(image, index)), LABEL: _flat(label, index)}
    for model, predict in models.items():
        logits = predict(torch.as_tensor(case[IMAGE])[None].to(device)).float().cpu()
        view[model] = logits.softmax(1)[0] if logits.ndim == 2 else _flat(logits.sigmoid()[0], index)
    return view


def _slice_index(image: torch.Tensor, label: torch.Tensor) -> int:
    """The slice of a volume to show: chosen by the label alone, so that no model looks better for it."""
    areas = label[0].sum(dim=(0, 1)) if label.ndim == 4 else torch.zeros(1)
    return int(areas.argmax()) if areas.any() else image.shape[-1] // 2


def _flat(image: torch.Tensor, index: int) -> torch.Tensor:
    return image[..., index] if image.ndim == 4 else image


def _displayable(image: torch.Tensor) -> torch.Tensor:
    """A normalized image `(C, H, W)` stretched to [0, 1]; of other channels than gray or RGB, the first."""
    image = image if len(image) in _COLORS else image[:1]
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else torch.zeros_like(image)


def _stacked(views: Sequence[_View], name: str, mode: str = "bilinear") -> torch.Tensor:
    images = [view[name] for view in views]
    size = [max(image.shape[axis] for image in images) for axis in (1, 2)]
    return torch.cat([interpolate(image[None], size, mode=mode) for image in images])
