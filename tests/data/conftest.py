"""Small sources on disk, and the real images where there are any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def write_image(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> str:
    """A random RGB image whose grain survives the perceptual hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return str(path)


def write_mask(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> str:
    """A random rectangle of 255 on 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    top, left = np.random.default_rng(seed).integers(0, 10, 2)
    mask = np.zeros((size[1], size[0]), dtype=np.uint8)
    mask[top : top + 6, left : left + 8] = 255
    Image.fromarray(mask).save(path)
    return str(path)


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Write images and masks for `patients` x `images`, and return their manifest."""

    def make(patients: int = 10, images: int = 2) -> pd.DataFrame:
        rows = []
        for patient in range(patients):
            for image in range(images):
                seed = patient * images + image
                case = f"c{patient:02d}_{image}"
                picture = write_image(tmp_path / "source" / "pictures" / f"{case}.png", seed)
                mask = write_mask(tmp_path / "source" / "labels" / f"{case}.png", seed)
                rows.append((case, f"p{patient:02d}", picture, mask, "b" if patient < 2 else "a", 50 + patient))
        return pd.DataFrame(rows, columns=["case_id", "patient_id", "image", "label", "device", "age"])

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("MU_MONAI_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "isic9").is_dir():
        pytest.skip(
            f"no real images in {folder}; set MU_MONAI_DATA to the folder that holds isic9, isic_lesion and chase_db1"
        )
    return folder
