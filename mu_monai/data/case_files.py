"""The image of a case: one file, or several that are its channels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mu_monai.keys import IMAGE


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


def image_entry(case: Mapping[str, Any], inputs: Sequence[str] = ()) -> Any:
    """What of a case is predicted: its image file, several of them as a list, or a mapping with further inputs.

    Args:
        case: with `image` and the columns of `inputs`.
        inputs: the columns of further input files.

    Example:
        >>> image_entry({"image": "a.png", "label": "b.png"}), image_entry({"image": "a", "vein": "v"}, ["vein"])
        ('a.png', {'image': 'a', 'vein': 'v'})
    """
    files = image_files(case[IMAGE])
    image = list(files) if len(files) > 1 else files[0]
    return {IMAGE: image, **{key: case[key] for key in inputs}} if inputs else image


def files_of(entry: Any) -> list[str]:
    """The files of an `image_entry`, that of the image first."""
    parts = [entry[IMAGE], *(entry[key] for key in entry if key != IMAGE)] if isinstance(entry, Mapping) else [entry]
    return [file for part in parts for file in image_files(part)]


def common_folder(entries: Sequence[Any]) -> str:
    """The folder that holds the images of all `image_entry`s; predictions keep the folders within it.

    Example:
        >>> common_folder(["/data/p1/image.png", "/data/p2/image.png"]), common_folder([["/data/p1/t1.nii", "t2.nii"]])
        ('/data', '/data/p1')
    """
    folders = [os.path.dirname(os.path.abspath(files_of(entry)[0])) for entry in entries]
    return os.path.commonpath(folders) if folders else ""


def is_image_entry(entry: object) -> bool:
    """Whether an entry of a split names an image: a path, or a list of two or more.

    Example:
        >>> is_image_entry("a.png"), is_image_entry(["a.nii", "b.nii"]), is_image_entry([]), is_image_entry(["", "a"])
        (True, True, False, False)
    """
    files = entry if isinstance(entry, list) and len(entry) > 1 else [entry]
    return all(isinstance(file, str) and file for file in files)
