"""One lesion phantom for classification: nine visibly different classes, and patients who look like another class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mu_monai.data.phantoms.lesions import LesionStyle, draw_hairs, draw_lesion_style, illumination, lesion_depth
from mu_monai.data.phantoms.texture import smooth_noise

Array = NDArray[np.float64]

_ATYPICAL = 0.15  # share of patients whose lesions look like another class


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How the lesions of one class look.

    Args:
        color: RGB in [0, 1].
        wild: amplitude of the waves along the border, as a share of the radius.
        patches: strength of the variegation, in units of color.
        center: RGB of the inner half, or None.
        dots: RGB of scattered dots, or None.
        ridges: strength of parallel ridges, in units of color.
    """

    color: tuple[float, float, float]
    wild: float = 0.04
    patches: float = 0.02
    center: tuple[float, float, float] | None = None
    dots: tuple[float, float, float] | None = None
    ridges: float = 0.0


_LOOKS = {
    "actinic keratosis": _Look(color=(0.80, 0.45, 0.40), wild=0.12, patches=0.10),
    "basal cell carcinoma": _Look(color=(0.86, 0.58, 0.58), dots=(0.35, 0.38, 0.50)),
    "dermatofibroma": _Look(color=(0.52, 0.34, 0.26), center=(0.92, 0.86, 0.82)),
    "melanoma": _Look(color=(0.22, 0.14, 0.14), wild=0.14, patches=0.09),
    "nevus": _Look(color=(0.46, 0.28, 0.19)),
    "pigmented benign keratosis": _Look(color=(0.56, 0.44, 0.34), dots=(0.92, 0.84, 0.66)),
    "seborrheic keratosis": _Look(color=(0.60, 0.45, 0.24), ridges=0.14),
    "squamous cell carcinoma": _Look(color=(0.72, 0.26, 0.22), center=(0.88, 0.76, 0.48)),
    "vascular lesion": _Look(color=(0.55, 0.10, 0.26), dots=(0.30, 0.05, 0.28)),
}
CLASS_DIAGNOSES = tuple(_LOOKS)


@dataclass(frozen=True, kw_only=True)
class ClassStyle:
    """What all phantoms of one patient share.

    Args:
        lesion: skin, hairs and device.
        look: the class that the lesions look like. For some patients it differs from the diagnosis, as in cases that
            only a laboratory can decide; a network can only memorize these.
    """

    lesion: LesionStyle
    look: str


def draw_class_style(rng: np.random.Generator, device: str, diagnosis: str) -> ClassStyle:
    """Draw the style of one patient."""
    atypical = rng.random() < _ATYPICAL
    others = [name for name in CLASS_DIAGNOSES if name != diagnosis]
    return ClassStyle(lesion=draw_lesion_style(rng, device), look=str(rng.choice(others)) if atypical else diagnosis)


def draw_class(rng: np.random.Generator, style: ClassStyle, size: int) -> NDArray[np.uint8]:
    """Draw one phantom, `(size, size, 3)` uint8 RGB."""
    look = _LOOKS[style.look]
    y, x = np.mgrid[0:size, 0:size] / size
    image: Array = np.broadcast_to(style.lesion.skin, (size, size, 3)).copy()
    image += 0.03 * smooth_noise(rng, size, 0.04)[..., None]
    radius = rng.uniform(0.24, 0.34)
    depth = lesion_depth(rng, (y, x), 0.5 + rng.uniform(-0.08, 0.08, 2), radius, look.wild)
    opacity = rng.uniform(0.75, 0.95) / (1 + np.exp(-depth / rng.uniform(0.04, 0.10)))
    image += opacity[..., None] * (_lesion_colors(rng, look, depth, (y, x)) - image)
    draw_hairs(rng, image, style.lesion.hairs // 4)  # at this size, more hairs would hide the lesion
    image *= illumination(rng, (y, x), style.lesion.device)[..., None]
    if style.lesion.device == "b":
        image *= np.array([0.93, 0.97, 1.08])
    image += rng.normal(0, 0.012, image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _lesion_colors(rng: np.random.Generator, look: _Look, depth: Array, grid: tuple[Array, Array]) -> Array:
    """The colors inside a lesion, `(size, size, 3)`."""
    size = len(depth)
    color = np.array(look.color) + rng.normal(0, 0.02, 3) + 0.03 * smooth_noise(rng, size, 0.05)[..., None]
    color = color + look.patches * smooth_noise(rng, size, 0.10)[..., None] * np.array([1.0, 0.7, 0.7])
    if look.center is not None:
        color += _share(depth - rng.uniform(0.4, 0.6), 0.06) * (np.array(look.center) - color)
    if look.dots is not None:
        color += _share(smooth_noise(rng, size, 0.025) - 1.0, 0.15) * (np.array(look.dots) - color)
    turn = rng.uniform(0, np.pi)
    ridges = np.sin(2 * np.pi * rng.uniform(9, 12) * (np.cos(turn) * grid[0] + np.sin(turn) * grid[1]))
    return color + look.ridges * ridges[..., None]


def _share(height: Array, softness: float) -> Array:
    """A smooth step from 0 (negative `height`) to 1 (positive `height`), `(size, size, 1)`."""
    share: Array = 1 / (1 + np.exp(-height / softness))
    return share[..., None]
