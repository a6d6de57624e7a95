"""Volumes in files: NIfTI, MetaImage, NRRD, or a folder with a DICOM series; each is read once and checked."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import nibabel
import numpy as np
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from mu_monai.data.label_map import mapped
from mu_monai.data.volumes.dicom import series_problems, size_problems
from mu_monai.data.volumes.geometry import (
    affine_problem,
    extent,
    grid_problem,
    spacing_in_words,
    spacing_problem,
    voxel_spacing,
)
from mu_monai.data.volumes.limits import promise_problem, size_problem
from mu_monai.data.volumes.multi_frame import MultiFrame
from mu_monai.data.volumes.research_formats import MetaImage, Nrrd
from mu_monai.data.volumes.values import label_values
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import special_problem

_log = logging.getLogger(__name__)

_NIFTI = (".nii", ".nii.gz")
VOLUME_SUFFIXES = (*_NIFTI, *MetaImage.valid_exts, *Nrrd.valid_exts, *MultiFrame.valid_exts)
_WITH_CHANNELS, _MOST_CHANNELS = 4, 16  # dimensions; more are time points
_AT_ONCE = 2  # volumes in memory; reading one of 512x512x200 voxels takes up to 600 MB
_ANISOTROPIC = 5  # largest over smallest spacing
_REST = 64 << 20  # bytes that may follow the voxels
_FAR = 100  # times the median of all volumes
_SAMPLE = 1_000_000  # number of voxels for a percentile
_ONE_SERIES = Lock()  # MONAI's reader makes pydicom strict while it reads, which affects all threads
_PLACED = ("00200032", "00200037")  # tags of position and direction; without them the affine is not the scanner's

_REMARKS = {
    "orientation": "%d of %d volumes do not give their orientation (sform_code and qform_code are 0), such as %s; "
    "nibabel's default orientation is assumed: look at one of them to check it",
    "anisotropic": "%d of %d volumes have strongly anisotropic voxels, such as %s; the bundle resamples them to its "
    "'spacing': set a spacing close to theirs",
    "empty": "%d of %d labels have no structure, such as %s; no patch of these volumes can contain one, and their Dice "
    "is 1 if nothing is predicted, otherwise 0",
    "far": "%d of %d volumes have intensities far beyond the others, such as %s; percentile normalization (--overlay "
    "mr) is not affected, but a CT with such values is not in Hounsfield units",
}


@dataclass
class Findings:
    """The results of the checks of one image and its label.

    Args:
        problems: one sentence for each reason why it is unusable.
        remarks: by key of `_REMARKS`, properties that stand out but do not make it unusable.
        level: the 99.5th percentile of the image; NaN if it was not read.
        values: the values of the label; empty if it was not read or has a problem.
    """

    problems: list[str] = field(default_factory=list)
    remarks: dict[str, str] = field(default_factory=dict)
    level: float = float("nan")
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Volume:
    """Values of a volume, its affine `(4, 4)` from voxels to mm (RAS), and whether its header gives its orientation."""

    values: NDArray[Any]
    affine: NDArray[np.float64]
    oriented: bool = True


def is_volume(path: str) -> bool:
    """Whether a path is a NIfTI file (by its suffix) or a folder (a DICOM series)."""
    return path.lower().endswith(VOLUME_SUFFIXES) or os.path.isdir(path)


def check_volumes(
    images: Sequence[Sequence[str]],
    labels: Sequence[str],
    names: Sequence[str],
    label_map: Mapping[int, int] | None = None,
    *,
    channels: bool = False,
) -> tuple[list[list[str]], list[list[float]]]:
    """Check volumes and their labels, each read once; remarks on usable ones are logged, once per kind.

    Args:
        images: the files of each image, which are NIfTI files or folders of DICOM series.
        labels: a NIfTI file for each image, or empty text if the label is not a file.
        names: the name of each in the log.
        label_map: the class of each value of the labels; None if they are classes already.
        channels: whether an image may have channels as its fourth dimension, because the transforms that read it are
            those of a bundle that was trained so.

    Returns:
        the problems of each volume, and the values of each label.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        findings = list(pool.map(lambda image, label: _check(image, label, label_map, channels), images, labels))
    _mark_far(findings)
    for kind, sentence in _REMARKS.items():
        marked = [
            f"{name}: {each.remarks[kind]}" for name, each in zip(names, findings, strict=True) if kind in each.remarks
        ]
        if marked:
            _log.warning(sentence, len(marked), len(findings), marked[0])
    return [each.problems for each in findings], [each.values for each in findings]


def _check(images: Sequence[str], label: str, label_map: Mapping[int, int] | None, channels: bool) -> Findings:
    findings = Findings()
    grids: dict[str, Volume] = {}
    for image in images:
        volume = _load("image", image, findings, channels=channels)
        if volume is not None:
            _check_image(image, volume, findings)
            grids[image] = replace(volume, values=np.broadcast_to(np.int8(0), volume.values.shape[:3]))  # no memory
    mask = _load("label", label, findings) if label else None
    if mask is not None:
        _check_label(label, mask.values, label_map, findings)
    findings.problems += _grid_problems(grids, label, mask)
    return findings


def _grid_problems(grids: Mapping[str, Volume], label: str, mask: Volume | None) -> Iterator[str]:
    """Where the files of one image are not voxel on voxel, or the label does not cover the first of them."""
    if not grids:
        return
    first, grid = next(iter(grids.items()))
    for image, other in grids.items():
        if other.values.shape != grid.values.shape or not np.allclose(other.affine, grid.affine):
            yield f"image {image!r} has other voxels than {first!r} of the same case; resample one to the other"
    if mask is not None:
        problem = grid_problem(mask.values.shape, mask.affine, grid.values.shape, grid.affine)
        if problem:
            yield f"label {label!r} {problem}"


def _load(kind: str, path: str, findings: Findings, *, channels: bool = False) -> Volume | None:
    """A volume; None if the file is not one, and then its problems are added to the findings."""
    try:
        volume = read_volume(path, channels=channels)
    except InputError as error:
        findings.problems += [f"{kind} {path!r} {problem}" for problem in error.problems]
        return None
    if not volume.oriented:
        findings.remarks["orientation"] = f"{kind} {path!r}"
    return volume


def read_volume(path: str, *, channels: bool = False) -> Volume:
    """Read a NIfTI file or a folder with a DICOM series, as an array of three dimensions.

    Args:
        path: the file or folder.
        channels: keep a fourth dimension, of channels.

    Raises:
        InputError: without the path, for what is not one readable volume of three dimensions.
    """
    special = special_problem(path)
    raise_if_any([special.removeprefix(f"'{path}' ")] if special else [])
    if not os.path.exists(path):
        raise InputError("does not exist; paths are absolute or relative to the manifest")
    if not is_volume(path):
        raise InputError("is not a volume (NIfTI, or a folder with a DICOM series), although its counterpart is")
    series, advice = os.path.isdir(path), "it may be truncated: replace it"
    if series:
        advice = "replace truncated slices, correct the headers, or convert the series to NIfTI"
    try:
        volume = _read_series(path) if series else _read_nifti(path)
    except InputError:
        raise
    except Exception as error:  # the readers raise all kinds of errors for damaged bytes
        raise InputError(f"cannot be read ({type(error).__name__}: {error}); {advice}") from None
    shape = volume.values.shape
    flat = volume.values[..., 0] if len(shape) == _WITH_CHANNELS and shape[3] == 1 else volume.values
    several = channels and flat.ndim == _WITH_CHANNELS and flat.shape[-1] <= _MOST_CHANNELS
    problem = _array_problem(flat[..., 0] if several else flat) or affine_problem(volume.affine)
    raise_if_any([problem] if problem else [])
    return replace(volume, values=flat)


def _read_series(folder: str) -> Volume:
    from monai.data import PydicomReader  # imports torch, which takes seconds and only series need

    reader = PydicomReader()
    with _ONE_SERIES:
        raise_if_any(f"(DICOM series) {problem}" for problem in series_problems(folder))
        values, meta = reader.get_data(reader.read(folder))
    if any(tag not in meta for tag in _PLACED):
        raise InputError(
            "(DICOM series) has an ImageOrientationPatient or ImagePositionPatient against the standard, such as a "
            "number with more than 16 characters, which would be ignored; correct the headers, or convert the series "
            "to NIfTI"
        )
    return Volume(values, np.asarray(meta["affine"]))


def _read_nifti(path: str) -> Volume:
    image = nibabel.load(path)
    raise_if_any(_header_problems(path, image))
    placed = bool(image.header["sform_code"])  # by an affine; otherwise by its spacing
    if not placed:
        with ImageOpener(path) as stream:  # the raw header: nibabel replaces impossible spacings
            spacing = type(image.header).from_fileobj(stream, check=False)["pixdim"][1:4]
        raise_if_any([] if np.all(spacing > 0) else [spacing_problem(spacing)])
    values = _to_the_end(path, image) if path.lower().endswith(".gz") else np.asanyarray(image.dataobj)
    oriented = placed or bool(image.header["qform_code"])
    return Volume(values.astype(np.float32) if values.dtype == np.float64 else values, image.affine, oriented)


def _header_problems(path: str, image: Any) -> list[str]:
    unit = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else "unknown"
    if unit not in ("mm", "unknown"):
        return [
            f"gives its sizes and its place in {unit}s, and what reads it takes them for mm; convert it to mm, or "
            "correct xyzt_units if it is in mm"
        ]
    size = image.shape, image.get_data_dtype().itemsize
    held = promise_problem(path, *size) if path.lower().endswith(_NIFTI) else None  # of others, voxels are in memory
    return [problem for problem in (size_problem(*size) or held,) if problem]


def promised_too_much(path: str) -> list[str]:
    """Why the voxels of a file or series must not be read, by its header; empty also for what has no readable one."""
    if os.path.isdir(path):
        return size_problems(path)
    if not path.lower().endswith(VOLUME_SUFFIXES) or special_problem(path) or not os.path.isfile(path):
        return []
    try:
        return _header_problems(path, nibabel.load(path))
    except InputError as error:
        return error.problems
    except Exception:  # whoever reads it says what is wrong with it
        return []


def _to_the_end(path: str, image: Any) -> NDArray[Any]:
    """The voxels of a compressed file, read up to the checksum at its end, which nibabel never reaches."""
    with gzip.open(path) as stream:
        values: NDArray[Any] = np.asanyarray(type(image).from_stream(stream).dataobj)
        rest = 0
        while part := stream.read(1 << 20):
            rest += len(part)
            raise_if_any(["goes on for more than 64 MiB after its voxels; replace it"] if rest > _REST else [])
    return values


def _array_problem(values: NDArray[Any]) -> str | None:
    shape = values.shape
    if not (len(shape) == _WITH_CHANNELS - 1 and min(shape) > 0):
        return (
            f"has the shape {extent(shape)}, which is not three-dimensional; save one file per time point, or only the "
            "channel to use"
        )
    if values.dtype.kind not in "iuf":
        return f"has voxels of type {values.dtype}; save it with one integer or decimal number per voxel"
    return None


def _check_image(path: str, volume: Volume, findings: Findings) -> None:
    values = volume.values
    if not np.isfinite([values.min(), values.max()]).all():
        findings.problems.append(
            f"image {path!r} has voxels that are NaN or infinite; replace them, for example by air"
        )
        return
    spacing = voxel_spacing(volume.affine)
    if spacing.max() > _ANISOTROPIC * spacing.min():
        findings.remarks["anisotropic"] = spacing_in_words(spacing)
    findings.level = float(np.percentile(values.ravel()[:: max(1, values.size // _SAMPLE)], 99.5))


def _check_label(path: str, values: NDArray[Any], label_map: Mapping[int, int] | None, findings: Findings) -> None:
    if label_map is not None:
        try:
            values = mapped(np.reshape(label_values(values), (-1, 1, 1)), label_map)
        except InputError as error:
            findings.problems += [f"label {path!r} {problem}" for problem in error.problems]
            return
    whole = np.issubdtype(values.dtype, np.integer) or bool((values == np.round(values)).all())
    if not (whole and values.min() >= 0 and np.isfinite(values.max())):
        different = np.unique(values)
        shown = ", ".join(f"{value:g}" for value in different[:8].tolist()) + (", ..." if len(different) > 8 else "")
        findings.problems.append(
            f"label {path!r} has the values {shown}; they must be whole numbers from 0 (background), one for each class"
        )
    elif values.max() == 0:
        findings.remarks["empty"] = repr(path)
    if not findings.problems:
        findings.values = label_values(values)


def _mark_far(findings: Sequence[Findings]) -> None:
    """Add a remark to volumes whose intensities are far beyond those of the others."""
    levels = np.array([each.level for each in findings])
    if np.isnan(levels).all():
        return
    usual = float(np.nanmedian(levels))
    for each in findings:
        if each.level > _FAR * usual > 0:
            each.remarks["far"] = f"99.5th percentile {each.level:.6g}, the median of all is {usual:.6g}"
