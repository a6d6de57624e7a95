"""The classes of label volumes whose values are not 0, 1, 2 ... themselves."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from mu_monai.data.label_map import mapped
from mu_monai.errors import InputError
from mu_monai.keys import LABEL


class MapLabelsd(MapTransform):
    """Replace the values of labels by the numbers of their classes; place it after `LoadImaged`.

    Args:
        keys: the labels; they may be absent from the data (inference).
        label_map: class by value; None to leave the values as they are.

    Raises:
        InputError: with the file, for values that the map does not name.

    Example:
        >>> MapLabelsd("label", label_map={"0": 0, "205": 1})({"label": torch.tensor([0, 205])})["label"]
        tensor([0., 1.])
    """

    def __init__(self, keys: KeysCollection = LABEL, *, label_map: Mapping[str, int] | None = None) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.label_map = label_map

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with the classes of the labels."""
        result = dict(data)
        for key in self.key_iterator(result) if self.label_map is not None else ():
            result[key] = self._classes(result[key])
        return result

    def _classes(self, label: torch.Tensor) -> torch.Tensor:
        values = label.as_tensor() if isinstance(label, MetaTensor) else label
        try:
            classes = torch.as_tensor(mapped(values.numpy(), self.label_map or {}), dtype=torch.float32)
        except InputError as error:
            name = label.meta.get("filename_or_obj", "") if isinstance(label, MetaTensor) else ""
            raise InputError([f"label {name!r} {problem}" for problem in error.problems]) from None
        return MetaTensor(classes, meta=label.meta) if isinstance(label, MetaTensor) else classes
