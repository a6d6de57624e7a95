"""The image of a case: one file, or several that are its channels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any


def image_files(image: Any) -> tuple[str, ...]:
    """The files of a case's image, in the order of its channels.

    Args:
        image: a path, or a sequence of paths.

    Example:
        >>> image_files("a.png"), image_files(["a_t1.nii", "a_t2.nii"])
        (('a.png',), ('a_t1.nii', 'a_t2.nii'))
    """
    return tuple(image) if isinstance(image, list | tuple) else (image,)


def each_file(image: Any, change: Callable[[str], str]) -> str | tuple[str, ...]:
    """The image of a case with each of its paths changed: a path stays a path, and several stay several.

    Example:
        >>> each_file("a.png", str.upper), each_file(["a", "b"], str.upper)
        ('A.PNG', ('A', 'B'))
    """
    return tuple(map(change, image)) if isinstance(image, list | tuple) else change(image)


def image_digest(image: Any, digests: Mapping[str, str]) -> str | None:
    """The SHA-256 of a case's image, for several files that of their digests in order; None if one is not known.

    Args:
        image: a path, or a sequence of paths.
        digests: the SHA-256 of each file, by its path.

    Example:
        >>> image_digest("a.png", {"a.png": "12ab"})
        '12ab'
        >>> image_digest(["a.nii", "b.nii"], {"a.nii": "12ab"}) is None
        True
    """
    found = [digests.get(file) for file in image_files(image)]
    known = [digest for digest in found if digest is not None]
    if len(known) < len(found):
        return None
    return known[0] if len(known) == 1 else hashlib.sha256("".join(known).encode()).hexdigest()


def is_image_entry(entry: object) -> bool:
    """Whether an entry of a split names an image: a path, or a list of two or more.

    Example:
        >>> is_image_entry("a.png"), is_image_entry(["a.nii", "b.nii"]), is_image_entry([]), is_image_entry(["", "a"])
        (True, True, False, False)
    """
    files = entry if isinstance(entry, list) and len(entry) > 1 else [entry]
    return all(isinstance(file, str) and file for file in files)
