"""What nnU-Net and the Decathlon write beside the images: the names of the classes, and the folds."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from mu_monai.data.layouts.arranged import read_arrangement
from mu_monai.data.layouts.listing import LayoutInput
from mu_monai.data.layouts.patterns import Arrangement
from mu_monai.files import read_json
from mu_monai.keys import CASE_ID

DATASET_JSON, SPLITS_JSON = "dataset.json", "splits_final.json"


def read_nnunet(reading: LayoutInput, arrangement: Arrangement) -> pd.DataFrame:
    """Read nnU-Net's raw format; with a `splits_final.json`, the column `fold` is where a case is for validation.

    Args:
        reading: the folder.
        arrangement: where its images and labels are.

    Raises:
        InputError: see `read_arrangement`; if the folds cannot be read.

    Source: Isensee et al., *nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation*,
    Nature Methods 2021.
    """
    manifest = read_arrangement(reading, arrangement)
    file = reading.listing.root / SPLITS_JSON
    if not file.is_file():
        return manifest
    fold = {case: number for number, part in enumerate(read_json(file, [{"val": [str]}])) for case in part["val"]}
    return manifest.assign(fold=manifest[CASE_ID].map(fold))


def class_names(source: str | os.PathLike[str]) -> list[str]:
    """The names of the values 0, 1, 2 ... of the masks, from a `dataset.json`; empty if it does not give them.

    Args:
        source: that file, or its folder. The names may be the keys (`{"road": 1}`) or the values (`{"1": "road"}`).
    """
    file = Path(source) / DATASET_JSON if Path(source).is_dir() else Path(source)
    labels = read_json(file, dict).get("labels") if file.is_file() else None
    if not isinstance(labels, dict):
        return []
    if len(labels) > 1 and all(type(value) is int for value in labels.values()):
        labels = {str(value): name for name, value in labels.items()}
    numbers = list(map(str, range(len(labels))))
    return [str(labels[number]) for number in numbers] if set(labels) == set(numbers) else []
