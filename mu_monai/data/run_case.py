"""What a run takes of a case that the transforms of anybody's bundle made: plain tensors and ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.transforms import Transform

from mu_monai.errors import InputError
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID


class RunCased(Transform):
    """Keep image and label of a case, the image as 32-bit floats and both without metadata, and its ids if it has them.

    A transform of the bundle may have removed the ids; `datasets.CaseDataset` gives them back.

    Args:
        index: turn labels with one channel per class, `(K, ...)`, into class indices, `(1, ...)` or, of a class, `()`.

    Raises:
        InputError: if image or label is missing, or a label is not one-hot where it has to be.

    Example:
        >>> label = torch.tensor([[0.0, 1.0], [1.0, 0.0]])[:, None]  # two classes, one row of two pixels
        >>> case = {"image": torch.zeros(1, 1, 2), "label": label, "case_id": "1", "patient_id": "a", "other": 3}
        >>> made = RunCased(index=True)(case)
        >>> made["label"].tolist(), sorted(made)
        ([[[1, 0]]], ['case_id', 'image', 'label', 'patient_id'])
    """

    def __init__(self, index: bool = False) -> None:
        self.index = index

    def __call__(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """A case as runs use it."""
        missing = [key for key in (IMAGE, LABEL) if key not in case]
        if missing:
            raise InputError(
                f"the bundle's transforms remove {', '.join(missing)} from a case, and runs need it; keep it, for "
                "example by naming it in SelectItemsd"
            )
        image, label = (_plain(case[key]) for key in (IMAGE, LABEL))
        if self.index:
            label = _indices(label)
        elif label.dtype == torch.bool:
            label = label.float()
        return {IMAGE: image.float(), LABEL: label, **{key: case[key] for key in (CASE_ID, PATIENT_ID) if key in case}}


def _plain(value: Any) -> torch.Tensor:
    tensor = torch.as_tensor(value)
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor  # a MetaTensor carries its metadata along


def _indices(label: torch.Tensor) -> torch.Tensor:
    """Class indices of a one-hot label, and a label of one channel as it is."""
    if not label.ndim or label.shape[0] == 1:
        return label.reshape(()).long() if label.ndim < 2 else label.long()
    if not bool((label.sum(0) == 1).all()):
        raise InputError(
            f"a label has the shape {tuple(label.shape)}, one channel per class, but not exactly one class at each "
            "place: labels of a softmax exclude each other; is the activation a sigmoid (--set softmax=false)?"
        )
    return label.argmax(0, keepdim=label.ndim > 1)
