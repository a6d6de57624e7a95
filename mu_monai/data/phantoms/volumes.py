"""One CT-like volume phantom: Hounsfield units, and the classes as one particular annotator would draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.nifti1 import Nifti1Image
from nibabel.orientations import axcodes2ornt, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

Array = NDArray[np.float64]

_LESION = {"cyst": 10.0, "metastasis": 25.0, "hemangioma": 40.0}  # HU
VOLUME_DIAGNOSES = tuple(_LESION)
_ORIENTATIONS = ("RAS", "LAS", "LPS")
_DEPTH = 0.6  # slices, as a share of the voxels along the side of a slice
_NOISE = {"a": (14.0, 0.7), "b": (24.0, 0.45)}  # by device: noise in HU, and blur of the image in voxels


@dataclass(frozen=True, kw_only=True)
class VolumeStyle:
    """What all volume phantoms of one patient share.

    Args:
        device: `a`, or `b` with a sharper and noisier reconstruction.
        spacing: size of a voxel in mm, to the right, front and top.
        orientation: directions of the axes of the stored array, such as `LPS`.
        fat: width of the rim of fat, as a share of the body's radius.
        border_offset: how far outside (> 0) or inside (< 0) of the visible border this patient's annotator draws, as a
            share of the structure's radius. The image does not show it, so a network can only memorize it.
        roughness: amplitude of the annotator's waves along the border, as a share of the radius.
        lobe: whether the annotator counts the left lobe as organ; the image does not show that either.
    """

    device: str
    spacing: tuple[float, float, float]
    orientation: str
    fat: float
    border_offset: float
    roughness: float
    lobe: bool


def draw_volume_style(rng: np.random.Generator, device: str) -> VolumeStyle:
    """Draw the style of one patient."""
    side, height = (round(float(rng.uniform(*bounds)), 2) for bounds in ((1.5, 2.5), (2.0, 4.0)))
    return VolumeStyle(
        device=device,
        spacing=(side, side, height),
        orientation=str(rng.choice(_ORIENTATIONS)),
        fat=float(rng.uniform(0.12, 0.22)),
        border_offset=float(rng.choice([-1, 1]) * rng.uniform(0.04, 0.12)),
        roughness=float(rng.uniform(0.02, 0.06)),
        lobe=bool(rng.random() < 0.5),
    )


def draw_volume(
    rng: np.random.Generator, style: VolumeStyle, diagnosis: str, size: int
) -> tuple[Nifti1Image, Nifti1Image]:
    """Draw one volume phantom: int16 HU, and uint8 classes (0 background, 1 organ, 2 lesion) of the same voxels."""
    shape = (size, size, round(_DEPTH * size))
    grid = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij", sparse=True)
    image = _draw_body(rng, grid, style.fat)
    _fill(image, _ellipsoid(grid, (-0.55, -0.2, 0.1), rng.uniform((0.2, 0.2, 0.35), (0.25, 0.3, 0.5))), rng, 110)
    body, lobe = _draw_organ_depth(rng, grid)
    _fill(image, np.maximum(body, lobe), rng, rng.uniform(105, 125))
    lesions = _draw_lesion_depth(rng, grid, body)
    _fill(image, lesions, rng, _LESION[diagnosis])

    noise, blur = _NOISE[style.device]
    image = ndimage.gaussian_filter(image, (blur, blur, 0)) + ndimage.gaussian_filter(rng.normal(0, noise, shape), 0.3)
    organ = np.maximum(body, lobe) if style.lobe else body
    habit = style.border_offset + style.roughness * _smooth_noise(rng, shape, 0.06)
    inside = organ + habit > 0
    label = inside.astype(np.uint8) + (inside & (lesions + habit > 0))
    return _stored(np.clip(image, -1024, 3071).round().astype(np.int16), style), _stored(label.astype(np.uint8), style)


def _draw_body(rng: np.random.Generator, grid: Sequence[Array], fat: float) -> Array:
    """Air, fat, soft tissue and a spine."""
    x, y, z = grid
    depth = 1 - np.hypot(x / rng.uniform(0.86, 0.96), y / rng.uniform(0.68, 0.80)) - 0.04 * rng.normal() * z
    image = np.full(depth.shape, -1000.0)
    _fill(image, depth, rng, -100)
    _fill(image, depth - fat, rng, 45)
    spine = 1 - np.hypot(x, y + rng.uniform(0.42, 0.50)) / rng.uniform(0.12, 0.16)
    vertebrae = rng.uniform(450, 550) + 120 * np.sin(rng.uniform(8, 11) * z + rng.uniform(0, 2 * np.pi))
    _fill(image, np.broadcast_to(spine, depth.shape), rng, vertebrae)
    return image


def _draw_organ_depth(rng: np.random.Generator, grid: Sequence[Array]) -> tuple[Array, Array]:
    """The right lobe of an irregular liver, and the left lobe next to it."""
    center = np.array([0.34, 0.02, 0.0]) + rng.uniform(-0.06, 0.06, 3)
    radii = rng.uniform((0.36, 0.40, 0.5), (0.44, 0.50, 0.7))
    tip = center + np.array([-0.42, 0.22, 0.15]) + rng.uniform(-0.05, 0.05, 3)
    waves = 0.08 * _smooth_noise(rng, np.broadcast_shapes(*(axis.shape for axis in grid)), 0.12)
    small = rng.uniform((0.24, 0.16, 0.25), (0.32, 0.22, 0.40))
    return _ellipsoid(grid, center, radii) + waves, _ellipsoid(grid, tip, small) + waves


def _draw_lesion_depth(rng: np.random.Generator, grid: Sequence[Array], organ: Array) -> Array:
    """One to three ellipsoids whose centers lie deep in the organ."""
    deep = np.argwhere(organ > np.quantile(organ[organ > 0], 0.7))
    centers = 2 * rng.choice(deep, rng.integers(1, 4)) / (np.array(organ.shape) - 1) - 1
    lesions = [
        _ellipsoid(grid, center, rng.uniform(0.13, 0.20) * rng.uniform((0.85, 0.85, 1.1), (1.15, 1.15, 1.5)))
        for center in centers
    ]
    return np.maximum.reduce(lesions)


def _ellipsoid(grid: Sequence[Array], center: Array | tuple[float, ...], radii: Array) -> Array:
    """How deep each voxel is inside, in radii: 1 at the center, 0 on the border, < 0 outside."""
    parts = (((axis - middle) / radius) ** 2 for axis, middle, radius in zip(grid, center, radii, strict=True))
    depth: Array = 1 - np.sqrt(sum(parts))
    return depth


def _fill(image: Array, depth: Array, rng: np.random.Generator, value: float | Array) -> None:
    """Put tissue of `value` HU with a smooth texture where `depth` is positive; voxels on the border get a share."""
    tissue = value + 4 * _smooth_noise(rng, image.shape, 0.03)
    image += expit(depth / 0.02) * (tissue - image)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], grain: float) -> Array:
    """Smooth noise with zero mean and unit standard deviation; `grain` is the blur as a share of the first side."""
    noise: Array = ndimage.gaussian_filter(rng.normal(size=shape), grain * shape[0], mode="wrap")
    return (noise - noise.mean()) / noise.std()


def _stored(voxels: NDArray[np.int16] | NDArray[np.uint8], style: VolumeStyle) -> Nifti1Image:
    """Voxels in the patient's orientation, around the center of the scanner."""
    affine = np.diag([*style.spacing, 1.0])
    affine[:3, 3] = -0.5 * np.array(style.spacing) * (np.array(voxels.shape) - 1)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(style.orientation))
    turned: Nifti1Image = Nifti1Image(voxels, affine).as_reoriented(turn)
    return turned
