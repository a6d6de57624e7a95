"""The cases of the qualitative figure: a few 2D images of one size, with the answer of every model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from mu_monai.files import atomic_path
from mu_monai.keys import CASE_ID, FORGET, IMAGE, LABEL, RETAIN, SUBSET
from mu_monai.measure.volume_examples import Predict, volume_arrays

_EXAMPLES = 3
_CLASSES = "classes"
_COLORS = (1, 3)  # numbers of channels that can be displayed as an image

_View = dict[str, torch.Tensor]


@torch.no_grad()
def write_examples(
    models: Mapping[str, Predict],
    loaders: Mapping[str, DataLoader[Any]],
    target: str | Path,
    device: torch.device | str = "cpu",
    classes: Sequence[str] | None = None,
    inferer: Callable[[torch.Tensor, Predict], torch.Tensor] | None = None,
    spacing: Sequence[float] | None = None,
) -> None:
    """Write the first three cases by id of `retain` and of `forget`; nothing if neither has a case.

    Images go through the models one by one. Images of several sizes are stretched to the largest height and width, so
    that they fit one array and nothing is cut off.

    Of a segmented volume three planes are shown, each where the models differ most (`volume_examples`), in radiological
    convention: the patient's right is on the left; see `planes.cut`. They have square pixels and are padded to one
    size. The axes of a volume run to the right, anterior and superior of the patient (RAS). Of a classified volume
    `(C, H, W, D)` the middle slice along D is shown.

    Args:
        models: image `(1, C, H, W[, D])` to logits, `(1, C, H, W[, D])` of masks or `(1, K)` of classes, by role.
        loaders: one loader per subset.
        target: the archive: `case_id`, `subset`, `image` `(n, H, W, C)` bytes with 1 or 3 channels and, for masks,
            `label` `(n, H, W)` and per model the probabilities of any foreground `(n, H, W)`; for classes, `label`
            `(n,)` as names, per model the probabilities `(n, K)`, and `classes` `(K,)`. Of regions that may overlap,
            images show where any of them is, and volumes the smaller one on top. For masks of volumes a row is a view
            of `plane` and `position`, `label` and the models hold class indices, and there are `classes`, `spacing`
            and, where there is one model alone, its whole answers `volume_0` ... of each case.
        device: where the models are.
        classes: the names of the classes; by default their numbers, and `background` and `foreground` for one channel.
        inferer: how a model is applied to a whole image, such as a sliding window; by default at once.
        spacing: the size of a voxel in mm; by default the same along all axes.
    """
    cases = _first_cases(loaders)
    first = next(cases, None)
    if first is None:
        return
    cases = chain([first], cases)
    if inferer is not None:
        models = {model: partial(_inferred, inferer, predict) for model, predict in models.items()}
    if torch.as_tensor(first[LABEL]).ndim == 4:
        arrays = volume_arrays(cases, models, device, classes, spacing)
    else:
        arrays = _flat_arrays(list(cases), models, device, classes)
    with atomic_path(Path(target)) as path:
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type] # numpy's stub takes the names for options


def _first_cases(loaders: Mapping[str, DataLoader[Any]]) -> Iterator[Mapping[str, Any]]:
    """The first cases by id, so that results are not cherry-picked; one at a time, since volumes are large."""
    for subset in (RETAIN, FORGET):
        loader = loaders.get(subset)
        if loader is None or not len(loader):
            continue
        dataset: Any = loader.dataset
        ids = [str(item[CASE_ID]) for item in dataset.data]
        for index in sorted(range(len(ids)), key=ids.__getitem__)[:_EXAMPLES]:
            yield {**dataset[index], SUBSET: subset}


def _inferred(
    inferer: Callable[[torch.Tensor, Predict], torch.Tensor], predict: Predict, image: torch.Tensor
) -> torch.Tensor:
    return inferer(image, predict)


def _flat_arrays(
    cases: Sequence[Mapping[str, Any]],
    models: Mapping[str, Predict],
    device: torch.device | str,
    classes: Sequence[str] | None,
) -> dict[str, np.ndarray]:
    """The arrays of masks of images, and of classes."""
    views = [_view(case, models, device) for case in cases]
    arrays = {name: np.array([str(case[name]) for case in cases]) for name in (CASE_ID, SUBSET)}
    arrays[IMAGE] = (_stacked(views, IMAGE).movedim(1, -1) * 255).round().to(torch.uint8).numpy()
    if views[0][LABEL].ndim:
        arrays[LABEL] = (_stacked(views, LABEL, mode="nearest-exact")[:, 0] > 0.5).to(torch.uint8).numpy()
        return arrays | {model: _stacked(views, model)[:, 0].numpy() for model in models}
    answers = {model: torch.stack([view[model] for view in views]).numpy() for model in models}
    number = next(iter(answers.values())).shape[1]
    arrays[_CLASSES] = np.array(classes or range(number), dtype=str)
    return arrays | {LABEL: arrays[_CLASSES][[int(view[LABEL]) for view in views]], **answers}


def _view(case: Mapping[str, Any], models: Mapping[str, Predict], device: torch.device | str) -> _View:
    """What is shown of one case: `(C, H, W)` of images and masks, `(K,)` of classes."""
    image, label = (torch.as_tensor(case[name]).float().cpu() for name in (IMAGE, LABEL))
    image = image[..., image.shape[-1] // 2] if image.ndim == 4 else image
    regions = label.ndim > 1 and len(label) > 1
    view = {IMAGE: _displayable(image), LABEL: label.amax(0, keepdim=True) if regions else label}
    for model, predict in models.items():
        logits = predict(torch.as_tensor(case[IMAGE])[None].to(device)).float().cpu()
        view[model] = logits.softmax(1)[0] if logits.ndim == 2 else _foreground(logits[0], regions)
    return view


def _foreground(logits: torch.Tensor, regions: bool) -> torch.Tensor:
    """The probability `(1, H, W)` of anything but background: by softmax, or of the likeliest mask by sigmoid."""
    if regions or len(logits) == 1:
        return logits.sigmoid().amax(0, keepdim=True)
    return 1 - logits.softmax(0)[:1]


def _displayable(image: torch.Tensor) -> torch.Tensor:
    """A normalized image `(C, H, W)` stretched to [0, 1]; of other channels than gray or RGB, the first."""
    image = image if len(image) in _COLORS else image[:1]
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else torch.zeros_like(image)


def _stacked(views: Sequence[_View], name: str, mode: str = "bilinear") -> torch.Tensor:
    images = [view[name] for view in views]
    size = [max(image.shape[axis] for image in images) for axis in (1, 2)]
    return torch.cat([interpolate(image[None], size, mode=mode) for image in images])
