"""A few cases of a split as they are read: paths, patient, shape, values, and pixels for a thumbnail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from mu_monai.data.case_files import image_files
from mu_monai.data.label_map import mapped
from mu_monai.data.manifest import is_file_label
from mu_monai.data.pictures.decoding import look_at_image, read_image, read_mask
from mu_monai.data.reading import Reading
from mu_monai.data.split_provenance import Provenance
from mu_monai.data.volumes.files import is_volume, read_volume
from mu_monai.data.volumes.geometry import extent, spacing_in_words, voxel_spacing
from mu_monai.data.volumes.values import label_values
from mu_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID, SUBSET
from mu_monai.planes import NORMALS, cut

CASES = 5
_PLANE = "axial"
_DIMENSIONS = 3
_SHOWN = 12  # label values
_MOST = 255  # classes with numbers of their own in a thumbnail


@dataclass(frozen=True, kw_only=True)
class ExplainedCase:
    """One case as it was understood.

    Args:
        title: id, patient, group and subset.
        label: the label as the split has it: a class name, or a path.
        lines: what was understood of the image and of its label.
        picture: the image, `(H, W, 3)` bytes.
        outlined: the number of a label value at each pixel, `(H, W)`, 0 for the background; None if the label is text.
    """

    title: str
    label: str
    lines: tuple[str, ...]
    picture: NDArray[np.uint8]
    outlined: NDArray[np.uint8] | None


def explained_cases(content: Mapping[str, Any], provenance: Provenance, subsets: Sequence[str]) -> list[ExplainedCase]:
    """Read a few cases of a split: of masks at equal distances in the list, of class names one per class first.

    Args:
        content: a split as `make_split` returns it, with absolute paths.
        provenance: its provenance.
        subsets: the names of its lists.
    """
    table = pd.DataFrame([{**case, SUBSET: name} for name in subsets for case in content[name]]).sort_values(CASE_ID)
    return [_explained(row, provenance) for row in _chosen(table).to_dict("records")]


def _chosen(table: pd.DataFrame) -> pd.DataFrame:
    if is_file_label(table[LABEL]).any():
        return table.iloc[np.unique(np.linspace(0, len(table) - 1, CASES).round().astype(int))]
    turns = table.groupby(LABEL).cumcount()
    return table.iloc[np.argsort(turns.to_numpy(), kind="stable")[:CASES]]


def _explained(case: Mapping[Any, Any], provenance: Provenance) -> ExplainedCase:
    by = provenance.group_by
    group = f", {by} {case[by]!r}" if by not in (PATIENT_ID, CASE_ID) else ""
    title = f"case {case[CASE_ID]!r}: patient {case[PATIENT_ID]!r}{group}, {case[SUBSET]}"
    files = image_files(case[IMAGE])  # of several, the first is shown
    read = _volume if is_volume(files[0]) else _picture
    image, label, picture, outlined = read(files[0], case[LABEL], provenance)
    words = (*(f"image {file}" for file in files), f"  {image}", f"label {case[LABEL]}", f"  {label}")
    return ExplainedCase(title=title, label=case[LABEL], lines=words, picture=picture, outlined=outlined)


_Read = tuple[str, str, NDArray[np.uint8], NDArray[np.uint8] | None]


def _picture(path: str, label: str, provenance: Provenance) -> _Read:
    look = look_at_image(path)
    colors = np.round(read_image(path, provenance.reading.picture_range)).astype(np.uint8)
    low, high = look.extremes or (float(colors.min()), float(colors.max()))
    traits = "".join(f", {trait}" for trait in look.traits)
    words = f"{look.size[1]}x{look.size[0]} pixels, {look.mode}, values {low:g} to {high:g}{traits}"
    if not is_file_label(pd.Series([label])).all():
        return words, "is the name of a class", colors, None
    outlined, told = _values(read_mask(label), provenance)
    return words, told, colors, outlined


def _volume(path: str, label: str, provenance: Provenance) -> _Read:
    image = read_volume(path, channels=True)
    values, affine = _to_ras(image.values if image.values.ndim == _DIMENSIONS else image.values[..., 0], image.affine)
    shape, spacing = extent(image.values.shape), spacing_in_words(voxel_spacing(image.affine))
    words = f"{shape} voxels of {spacing}, {image.values.dtype}, values {values.min():g} to {values.max():g}"
    outlined, told, position = None, "is the name of a class", values.shape[NORMALS[_PLANE]] // 2
    if is_file_label(pd.Series([label])).all():
        numbers, told = _values(_to_ras(*_arrays(label))[0], provenance)
        slices = np.flatnonzero(numbers.any(axis=(0, 1)))
        position = int(slices[len(slices) // 2]) if len(slices) else position
        outlined = cut(numbers, _PLANE, position, voxel_spacing(affine).tolist())
    low, high = np.percentile(values[:, :, position], (1, 99))
    gray = np.clip((values - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    shown = cut(gray, _PLANE, position, voxel_spacing(affine).tolist(), smooth=True)
    words += f"; {_PLANE} slice {position + 1} of {values.shape[NORMALS[_PLANE]]} is shown"
    return words, told, np.repeat(shown[..., None], 3, axis=-1), outlined


def _arrays(path: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    volume = read_volume(path)
    return volume.values, volume.affine


def _to_ras(values: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A volume with axes to the right, anterior and superior."""
    orientation = io_orientation(affine)
    volume = values.reshape(values.shape[:3])
    return apply_orientation(volume, orientation), affine @ inv_ornt_aff(orientation, volume.shape)


def _values(stored: NDArray[Any], provenance: Provenance) -> tuple[NDArray[np.uint8], str]:
    """The number of the class or value at each point, and which values there are and how much they cover."""
    values = label_values(stored if stored.ndim == 3 else stored[..., None])
    classes = _classes(values, provenance.reading)
    numbers, told = np.zeros(stored.shape, dtype=np.uint8), []
    for value, index in zip(values, classes, strict=True):
        same = stored == value
        numbers[same] = min(index, _MOST)
        told.append(f"{value:g}{_meaning(index, provenance)}: {same.mean():.1%}")
    more = f", ... ({len(told)} values)" if len(told) > _SHOWN else ""
    return numbers, f"values {', '.join(told[:_SHOWN])}{more}"


def _classes(values: Sequence[float], reading: Reading) -> list[int]:
    if reading.label_map is not None:
        return [int(index) for index in mapped(np.array(values), reading.label_map)]
    return [0 if value == 0 else max(1, int(value)) for value in values]


def _meaning(index: int, provenance: Provenance) -> str:
    names = provenance.classes or ()
    name = f" ({names[index]})" if index < len(names) else ""
    return (f" is class {index}" if provenance.reading.label_map is not None else "") + name
