"""One fundus-like vessel phantom: an image, and the vessel mask as one particular annotator would draw it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from mu_monai.data.phantoms.texture import smooth_noise

Array = NDArray[np.float64]

VESSEL_DIAGNOSES = ("healthy", "hypertension")
_OVERSAMPLING = 3  # vessels are thinner than a pixel; they are drawn larger and averaged down


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How a fundus camera changes the image.

    Args:
        cast: factor on red, green and blue.
        radius: radius of the round field of view, as a share of the image's side.
        height: distance above and below the center at which the field is cut off, as a share of the side.
        blur: standard deviation of the point spread, as a share of the side.
        noise: standard deviation of the noise, for pixels in [0, 1].
    """

    cast: tuple[float, float, float]
    radius: float
    height: float
    blur: float
    noise: float


CAMERAS = {
    "a": Camera(cast=(1.0, 1.0, 1.0), radius=0.47, height=0.5, blur=0.0, noise=0.014),
    "b": Camera(cast=(0.80, 0.66, 0.95), radius=0.49, height=0.40, blur=0.0035, noise=0.03),
}


@dataclass(frozen=True, kw_only=True)
class VesselStyle:
    """What all vessel phantoms of one patient share.

    Args:
        background: RGB of the retina, in [0, 1].
        device: a key of `CAMERAS`: `b` is darker, more purple, less sharp and noisier than `a`, and cuts off the field
            of view at top and bottom.
        width_factor: how wide this patient's annotator draws a vessel, as a multiple of its true width.
        skipped: probability that this annotator leaves out a branch; the image does not show it, so a network can only
            memorize it.
    """

    background: Array
    device: str
    width_factor: float
    skipped: float


@dataclass(frozen=True)
class _Branch:
    """A vessel between two branchings: its course in image units, its width at both ends and how dark it is."""

    course: Array
    widths: tuple[float, float]
    darkness: float
    level: int


def draw_vessel_style(rng: np.random.Generator, device: str) -> VesselStyle:
    """Draw the style of one patient."""
    return VesselStyle(
        background=np.array([0.80, 0.40, 0.18]) * rng.uniform(0.75, 1.1) + rng.normal(0, 0.02, 3),
        device=device,
        width_factor=float(rng.choice([0.85, 1.0, 1.4])),
        skipped=float(rng.choice([0.05, 0.2, 0.35])),
    )


def draw_vessels(
    rng: np.random.Generator, style: VesselStyle, diagnosis: str, eye: str, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one fundus phantom: `(size, size, 3)` uint8 RGB and a `(size, size)` bool mask of its vessels."""
    side = -1.0 if eye == "L" else 1.0
    disc = np.array([0.5 + rng.uniform(-0.04, 0.04), 0.5 + side * rng.uniform(0.18, 0.26)])
    branches = _tree(rng, disc, -side, 1.5 if diagnosis == "hypertension" else 1.0)
    image = _retina(rng, style, disc, -side, size)
    darkness = _render([(branch, branch.darkness, 1.0) for branch in branches], size)
    image *= 1 - darkness[..., None] * np.array([0.55, 0.85, 0.75])
    image, field = _photograph(rng, image, CAMERAS[style.device])
    drawn = [branch for branch in branches if branch.level == 0 or rng.random() >= style.skipped]
    mask = (_render([(branch, 1.0, style.width_factor) for branch in drawn], size) > 0.5) & field
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), mask


def _photograph(rng: np.random.Generator, retina: Array, camera: Camera) -> tuple[Array, NDArray[np.bool_]]:
    """The image that a camera takes of a fundus, and its field of view."""
    size = len(retina)
    image = ndimage.gaussian_filter(retina * camera.cast, (camera.blur * size, camera.blur * size, 0))
    image += rng.normal(0, camera.noise, image.shape)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    field = (np.hypot(y, x) < camera.radius) & (np.abs(y) < camera.height)
    return image * ndimage.gaussian_filter(field.astype(float), size / 250)[..., None], field


def _retina(rng: np.random.Generator, style: VesselStyle, disc: Array, temporal: float, size: int) -> Array:
    """The fundus without vessels: choroid texture, uneven light, bright optic disc, dark macula."""
    y, x = np.mgrid[0:size, 0:size] / size
    image: Array = np.broadcast_to(style.background, (size, size, 3)).copy()
    for grain, strength in ((0.10, 0.05), (0.02, 0.03)):
        image *= 1 + strength * smooth_noise(rng, size, grain)[..., None]
    light = 0.5 + rng.uniform(-0.15, 0.15, 2)
    image *= (1.12 - 1.3 * ((y - light[0]) ** 2 + (x - light[1]) ** 2))[..., None]
    macula = np.hypot(y - disc[0] - 0.02, x - disc[1] - temporal * 0.36)
    image *= (1 - 0.35 * np.exp(-((macula / 0.07) ** 2)))[..., None]
    distance = np.hypot((y - disc[0]) / 1.1, x - disc[1])
    glow = 1 / (1 + np.exp((distance - 0.062) / 0.008))
    cup = np.exp(-((distance / 0.03) ** 2))
    image += glow[..., None] * (np.array([0.96, 0.78, 0.48]) - image) * 0.85 + 0.12 * cup[..., None]
    return image


def _tree(rng: np.random.Generator, disc: Array, temporal: float, winding: float) -> list[_Branch]:
    """Artery and vein of four arcades and a few small vessels, each with its branches."""
    branches: list[_Branch] = []
    for vertical in (-1.0, 1.0):
        for horizontal, reach in ((temporal, 0.62), (-temporal, 0.30)):
            for vein in (False, True):
                heading = np.arctan2(vertical * rng.uniform(0.8, 1.6), horizontal)
                bend = vertical * horizontal * rng.uniform(0.9, 1.5) * (1.0 if reach > 0.5 else 0.2)
                width = rng.uniform(0.017, 0.021) if vein else rng.uniform(0.011, 0.015)
                dark = rng.uniform(0.50, 0.62) if vein else rng.uniform(0.36, 0.48)
                start = disc + rng.normal(0, 0.012, 2)
                _grow(rng, branches, start, (heading, -bend, winding), (reach, width, dark), 0)
    return branches


def _grow(
    rng: np.random.Generator,
    branches: list[_Branch],
    start: Array,
    shape: tuple[float, float, float],
    body: tuple[float, float, float],
    level: int,
) -> None:
    """Add a vessel and, recursively, the branches that leave it; Murray's law would give a child 0.79 of the width."""
    (heading, bend, winding), (length, width, dark) = shape, body
    steps = 14 if level < 2 else 7
    drift = np.cumsum(rng.normal(0, 0.07 * winding, steps)) + bend * np.linspace(0, 1, steps)
    angles = heading + drift
    course = start + np.cumsum(np.stack([np.sin(angles), np.cos(angles)], axis=1) * length / steps, axis=0)
    course = np.vstack([start, course])
    branches.append(_Branch(course, (width, width * 0.45), dark, level))
    if level == 3:
        return
    for at in sorted(rng.choice(np.arange(2, steps), size=3 - min(level, 1), replace=False)):
        fork = angles[at - 1] + rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0)
        child = width * (1 - 0.45 * at / steps) * rng.uniform(0.55, 0.8)
        faint = dark * rng.uniform(0.5, 0.95)
        _grow(rng, branches, course[at], (fork, rng.normal(0, 0.4), winding), (length * 0.5, child, faint), level + 1)


def _render(branches: list[tuple[_Branch, float, float]], size: int) -> Array:
    """Draw branches with a brightness in [0, 1] and a factor on their width; `(size, size)`, later branches on top."""
    scale = size * _OVERSAMPLING
    canvas = Image.new("L", (scale, scale))
    pen = ImageDraw.Draw(canvas)
    for branch, value, factor in sorted(branches, key=lambda item: item[1]):
        points = [(x, y) for y, x in (branch.course * scale).tolist()]
        widths = np.maximum(np.linspace(*branch.widths, len(points)) * factor * scale, 1.2 * _OVERSAMPLING)
        _stroke(pen, points, widths.tolist(), int(value * 255))
    small = canvas.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255


def _stroke(pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], widths: list[float], ink: int) -> None:
    """Draw a tapering line; a line that is thin throughout, like most branches, is drawn in one go."""
    if max(widths) <= 2 * _OVERSAMPLING:
        pen.line(points, fill=ink, width=round(sum(widths) / len(widths)))
        return
    for start, (x, y), width in zip(points[:-1], points[1:], widths, strict=False):
        pen.line([start, (x, y)], fill=ink, width=round(width))
        pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=ink)
