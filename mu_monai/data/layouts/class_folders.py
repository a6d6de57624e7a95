"""Folders of pictures that are named after classes, and what speaks against taking folders for classes."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from mu_monai.data.layouts.listing import Listing, is_hidden, stem_of, suffix_of
from mu_monai.data.layouts.pairing import described_ids, with_metadata
from mu_monai.data.pictures.opening import PICTURE_SUFFIXES, opened
from mu_monai.errors import InputError, raise_if_any
from mu_monai.keys import CASE_ID, IMAGE, LABEL

_log = logging.getLogger(__name__)

_PARTS = ("train", "training", "val", "valid", "validation", "test", "testing")
_NO_CLASS = re.compile(  # the whole name: folders of a segmentation data set
    r"(images?|imgs?|labels?|masks?|annotations?|segmentations?|ground_?truths?|gt|1st_manual|2nd_manual)(tr|ts|va)?",
    re.IGNORECASE,
)
_OF_ARCHIVES = re.compile(  # a word in the name of a folder of an archive
    r"images?|imgs?|pics?|pictures?|labels?|lbls?|masks?|annotations?|annots?|segs?|segmentations?|contours?|"
    r"groundtruths?|gts?|truth|targets?|manual|inputs?|parts?|folds?|splits?|batch|data|dataset|archive"
)
_MASK = re.compile(
    r"(?P<image>.+?)[_\-. ]?(masks?|seg|segm|segmentation|labels?|gt|ground_?truth|annotation|manual)[_\-. ]?\d*",
    re.IGNORECASE,
)
_TABLES = (".csv", ".tsv", ".tab", "")
_WORKBOOKS = (".xlsx", ".xls", ".ods", ".parquet")
_BESIDE = (".xml", ".json", ".txt", ".mat", ".npy", ".npz", ".csv")  # where programs put what they know of a picture
_READ = 1_000_000  # characters of a table that are searched for names of pictures
_LOOKED_AT = 3  # pictures of each folder whose colors are counted
_FEW_COLORS = 16
_JPEG_REACH = 40  # how far JPEG moves pixels from 0 and 255
_GRAY = 0.03  # share of other pixels that JPEG leaves in a mask, at its edges
_MANY_CLASSES = 40
_DENSE = 2  # numbers per picture up to which names only count the pictures


def read_class_folders(source: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a folder of class folders with pictures, which may be divided into `Train/` and `Test/`.

    The label and the column `diagnosis` are the name of the class folder; the column `folder` is the part, if there are
    parts. The file's name is the case id, and `resolve_duplicates` handles names that occur in several classes or
    parts; but where names only number the pictures of each folder, the folders go before them: `Train/benign/1`. An
    optional `metadata.csv` gives patient ids and more columns, as for `read_isic`; the folders override it.

    Args:
        source: a folder with one folder per class, or with `Train/` and `Test/` that contain them.

    Raises:
        InputError: if there are fewer than two classes with pictures, or masks among the pictures.
    """
    source = Path(source)
    parts = _parts(source)
    folders = _folders(source)
    rows = [
        (file.stem, str(file.absolute()), folder.name, folder.name, folder.parent.name)
        for folder in folders
        for file in _pictures(folder)
    ]
    manifest = pd.DataFrame(rows, columns=[CASE_ID, IMAGE, LABEL, "diagnosis", "folder"], dtype=object)
    if manifest[LABEL].nunique() < 2:
        raise InputError(
            f"{str(source)!r} has pictures of {manifest[LABEL].nunique()} classes "
            f"({', '.join(map(repr, manifest[LABEL].unique())) or 'none'}); a classifier needs two or more: give the "
            "folder that contains the class folders"
        )
    raise_if_any(_mask_problems(source, manifest[IMAGE]))
    for folder in folders:
        if not _pictures(folder):
            _log.warning("class folder '%s' has no pictures (%s); it is left out", folder, ", ".join(PICTURE_SUFFIXES))
    if not parts:
        manifest = manifest.drop(columns="folder")
    twice = manifest[CASE_ID][manifest[CASE_ID].duplicated()]
    if twice.empty:
        return with_metadata(manifest, source)
    if _numbers_only(manifest) and not described_ids(source) & set(manifest[CASE_ID]):
        _log.info("files are numbered anew in each folder, so the folder is part of the case id")
        manifest[CASE_ID] = [
            os.path.splitext(os.path.relpath(image, source.absolute()))[0] for image in manifest[IMAGE]
        ]
    else:
        _log.warning(
            "%d pictures have the name of another one, such as %r, and count as its copies; if they are different "
            "pictures, give --images '%s{class}/{case}{ext}', by which the folder is part of the name",
            len(twice),
            twice.iloc[0],
            "{part}/" if parts else "",
        )
    return with_metadata(manifest, source)


def has_class_folders(listing: Listing) -> bool:
    """Whether a folder has folders with pictures, none of which has the name of a part of a segmentation data set."""
    if not listing.root.is_dir():
        return False
    folders = _folders(listing.root)
    return any(map(_pictures, folders)) and not any(_NO_CLASS.fullmatch(folder.name) for folder in folders)


def class_folder_doubts(listing: Listing) -> list[str]:
    """What speaks against taking the folders for classes, one sentence each."""
    source = listing.root
    pictures: dict[str, list[Path]] = {}
    for folder in _folders(source):
        pictures.setdefault(folder.name, []).extend(_pictures(folder))
    every = [file for files in pictures.values() for file in files]
    return [
        *_mask_problems(source, map(str, every)),
        *_name_doubts(list(pictures)),
        *_count_doubts(pictures),
        *_content_doubts(pictures),
        *_table_doubts(listing, {file.stem for file in every}),
        *_beside_doubts(listing, every),
    ]


def _parts(source: Path) -> list[Path]:
    """The folders `Train/`, `Test/` ... of a data set that is divided into parts; empty if it is not."""
    return [folder for folder in _shown_folders(source) if folder.name.lower() in _PARTS]


def _folders(source: Path) -> list[Path]:
    return [folder for part in _parts(source) or [source] for folder in _shown_folders(part)]


def _shown_folders(place: Path) -> list[Path]:
    return sorted(entry for entry in place.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and not is_hidden(file.name)
    )


def _numbers_only(manifest: pd.DataFrame) -> bool:
    """Whether the names only count the pictures of their class: `1.jpg`, `2.jpg` ..."""
    return all(_counts(names) for _, names in manifest.groupby(LABEL)[CASE_ID])


def _counts(names: Iterable[str]) -> bool:
    split = [re.fullmatch(r"(.*?)(\d+)(\D*)", name) for name in names]
    found = [match for match in split if match]
    if len(found) < len(split) or len({(match[1], match[3]) for match in found}) > 1:
        return False
    numbers = {int(match[2]) for match in found}
    return max(numbers) - min(numbers) < _DENSE * len(numbers)


def _mask_problems(source: Path, images: Iterable[str]) -> list[str]:
    """Pictures that are masks of others, by their names."""
    paths = sorted({os.path.splitext(image)[0]: image for image in images}.items())
    stems = dict(paths)
    found = [
        (stems[match["image"]], image)
        for stem, image in paths
        if (match := _MASK.fullmatch(stem)) and match["image"] in stems
    ]
    if not found:
        return []
    image, mask = (os.path.relpath(path, source) for path in found[0])
    return [
        f"{len(found)} pictures seem to be masks of others, such as {mask!r} of {image!r}; if they are, give "
        f"patterns, as in --images '{_as_pattern(image, image)}' --labels '{_as_pattern(mask, image)}'; else rename "
        "them"
    ]


def _as_pattern(path: str, image: str) -> str:
    case = Path(image).stem
    folders = "{group}/" * path.count(os.sep)
    return folders + Path(path).name.replace(case, "{case}", 1)


def _name_doubts(names: Sequence[str]) -> list[str]:
    doubts = []
    archive = [name for name in names if any(map(_OF_ARCHIVES.fullmatch, _words(name)))]
    if archive:
        doubts.append(f"folder {archive[0]!r} has the name of a part of an archive, which is not a class")
    if len(set(names)) > 1 and len({re.sub(r"\d+", "#", name) for name in names}) == 1:
        doubts.append(
            f"the names of the folders differ only by numbers, such as {names[0]!r} and {names[1]!r}: they may be "
            "patients, cases or parts"
        )
    return doubts


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _count_doubts(pictures: Mapping[str, Sequence[Path]]) -> list[str]:
    single = [name for name, files in pictures.items() if len(files) == 1]
    doubts = []
    if 2 * len(single) > len(pictures):
        doubts.append(f"{len(single)} of {len(pictures)} folders hold a single picture, such as {single[0]!r}")
    if len(pictures) > _MANY_CLASSES:
        doubts.append(f"there are {len(pictures)} folders, such as {min(pictures)!r}: they may be patients or cases")
    return doubts


def _content_doubts(pictures: Mapping[str, Sequence[Path]]) -> list[str]:
    """Folders whose pictures look like masks: their names may well be those of the images."""
    return [
        f"the pictures in {name!r} have so few colors that they seem to be masks"
        for name, files in pictures.items()
        if files and all(map(_looks_like_mask, files[:_LOOKED_AT]))
    ]


def _looks_like_mask(file: Path) -> bool:
    """Whether a picture has few colors, or is black and white but for the noise of JPEG."""
    try:
        with opened(str(file)) as picture:
            few = picture.convert("RGB").getcolors(_FEW_COLORS) is not None
            counts = picture.convert("L").histogram()
    except (InputError, OSError, SyntaxError, ValueError):  # is told when the pictures are checked
        return False
    return few or sum(counts[_JPEG_REACH : 256 - _JPEG_REACH]) < _GRAY * sum(counts)


def _table_doubts(listing: Listing, names: set[str]) -> list[str]:
    doubts = []
    for path, file in listing.files.items():
        name, suffix = file.name.lower(), file.suffix.lower()
        if name in ("dataset.json", "splits_final.json"):
            doubts.append(f"{path!r} describes the folder as a data set with labels")
        elif suffix in _WORKBOOKS:
            doubts.append(f"{path!r} may say what the pictures show and whose they are, and is not read")
        elif suffix in _TABLES and name != "metadata.csv" and (known := names & _cells(file)):
            doubts.append(f"{path!r} describes pictures, such as {min(known)!r}, and is not read")
    return doubts


def _cells(file: Path) -> set[str]:
    """The cells of a table with several columns, without suffixes of pictures; empty if it is not one."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read(_READ)
    if not re.search(r"[,;\t]", text.partition("\n")[0]):
        return set()
    cells = {cell.strip(" \"'") for cell in re.split(r"[,;\t\r\n]", text)}
    return {stem_of(cell) for cell in cells}


def _beside_doubts(listing: Listing, pictures: Sequence[Path]) -> list[str]:
    """What lies beside or below the pictures and belongs to them."""
    doubts = []
    stems = {file.with_suffix("") for file in pictures}
    described = [
        path for path, file in listing.files.items() if file.suffix in _BESIDE and file.with_suffix("") in stems
    ]
    if described:
        doubts.append(f"{len(described)} files have the name of a picture, such as {described[0]!r}, and are not read")
    read = set(pictures)
    others = [path for path, file in listing.files.items() if suffix_of(path) and file not in read]
    if others:
        doubts.append(f"{len(others)} images are not in a class folder, such as {others[0]!r}")
    return doubts
