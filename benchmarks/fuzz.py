"""Feed the readers what coverage finds: any bytes may end in an `InputError`, and in nothing else.

    python benchmarks/fuzz.py table -max_total_time=60

The first argument is a reader (see `READERS`), the others are those of libFuzzer. It begins with a sound file. It ends
with an error, and keeps the input, where a reader raises anything else or takes more than the `-timeout` of libFuzzer.
Needs `pip install atheris`.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mu_monai"]):
    import nibabel
    import numpy as np
    import pandas as pd
    from campaign_data import save_slice
    from PIL import Image

    from mu_monai.data import open_split, parse_label_map
    from mu_monai.data.condition import matching_rows
    from mu_monai.data.layouts.patterns import Pattern
    from mu_monai.data.pictures.decoding import look_at_image, read_image, seen_mask
    from mu_monai.data.volumes.contours import roi_names, roi_series
    from mu_monai.data.volumes.dicom import read_file, series_problems
    from mu_monai.data.volumes.files import read_volume
    from mu_monai.data.volumes.segments import segment_names, segment_series
    from mu_monai.errors import InputError
    from mu_monai.tables import read_ids, read_table

COLUMNS = ("case_id", "patient_id", "image", "label")
TABLE = pd.DataFrame({"age": [1, 70], "device": ["a", None], "date": ["2021-03-31", "2022-01-01"]})
SOUND = "case_id,patient_id,image,label\nc1,007,a.png,b.png\nc2,NA,c.png,d.png\n"
CONDITION = "device == 'a' and age >= 60 or `date` in ['2021-03-31'] and not device.str.contains('x')"


def condition(file: Path) -> None:
    """Any text as a condition."""
    matching_rows(TABLE, file.read_bytes().decode("utf-8", "replace"))


def text(file: Path) -> None:
    """Any text as a label map and as a pattern."""
    given = file.read_bytes().decode("utf-8", "replace")
    for read in (parse_label_map, lambda given: Pattern(given).fields_of("imagesTr/a_0000.nii.gz")):
        try:
            read(given)
        except InputError:
            continue


def picture(file: Path) -> None:
    """Any bytes as an image and as a mask."""
    for read in (look_at_image, read_image, seen_mask):
        try:
            read(str(file))
        except InputError:
            continue


def series(file: Path) -> None:
    """Any bytes as one of two slices, and as an object with structures."""
    series_problems(file.parent)
    header = read_file(file)
    for read in (segment_names, segment_series, roi_names, roi_series):
        read(header)


def volume(file: Path) -> None:
    """Any bytes as a volume."""
    read_volume(str(file))


def a_picture(suffix: str) -> Callable[[Path], None]:
    """Writes a small picture."""
    return lambda file: Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file.with_suffix(suffix))


def a_volume(file: Path) -> None:
    """Writes a small NIfTI file."""
    nibabel.Nifti1Image(np.ones((2, 3, 2), np.int16), np.eye(4)).to_filename(file)


def a_packed_volume(file: Path) -> None:
    """Writes a small MetaImage or NRRD file."""
    header = "NDims = 3\nDimSize = 2 3 2\nElementType = MET_SHORT\nCompressedData = False\nElementDataFile = LOCAL\n"
    if file.suffix == ".nrrd":
        header = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 3 2\nencoding: raw\n"
            "endian: little\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n"
        )
    file.write_bytes(header.encode() + bytes(24))


def a_slice(file: Path) -> None:
    """Writes a slice of a CT."""
    save_slice(file, 1, np.zeros((2, 3), np.int16), "p", "1.2.3")


def a_split(file: Path) -> None:
    """Writes a split without its files."""
    case = {"case_id": "c1", "patient_id": "p1", "image": "a.png", "label": "b.png"}
    file.write_text(json.dumps({"retain": [case], "forget": [], "provenance": {"counts": {"retain": {"cases": 1}}}}))


# Of each reader: the name of its file, what is read, and what writes a sound file.
READERS: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object]]] = {
    "table": ("t.csv", lambda file: read_table(file, text=COLUMNS, foreign=True), lambda file: file.write_text(SOUND)),
    "ids": ("ids.txt", lambda file: read_ids(file, COLUMNS), lambda file: file.write_text("p1\n#2\n007\n")),
    "condition": ("c.txt", condition, lambda file: file.write_text(CONDITION)),
    "text": ("t.txt", text, lambda file: file.write_text("{205: 'left'} {case:[0-9]+}_{channel}*{ext}")),
    "split": ("split.json", lambda file: open_split(file).warn_of_edits(), a_split),
    "png": ("p.png", picture, a_picture(".png")),
    "tiff": ("p.tif", picture, a_picture(".tif")),
    "jpeg": ("p.jpg", picture, a_picture(".jpg")),
    "nifti": ("v.nii", volume, a_volume),
    "mha": ("v.mha", volume, a_packed_volume),
    "nrrd": ("v.nrrd", volume, a_packed_volume),
    "dicom": ("IM1", series, a_slice),
    "multi-frame": ("m.dcm", volume, a_slice),
}


def main() -> None:
    """Fuzz one reader."""
    name, *options = sys.argv[1:]
    file_name, read, write = READERS[name]
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        corpus, place = Path(temporary, "corpus"), Path(temporary, "place")
        corpus.mkdir()
        place.mkdir()
        write(corpus / file_name)
        if name == "dicom":
            save_slice(place / "IM2", 2, np.zeros((2, 3), np.int16), "p", "1.2.3")

        def once(data: bytes) -> None:
            (place / file_name).write_bytes(data)
            try:
                read(place / file_name)
            except InputError:
                return

        atheris.Setup([sys.argv[0], str(corpus), "-timeout=20", *options], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
