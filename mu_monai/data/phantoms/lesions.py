"""One dermoscopy-like lesion phantom: an image, and the mask as one particular annotator would draw it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import line_aa

from mu_monai.data.phantoms.texture import smooth_noise

Array = NDArray[np.float64]

_LIGHT_SKIN, _DARK_SKIN = np.array([0.93, 0.76, 0.68]), np.array([0.66, 0.46, 0.36])
_PIGMENT = {
    "nevus": np.array([0.46, 0.28, 0.19]),
    "melanoma": np.array([0.27, 0.17, 0.15]),
    "keratosis": np.array([0.58, 0.40, 0.26]),
}
LESION_DIAGNOSES = tuple(_PIGMENT)


@dataclass(frozen=True, kw_only=True)
class LesionStyle:
    """What all lesion phantoms of one patient share.

    Args:
        skin: RGB in [0, 1].
        hairs: how many hairs cross an image.
        device: `a`, or `b` with a bluish cast and a dark rim.
        border_offset: how far outside (> 0) or inside (< 0) of the visible border this patient's annotator draws, as a
            share of the lesion's radius. The image does not show it, so a network can only memorize it.
        roughness: amplitude of the annotator's waves along the border, as a share of the radius.
    """

    skin: Array
    hairs: int
    device: str
    border_offset: float
    roughness: float


def draw_lesion_style(rng: np.random.Generator, device: str) -> LesionStyle:
    """Draw the style of one patient."""
    tone = rng.beta(1.5, 2.5)
    return LesionStyle(
        skin=_LIGHT_SKIN + tone * (_DARK_SKIN - _LIGHT_SKIN) + rng.normal(0, 0.015, 3),
        hairs=int(rng.choice([0, 0, 3, 7, 14])),
        device=device,
        border_offset=float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.25)),
        roughness=float(rng.uniform(0.02, 0.08)),
    )


def draw_lesion(
    rng: np.random.Generator, style: LesionStyle, diagnosis: str, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one lesion phantom: `(size, size, 3)` uint8 RGB and a `(size, size)` bool mask."""
    y, x = np.mgrid[0:size, 0:size] / size
    image = np.broadcast_to(style.skin, (size, size, 3)).copy()
    image += 0.035 * smooth_noise(rng, size, 0.04)[..., None] + 0.02 * smooth_noise(rng, size, 0.008)[..., None]
    wild = diagnosis == "melanoma"
    center = 0.5 + rng.uniform(-0.1, 0.1, 2)
    radius = rng.uniform(0.13, 0.25)
    depth = lesion_depth(rng, (y, x), center, radius, 0.10 if wild else 0.05)
    _pigment(rng, image, depth, diagnosis)
    for _ in range(rng.integers(0, 3)):  # other spots, which nobody annotates
        place = center + _direction(rng) * rng.uniform(1.5, 2.0) * radius
        spot = lesion_depth(rng, (y, x), place, radius * rng.uniform(0.25, 0.6), 0.05)
        _pigment(rng, image, spot, str(rng.choice(LESION_DIAGNOSES)))
    draw_hairs(rng, image, style.hairs)
    image *= illumination(rng, (y, x), style.device)[..., None]
    if style.device == "b":
        image *= np.array([0.93, 0.97, 1.08])
    image += rng.normal(0, 0.012, image.shape)
    mask = depth + style.border_offset + _waves(rng, (y, x), center, style.roughness, range(4, 11)) > 0
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), mask


def _direction(rng: np.random.Generator) -> Array:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sin(angle), np.cos(angle)])


def _waves(rng: np.random.Generator, grid: tuple[Array, Array], center: Array, size: float, orders: range) -> Array:
    """A Fourier series in the angle around `center`, with the amplitude falling as 1 / order."""
    turn = np.exp(1j * np.arctan2(grid[0] - center[0], grid[1] - center[1]))
    terms = np.zeros(orders[-1] + 1, dtype=complex)
    for order in orders:
        terms[order] = size * rng.normal() * orders[0] / order * np.exp(1j * rng.uniform(0, 2 * np.pi))
    total: Array = np.polyval(terms[::-1], turn).real  # powers of exp(i angle): much cheaper than a cosine per order
    return total


def lesion_depth(
    rng: np.random.Generator, grid: tuple[Array, Array], center: Array, radius: float, wild: float
) -> Array:
    """How deep each pixel lies inside an irregular ellipse, in radii: 1 at the center, 0 on the border, < 0 outside."""
    dy, dx = grid[0] - center[0], grid[1] - center[1]
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.35)
    u, v = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
    distance = np.hypot(u / stretch, v * stretch) / radius
    depth: Array = 1 + _waves(rng, grid, center, wild, range(2, 9)) - distance
    return depth


def _pigment(rng: np.random.Generator, image: Array, depth: Array, diagnosis: str) -> None:
    """Stain the image in place where `depth` is positive: blurred edge, variegated color, sometimes little contrast."""
    size = image.shape[0]
    opacity = rng.uniform(0.35, 0.95) / (1 + np.exp(-depth / rng.uniform(0.04, 0.12)))
    color = _PIGMENT[diagnosis] + 0.06 * smooth_noise(rng, size, 0.05)[..., None]
    patchiness = np.array([0.09, 0.065, 0.065]) if diagnosis == "melanoma" else np.array([0.03, 0.02, 0.02])
    color = color + patchiness * smooth_noise(rng, size, 0.10)[..., None]
    color = color + 0.03 * smooth_noise(rng, size, 0.012)[..., None]
    image += opacity[..., None] * (color - image)


def draw_hairs(rng: np.random.Generator, image: Array, count: int) -> None:
    """Draw dark, slightly bent hairs in place."""
    size = image.shape[0]
    ink: Array = np.zeros((size, size))
    for _ in range(count):
        start, angle, bend = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi), rng.normal(0, 0.08)
        for _ in range(10):
            angle += bend
            stop = start + size * 0.07 * np.array([np.sin(angle), np.cos(angle)])
            rows, columns, weight = line_aa(*np.rint(start).astype(int), *np.rint(stop).astype(int))
            inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
            ink[rows[inside], columns[inside]] = np.maximum(ink[rows[inside], columns[inside]], weight[inside])
            start = stop
    ink = np.clip(ndimage.gaussian_filter(ink, size / 400) * 1.3, 0, 0.85)
    image += ink[..., None] * (np.array([0.17, 0.12, 0.10]) - image)


def illumination(rng: np.random.Generator, grid: tuple[Array, Array], device: str) -> Array:
    """A gradient of light across the image, and dark corners."""
    slope = _direction(rng) * rng.uniform(0, 0.2)
    light = 1 + slope[0] * (grid[0] - 0.5) + slope[1] * (grid[1] - 0.5)
    rim = np.hypot(grid[0] - 0.5, grid[1] - 0.5)
    shade: Array = light * (1 - (0.45 if device == "b" else 0.2) * rim**2)
    return shade
