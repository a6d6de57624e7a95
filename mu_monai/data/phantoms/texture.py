"""Smooth random texture for phantoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage


def smooth_noise(rng: np.random.Generator, size: int, grain: float) -> NDArray[np.float64]:
    """Smooth noise of zero mean and unit deviation, `(size, size)`.

    Args:
        rng: where the noise comes from.
        size: side in pixels.
        grain: deviation of the smoothing Gaussian, as a share of the side.
    """
    sigma = max(grain * size, 0.5)
    step = max(
        1, int(sigma / 2)
    )  # a blur of many pixels looks the same when made on a coarse grid, at a fraction of the cost
    coarse = max(4, -(-size // step))
    noise = ndimage.gaussian_filter(rng.normal(size=(coarse, coarse)), sigma / step, mode="wrap").astype(np.float32)
    fine = np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)
    noise_of_unit: NDArray[np.float64] = (fine - fine.mean()) / fine.std()
    return noise_of_unit
