"""Smooth random texture for phantoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage


def smooth_noise(rng: np.random.Generator, size: int, grain: float) -> NDArray[np.float64]:
    """Smooth noise with zero mean and unit standard deviation, `(size, size)`.

    Args:
        rng: the random number generator.
        size: side in pixels.
        grain: standard deviation of the smoothing Gaussian, as a share of the side.
    """
    sigma = max(grain * size, 0.5)
    step = max(1, int(sigma / 2))  # a wide blur looks the same on a coarse grid, at a fraction of the cost
    coarse = max(4, -(-size // step))
    noise = ndimage.gaussian_filter(rng.normal(size=(coarse, coarse)), sigma / step, mode="wrap").astype(np.float32)
    fine = np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)
    standardized: NDArray[np.float64] = (fine - fine.mean()) / fine.std()
    return standardized
