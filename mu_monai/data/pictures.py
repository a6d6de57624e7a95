"""Pictures as they lie in files: what is too large is told by its header, and large ones are decoded one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

from PIL import Image

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import special_problem

LARGEST = 89_478_485  # pixels; from here on Pillow warns of a decompression bomb
_LARGE = 8_000_000  # pixels; a picture of this size takes some 30 MB while it is decoded
_ONE_LARGE = Lock()


@contextmanager
def opened(path: str) -> Iterator[Image.Image]:
    """Open and decode a picture.

    Raises:
        InputError: where it is not an ordinary file, or has too many pixels; these are not decoded.
        OSError, SyntaxError, ValueError: where it cannot be decoded.
    """
    raise_if_any(filter(None, [special_problem(path)]))
    try:
        picture = Image.open(path)  # which reads the header alone
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
    return f"{path!r} is too large ({size}); at most {LARGEST:,} pixels are decoded: make it smaller, or cut it"
