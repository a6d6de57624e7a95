"""Reading pictures: one that is too large is refused by its header, and large ones are decoded one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

from PIL import Image

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import special_problem

LARGEST = 89_478_485  # pixels; above this, Pillow warns about a decompression bomb
_LARGE = 8_000_000  # pixels; decoding a picture of this size takes about 30 MB
_ONE_LARGE = Lock()


@contextmanager
def opened(path: str) -> Iterator[Image.Image]:
    """Open and decode a picture.

    Raises:
        InputError: if it is not an ordinary file, or has too many pixels; it is then not decoded.
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
        with _ONE_LARGE if pixels > _LARGE else nullcontext():
            picture.load()
            yield picture


def _too_large(path: str, size: str) -> str:
    return f"{path!r} is too large ({size}); at most {LARGEST:,} pixels are decoded: scale it down, or crop it"
