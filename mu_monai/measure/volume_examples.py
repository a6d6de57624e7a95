"""The example views of volumes: three planes of a case, each where the models differ most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mu_monai.keys import CASE_ID, IMAGE, LABEL, SUBSET
from mu_monai.planes import NORMALS, PLANE, POSITION, SPACING, VOLUME, cut, framed

_ONE_CHANNEL = ("background", "foreground")

Predict = Callable[[torch.Tensor], torch.Tensor]
Mask = NDArray[np.uint8]


def volume_arrays(
    cases: Iterable[Mapping[str, Any]],
    models: Mapping[str, Predict],
    device: torch.device | str = "cpu",
    classes: Sequence[str] | None = None,
    spacing: Sequence[float] | None = None,
) -> dict[str, NDArray[Any]]:
    """The arrays of an archive of examples of volumes; the arguments are those of `examples.write_examples`.

    For each plane, the slice is shown in which the first two models differ most, or the only model and the label; if
    nothing differs, the slice with the largest labeled area, and if nothing is labeled, the middle slice. Answers are
    reduced to class indices immediately, one model at a time.

    Args:
        cases: cases with `image` `(C, X, Y, Z)` and `label` in RAS orientation, `case_id` and `subset`; taken one by
            one. A label is of class indices `(1, X, Y, Z)`, or of regions that may overlap `(K, X, Y, Z)`.
        models: image to logits by role.
        device: where the models are.
        classes: the names of the channels.
        spacing: the size of a voxel in mm.
    """
    steps = [1.0, 1.0, 1.0] if spacing is None else [float(step) for step in spacing]
    rows: list[dict[str, Any]] = []
    volumes: dict[str, Mask] = {}
    channels, regions = 1, False
    for number, case in enumerate(cases):
        truth = torch.as_tensor(case[LABEL])
        regions = len(truth) > 1
        order = truth.flatten(1).sum(1).argsort(descending=True).tolist() if regions else None
        label = _painted(truth, order) if order else truth[0].round().to(torch.uint8).cpu().numpy()
        masks = {}
        for model, predict in models.items():
            masks[model], channels = _mask(predict, torch.as_tensor(case[IMAGE])[None].to(device), order)
        if len(models) == 1:  # other runs' views of the case need other slices
            volumes[f"{VOLUME}{number}"] = next(iter(masks.values()))
        ids = {CASE_ID: str(case[CASE_ID]), SUBSET: str(case[SUBSET])}
        gray = _gray(torch.as_tensor(case[IMAGE])[0])
        for plane, position in _positions([*masks.values(), label], label).items():
            where = (plane, position, steps)
            views = {name: cut(mask, *where) for name, mask in {LABEL: label, **masks}.items()}
            rows.append({**ids, PLANE: plane, POSITION: position, IMAGE: cut(gray, *where, smooth=True), **views})
    size = [max(row[IMAGE].shape[axis] for row in rows) for axis in (0, 1)]
    arrays = {name: np.array([row[name] for row in rows]) for name in (CASE_ID, SUBSET, PLANE, POSITION)}
    arrays |= {name: np.stack([framed(row[name], size) for row in rows]) for name in (IMAGE, LABEL, *models)}
    arrays[IMAGE] = arrays[IMAGE][..., None]
    names = _ONE_CHANNEL if channels == 1 else list(classes or range(channels))
    names = [_ONE_CHANNEL[0], *names] if regions else names
    return {**arrays, "classes": np.array(names, dtype=str), SPACING: np.array(steps), **volumes}


def _mask(predict: Predict, image: torch.Tensor, order: Sequence[int] | None) -> tuple[Mask, int]:
    """The most probable class of every voxel, or the regions painted in an order, and the number of channels."""
    logits = predict(image)[0]
    if order:
        return _painted(logits > 0, order), len(logits)
    mask = logits.argmax(0) if len(logits) > 1 else logits[0] > 0
    return mask.to(torch.uint8).cpu().numpy(), len(logits)


def _painted(regions: torch.Tensor, order: Sequence[int]) -> Mask:
    """Regions `(K, X, Y, Z)` as one image of indices from 1, later ones in the order on top."""
    image = torch.zeros(regions.shape[1:], dtype=torch.uint8)
    for region in order:
        image[regions[region].cpu() > 0.5] = region + 1
    return image.numpy()


def _positions(masks: Sequence[Mask], label: Mask) -> dict[str, int]:
    """The slice to show in each plane, where the first two masks differ most."""
    differing = masks[0] != masks[1]
    shown = differing if differing.any() else label > 0
    if not shown.any():
        return {plane: label.shape[axis] // 2 for plane, axis in NORMALS.items()}
    others = {plane: tuple({0, 1, 2} - {axis}) for plane, axis in NORMALS.items()}
    return {plane: int(np.count_nonzero(shown, axis=axes).argmax()) for plane, axes in others.items()}


def _gray(image: torch.Tensor) -> Mask:
    """A volume in network space, already windowed, as bytes from its lowest to its highest value."""
    low, high = image.min(), image.max()
    scaled = (image - low) * (255 / (high - low)) if high > low else torch.zeros_like(image)
    return scaled.round().to(torch.uint8).cpu().numpy()
