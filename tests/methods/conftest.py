"""One small unlearning job per task: masks, volumes and classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from mu_monai import workflow
from mu_monai.files import write_json

# The masks bundle laid out for volumes: another network, and NIfTI files instead of pictures.
VOLUMES = {
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "channels": [4, 8, 16],
        "strides": [2, 2],
        "num_res_units": 2,
        "norm": "batch",
    },
    "transforms": {
        "_target_": "Compose",
        "transforms": [
            {
                "_target_": "LoadImaged",
                "keys": ["image", "label"],
                "reader": "NibabelReader",
                "ensure_channel_first": True,
                "image_only": True,
            },
            {"_target_": "ScaleIntensityd", "keys": "image"},
            {"_target_": "EnsureTyped", "keys": ["image", "label"], "dtype": "$torch.float32", "track_meta": False},
        ],
    },
}


@dataclass(frozen=True)
class Task:
    """What an unlearning run of one task starts from."""

    bundle: str
    split: str
    teacher: Path
    overlays: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def volumes(tmp_path_factory) -> Task:
    """Random volumes with a bright block, and a teacher."""
    folder = tmp_path_factory.mktemp("volumes")
    generator = np.random.default_rng(0)
    rows = []
    for patient in range(10):
        label = np.zeros((16, 16, 16), dtype=np.uint8)
        x, y, z = generator.integers(1, 8, 3)
        label[x : x + 7, y : y + 7, z : z + 7] = 1
        image = (generator.normal(0, 0.3, label.shape) + label).astype(np.float32)
        row = {
            "case_id": f"v{patient}",
            "patient_id": f"p{patient}",
            "image": f"{patient}.nii",
            "label": f"{patient}m.nii",
        }
        for name, array in ((row["image"], image), (row["label"], label)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name)
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    split, overlay = folder / "split.json", folder / "volumes.json"
    workflow.split(folder / "manifest.csv", out=split, forget={"fraction": 0.2, "ids": None, "where": None})
    write_json(overlay, VOLUMES)
    teacher = workflow.train(
        "isic", split=split, out=folder / "teacher", settings=["max_epochs=2"], overlays=[str(overlay)], quiet=True
    )
    return Task("isic", str(split), teacher, [str(overlay)])


@pytest.fixture(scope="session")
def tasks(phantom_splits, teachers, volumes) -> dict[str, Task]:
    bundles = {"masks": "isic", "classes": "isic_classification"}
    tasks = {
        name: Task(bundle, phantom_splits[bundle], teachers[bundle])
        for name, bundle in bundles.items()
        if bundle in teachers
    }
    return tasks | {"volumes": volumes}
