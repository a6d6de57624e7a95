"""Labels that DICOM objects draw on a series (SEG, RTSTRUCT), as label volumes beside the split."""

from __future__ import annotations

import gzip
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from mu_monai.data.label_map import BACKGROUND
from mu_monai.data.manifest import nearest_names
from mu_monai.data.volumes.contours import roi_mask, roi_names, roi_series
from mu_monai.data.volumes.dicom import Header, read_file, text
from mu_monai.data.volumes.grid import Grid, grid_of
from mu_monai.data.volumes.research_formats import as_nifti
from mu_monai.data.volumes.segments import segment_mask, segment_names, segment_series
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import atomic_path

_log = logging.getLogger(__name__)

_OR = "|"  # between names of one structure
_SHOWN = 10


@dataclass(frozen=True)
class Kind:
    """How the structures of a kind of object are read.

    Args:
        marker: an element that only this kind has.
        names: the structures by number.
        series: the SeriesInstanceUIDs that it refers to.
        mask: the voxels of a structure.
        title: the elements that name the object, the first that is there.
    """

    marker: str
    names: Callable[[Header], dict[int, str]]
    series: Callable[[Header], set[str]]
    mask: Callable[[Header, int, Grid], NDArray[np.bool_]]
    title: tuple[str, ...]


_KINDS = (
    Kind("SegmentSequence", segment_names, segment_series, segment_mask, ("SeriesDescription", "ContentLabel")),
    Kind("StructureSetROISequence", roi_names, roi_series, roi_mask, ("StructureSetLabel", "SeriesDescription")),
)


@dataclass(frozen=True)
class Drawing:
    """A DICOM object with structures.

    Args:
        path: its file.
        kind: how it is read.
        name: what it calls itself.
        series: the SeriesInstanceUIDs that it refers to.
    """

    path: Path
    kind: Kind
    name: str
    series: frozenset[str]

    @cached_property
    def structures(self) -> dict[int, str]:
        """The names of its structures by number.

        Raises:
            InputError: with the file, if there are none, or one has no number or name.
        """
        with _naming(self.path):
            names = self.kind.names(read_file(self.path, pixels=False))
            raise_if_any([] if names else ["has no structure; replace it, or take it out"])
            return names


def find_drawings(files: Sequence[Path]) -> list[Drawing]:
    """The objects with structures among DICOM files; others, and what cannot be read, which is told, are not."""
    found: list[Drawing] = []
    for file in files:
        try:
            found += _drawings_in(file)
        except InputError as error:
            _log.warning("%s", error)
    return found


def _drawings_in(file: Path) -> Iterator[Drawing]:
    with _naming(file):
        header = read_file(file, pixels=False)
        for kind in _KINDS:
            if kind.marker in header:
                name = next((title for keyword in kind.title if (title := text(header, keyword))), file.name)
                yield Drawing(file, kind, name, frozenset(kind.series(header)))


def drawings_of(
    series: Mapping[Path, str], drawings: Sequence[Drawing], label_set: str | None
) -> tuple[dict[Path, Drawing], list[str]]:
    """The object that draws on each series, and why one cannot be chosen, one sentence for each series.

    Args:
        series: the SeriesInstanceUID of each image.
        drawings: all objects.
        label_set: the name of the objects to take, where a series has several.
    """
    chosen, problems = {}, []
    on: dict[str, list[Drawing]] = {}
    for drawing in drawings:
        for uid in drawing.series:
            on.setdefault(uid, []).append(drawing)
    for image, uid in series.items():
        several = on.get(uid, [])
        named = [drawing for drawing in several if label_set in (None, drawing.name)]
        if len(named) == 1:
            chosen[image] = named[0]
        elif several:
            shown = ", ".join(f"{str(drawing.path)!r} ({drawing.name})" for drawing in several[:_SHOWN])
            problems.append(
                f"series {str(image)!r} has {len(several)} objects with structures, {shown}, of which "
                f"{len(named)} are taken; choose one of each series by its name, with --label-set, or take the others "
                "out"
            )
    return chosen, problems


def structure_classes(drawings: Sequence[Drawing], wanted: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes: the background, and the wanted structures in their order, or else all of them.

    Raises:
        InputError: for a structure that no object has, and for a number that means several structures.
    """
    every = Counter(name for drawing in drawings for name in set(drawing.structures.values()))
    if not wanted:
        return (BACKGROUND, *sorted(every))
    names, problems = [BACKGROUND], []
    for alternatives in wanted:
        for name in reversed(alternatives.split(_OR)):
            meant = sorted({own for drawing in drawings for own in _meant(drawing, name).values()})
            if not meant:
                problems.append(f"--structure {name!r} is in none of the objects; {nearest_names(name, sorted(every))}")
            if len(meant) > 1:
                problems.append(
                    f"--structure {name} is {' or '.join(map(repr, meant))}, which are different structures; give "
                    "their names"
                )
        names += meant[:1]
    raise_if_any(problems)
    return tuple(names)


def class_numbers(drawing: Drawing, wanted: Sequence[str], classes: Sequence[str]) -> dict[int, int]:
    """The class of each structure of an object that has one, by the number of the structure.

    Args:
        drawing: the object.
        wanted: the structures, as for `structure_classes`.
        classes: what that returned.
    """
    if not wanted:
        return {number: classes.index(name) for number, name in drawing.structures.items()}
    return {
        number: index
        for index, alternatives in enumerate(wanted, start=1)
        for name in alternatives.split(_OR)
        for number in _meant(drawing, name)
    }


def draw(drawing: Drawing, image: Path, numbers: Mapping[int, int], classes: Sequence[str]) -> nibabel.Nifti1Image:
    """The label volume of an image.

    Args:
        drawing: what to draw.
        image: a series or a file of several frames.
        numbers: the class of each structure to draw.
        classes: the names of the classes.

    Raises:
        InputError: with the object, for structures that overlap or are not on the voxels of the image.
    """
    with _naming(drawing.path):
        grid, header = grid_of(image), read_file(drawing.path)
        label = np.zeros(grid.shape, dtype=np.uint8 if len(classes) <= 256 else np.uint16)
        for number, index in numbers.items():
            mask = drawing.kind.mask(header, number, grid)
            over = mask & (label != 0) & (label != index)
            if over.any():
                raise InputError(
                    f"has the structures {classes[int(label[over][0])]!r} and {drawing.structures[number]!r} in the "
                    f"same voxels ({int(over.sum())} of them), but a voxel has one class; choose structures that do "
                    "not overlap, with --structure"
                )
            label[mask] = index
    return as_nifti(label, grid.affine)


def write_drawn(label: nibabel.Nifti1Image, folder: Path, case: str) -> Path:
    """Write a label volume.

    Args:
        label: the volume.
        folder: where label volumes are.
        case: the case id.

    Returns:
        the file; its name holds a digest of the content, so that no file of another split is ever changed.
    """
    content = label.to_bytes()
    file = folder / f"{case}-{hashlib.sha256(content).hexdigest()[:8]}.nii.gz"
    if not file.exists():
        with atomic_path(file) as path:
            path.write_bytes(gzip.compress(content, mtime=0))
    return file


@contextmanager
def undone_on_error(folder: Path) -> Iterator[None]:
    """Remove what is new in a folder if something fails."""
    before = set(folder.iterdir()) if folder.is_dir() else None
    try:
        yield
    except BaseException:
        for file in set(folder.iterdir()) - (before or set()) if folder.is_dir() else ():
            file.unlink()
        if before is None and folder.is_dir():
            folder.rmdir()
        raise


def _meant(drawing: Drawing, name: str) -> dict[int, str]:
    """The structures of an object that a name means: those called so, or else the one with this number."""
    called = {number: own for number, own in drawing.structures.items() if own == name}
    return called or {number: own for number, own in drawing.structures.items() if str(number) == name}


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the object in errors."""
    try:
        yield
    except InputError as error:
        raise InputError([f"object {str(path)!r} {problem}" for problem in error.problems]) from None
    except Exception as error:  # pydicom raises all kinds of errors for damaged bytes
        raise InputError(
            f"object {str(path)!r} cannot be read ({type(error).__name__}: {error}); replace it, or convert the label "
            "to NIfTI"
        ) from None
