"""A contact sheet: per case the image, the image with the outline of its label, and what was understood."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import grey_erosion

from mu_monai.data.explained.cases import ExplainedCase
from mu_monai.files import atomic_path

_SIDE = 300  # pixels of a thumbnail
_GAP = 16
_TEXT = 760  # width of the text
_LINE = 22
_LETTERS = 88  # of a line of text; longer ones are broken
_BACKGROUND, _INK = (250, 250, 248), (20, 20, 20)
COLORS = ((0, 255, 80), (255, 60, 200), (255, 200, 0), (0, 200, 255), (255, 90, 0), (190, 120, 255))


def write_sheet(target: str | os.PathLike[str], cases: Sequence[ExplainedCase]) -> Path:
    """Draw the cases below each other, and write them as a PNG.

    Args:
        target: the file.
        cases: what to draw.

    Returns:
        the file.
    """
    rows = [_row(case) for case in cases]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), _BACKGROUND)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    with atomic_path(Path(target)) as path:
        sheet.save(path, format="PNG")
    return Path(target)


def _row(case: ExplainedCase) -> Image.Image:
    """One case: its image, the image with the outline, and its text, with a frame of the background around each."""
    text = [line for entry in (case.title, *case.lines) for line in _broken(entry)]
    height = max(_SIDE, _LINE * (len(text) + 1)) + _GAP  # one more for the legend
    row = Image.new("RGB", (3 * _GAP + 2 * _SIDE + _TEXT, height), _BACKGROUND)
    thumbnail = _thumbnail(case.picture, Image.Resampling.BILINEAR)
    row.paste(Image.fromarray(thumbnail), (_GAP // 2, _GAP // 2))
    draw, font, left = ImageDraw.Draw(row), ImageFont.load_default(size=15), 2 * _GAP + 2 * _SIDE
    if case.outlined is not None:
        outlined = _with_outline(thumbnail, _thumbnail(case.outlined, Image.Resampling.NEAREST))
        row.paste(Image.fromarray(outlined), (_GAP + _SIDE, _GAP // 2))
        _draw_legend(draw, np.unique(case.outlined), (left, _GAP // 2 + _LINE * len(text)))
    else:
        label = "\n".join(_broken(case.label, _LETTERS // 3))
        draw.multiline_text((_GAP + _SIDE, height // 3), label, fill=_INK, font=ImageFont.load_default(size=24))
    for number, line in enumerate(text):
        draw.text((left, _GAP // 2 + number * _LINE), line, fill=_INK, font=font)
    return row


def _draw_legend(draw: ImageDraw.ImageDraw, values: NDArray[np.uint8], place: tuple[int, int]) -> None:
    """The color of each value, in one line."""
    (left, top), font = place, ImageFont.load_default(size=15)
    for number, value in enumerate(values[values > 0][: len(COLORS)].tolist()):
        start = left + number * _SIDE // 3
        draw.rectangle((start, top + 4, start + 12, top + 16), fill=COLORS[(value - 1) % len(COLORS)])
        draw.text((start + 20, top), str(value), fill=_INK, font=font)


def _thumbnail(pixels: NDArray[np.uint8], how: Image.Resampling) -> NDArray[np.uint8]:
    scale = _SIDE / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, how))


def _with_outline(picture: NDArray[np.uint8], values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with a line along every border between two values, inside and in the color of the higher one."""
    border = values != grey_erosion(values, size=(3, 3))
    colors = np.array(COLORS, dtype=np.uint8)[(values.astype(int) - 1) % len(COLORS)]
    return np.where(border[..., None], colors, picture)


def _broken(text: str, letters: int = _LETTERS) -> list[str]:
    """A text in lines that fit, indented alike; what cannot be printed becomes a question mark."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    indent = " " * (len(shown) - len(shown.lstrip()))
    return wrap(shown, letters, subsequent_indent=indent, break_on_hyphens=False)
