"""Opening pictures: what is too large or would lose values is refused by its header; large ones are decoded in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

from PIL import Image

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import special_problem

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
ORIENTATION, TURNS, TURNED = 0x0112, range(2, 9), "turned"  # EXIF tag, its values for what does not lie upright, a note
LARGEST = 89_478_485  # pixels; above this, Pillow warns about a decompression bomb
_LARGE = 8_000_000  # pixels; decoding a picture of this size takes about 30 MB
_ONE_LARGE = Lock()
_FIRST_COUNTS = ("MPO",)  # photographs of telephones: the other pictures in the file are previews and depth
_WHITE_IS_ZERO = (262, 0)  # tag of TIFF and its value


@contextmanager
def opened(path: str) -> Iterator[Image.Image]:
    """Open and decode a picture.

    Raises:
        InputError: if it is not an ordinary file, has too many pixels or several pages, or holds values that cannot be
            read whole; it is then not decoded.
        OSError, SyntaxError, ValueError: if it cannot be decoded.
    """
    raise_if_any(filter(None, [special_problem(path)]))
    try:
        picture = Image.open(path)  # reads only the header
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path, str(error))) from None
    with picture:
        pixels = picture.width * picture.height
        if pixels > LARGEST:
            raise InputError(_too_large(path, f"{picture.width}x{picture.height} pixels"))
        raise_if_any(f"{path!r} {problem}" for problem in _header_problems(picture))
        with _ONE_LARGE if pixels > _LARGE else nullcontext():
            orientation = getattr(picture, "tag_v2", {}).get(ORIENTATION)  # Pillow turns a TIFF when it decodes it
            picture.load()
            picture.info[TURNED] = orientation in TURNS
            yield picture


def _too_large(path: str, size: str) -> str:
    return f"{path!r} is too large ({size}); at most {LARGEST:,} pixels are decoded: scale it down, or crop it"


def _header_problems(picture: Image.Image) -> Iterator[str]:
    pages = getattr(picture, "n_frames", 1)
    if pages > 1 and picture.format not in _FIRST_COUNTS:
        yield f"has {pages} pages, of which only one would be read; save each as a file of its own"
    if ";16" in str(getattr(picture, "tile", "")) and not picture.mode.startswith("I"):
        yield "has 16 bits per color, of which only 8 would be read; save it with 8 bits per color, or as 16-bit gray"
    tag, inverted = _WHITE_IS_ZERO
    if picture.mode.startswith(("I", "F")) and getattr(picture, "tag_v2", {}).get(tag) == inverted:
        yield "says that 0 is white, which is not read for more than 8 bits; save it with 0 as black"
