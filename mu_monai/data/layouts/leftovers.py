"""What a folder holds beside the files of its cases: nothing is left out without a count."""

from __future__ import annotations

import os
import re

import pandas as pd

from mu_monai.data.case_files import image_files
from mu_monai.data.layouts.listing import LayoutInput, left_out, suffix_of
from mu_monai.keys import IMAGE, LABEL

_ALWAYS_READ = r"metadata\.csv"


def leftovers(reading: LayoutInput, manifest: pd.DataFrame, own: str = "") -> list[str]:
    """One sentence for each kind of file that belongs to no case, with number and first name.

    Args:
        reading: the folder, and what was already counted.
        manifest: its cases, with absolute paths.
        own: an expression for the names of files that the layout reads besides.
    """
    listing = reading.listing
    used = {*map(os.path.abspath, reading.told), *manifest.get(LABEL, ())}
    used |= {file for image in manifest.get(IMAGE, ()) for file in image_files(image)}
    read = re.compile(f"{_ALWAYS_READ}|{own}", re.IGNORECASE)
    unused = [
        path
        for path, file in listing.files.items()
        if not read.fullmatch(file.name) and not {os.path.abspath(file), os.path.abspath(file.parent)} & used
    ]
    return [
        *left_out("hidden files or folders", listing.hidden),
        *left_out("links that lead nowhere or in a circle", listing.broken),
        *left_out("images or label files that belong to no case", (path for path in unused if suffix_of(path))),
        *left_out("files of other types", (path for path in unused if not suffix_of(path))),
    ]
