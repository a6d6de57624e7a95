"""MetaImage (`.mha`) and NRRD (`.nrrd`) volumes, read by nibabel once this module is imported.

nibabel asks the classes in a list of its own whether they know a file. With ours in it, everything that reads NIfTI
reads these as well: checks, MONAI's `NibabelReader`, and predictions.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from nibabel import imageclasses
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from mu_monai.data.volumes.limits import size_problem
from mu_monai.errors import InputError, raise_if_any

_LPS = np.diag([-1.0, -1.0, 1.0])  # from ITK's axes, which point left, to the back and up, to those of NIfTI
_LINES = 1000  # of a header; more is not a header
_ZLIB_OR_GZIP = 47  # zlib recognizes which of the two it is
_NRRD_ENCODINGS = {"raw": False, "gzip": True, "gz": True}  # whether the voxels are packed
_MHA_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_NRRD_TYPES = {
    kind: name
    for name, kinds in {
        "i1": "signed char, int8, int8_t",
        "u1": "uchar, unsigned char, uint8, uint8_t",
        "i2": "short, short int, signed short, signed short int, int16, int16_t",
        "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
        "i4": "int, signed int, int32, int32_t",
        "u4": "uint, unsigned int, uint32, uint32_t",
        "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
        "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for kind in kinds.split(", ")
}
_NRRD_SPACES = {
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1), "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
}  # fmt: skip


class MetaImage(Nifti1Image):
    """A `.mha` file as a NIfTI image."""

    files_types = (("image", ".mha"),)
    valid_exts = (".mha",)
    _compressed_suffixes = ()

    @classmethod
    def from_filename(cls, filename: Any, *_: Any, **__: Any) -> Nifti1Image:
        """Read a file.

        Raises:
            InputError: if it is not one volume with its voxels in the same file.
        """
        return _image(filename, _read_mha)

    @classmethod
    def path_maybe_image(cls, filename: Any, sniff: Any = None, sniff_max: int = 1024) -> tuple[bool, Any]:
        """Whether the suffix is that of this format."""
        return str(filename).lower().endswith(cls.valid_exts), sniff


class Nrrd(MetaImage):
    """A `.nrrd` file as a NIfTI image."""

    files_types = (("image", ".nrrd"),)
    valid_exts = (".nrrd",)

    @classmethod
    def from_filename(cls, filename: Any, *_: Any, **__: Any) -> Nifti1Image:
        """Read a file.

        Raises:
            InputError: if it is not one volume with its voxels in the same file.
        """
        return _image(filename, _read_nrrd)


def _image(filename: Any, read: Callable[[BinaryIO], tuple[NDArray[Any], NDArray[np.float64]]]) -> Nifti1Image:
    with Path(filename).open("rb") as stream:
        return as_nifti(*read(stream))


def as_nifti(values: NDArray[Any], affine: NDArray[np.float64]) -> Nifti1Image:
    """A NIfTI image with its place in space.

    Args:
        values: of a volume.
        affine: `(4, 4)`, from voxels to mm in RAS.
    """
    image = Nifti1Image(values, affine, dtype=values.dtype)
    image.set_sform(affine, 1)
    return image


def _read_mha(stream: BinaryIO) -> tuple[NDArray[Any], NDArray[np.float64]]:
    header: dict[str, str] = {}
    while "ElementDataFile" not in header:
        key, _, value = _line(stream, len(header)).partition("=")
        header[key.strip()] = value.strip()
    shape = tuple(map(int, header["DimSize"].split()))
    local = header["ElementDataFile"].upper() == "LOCAL"
    if not local or header.get("ElementNumberOfChannels", "1") != "1" or len(shape) != 3:
        raise InputError("holds no single volume with its voxels in the same file; convert it to NIfTI")
    if header.get("BinaryData", "True").lower() != "true" or header.get("HeaderSize", "0") != "0":
        raise InputError(
            "has voxels that are text, or that begin elsewhere than after its header (BinaryData, HeaderSize), which "
            "is not supported; convert it to NIfTI"
        )
    big = _first(header, ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"), "False").lower() == "true"
    packed = header.get("CompressedData", "False").lower() == "true"
    spacing = _numbers(_first(header, ("ElementSpacing", "ElementSize"), "1 1 1"))
    axes = _numbers(_first(header, ("TransformMatrix", "Rotation", "Orientation"), "1 0 0 0 1 0 0 0 1")).reshape(3, 3)
    origin = _numbers(_first(header, ("Offset", "Position", "Origin"), "0 0 0"))
    values = _voxels(stream.read(), packed, shape, f"{'>' if big else '<'}{_MHA_TYPES[header['ElementType']]}")
    return values, _affine(_LPS, axes * spacing[:, None], origin)


def _read_nrrd(stream: BinaryIO) -> tuple[NDArray[Any], NDArray[np.float64]]:
    header: dict[str, str] = {}
    if not _line(stream, 0).startswith("NRRD"):
        raise InputError("does not start like a NRRD file; it may be damaged: replace it")
    while line := _line(stream, len(header)):
        key, _, value = line.partition(":")
        if not line.startswith("#"):
            header[key.strip().lower()] = value.lstrip("=").strip()
    shape = tuple(map(int, header["sizes"].split()))
    space = _NRRD_SPACES.get(header.get("space", "").lower())
    vectors = re.findall(r"\(([^)]*)\)", header.get("space directions", ""))
    if len(shape) != 3 or len(vectors) != 3 or space is None or "data file" in header or "datafile" in header:
        raise InputError(
            "holds no single volume with its voxels in the same file and a place in space; convert it to NIfTI"
        )
    skips = [key for key in ("byte skip", "byteskip", "line skip", "lineskip") if header.get(key, "0") != "0"]
    if skips:
        raise InputError(
            f"has voxels that begin elsewhere than after its header ({', '.join(skips)}), which is not supported; "
            "convert it to NIfTI"
        )
    units = set(re.findall(r'"([^"]*)"', header.get("space units", "")))
    if units - {"mm"}:
        raise InputError(
            f"gives its place in space in {', '.join(sorted(units))}, not in mm; convert it to NIfTI in mm"
        )
    axes = np.array([_numbers(vector.replace(",", " ")) for vector in vectors])
    origin = _numbers(header.get("space origin", "(0,0,0)").strip("()").replace(",", " "))
    packed = _NRRD_ENCODINGS.get(header["encoding"].lower())
    if packed is None:
        raise InputError(f"has the encoding {header['encoding']!r}; save it with raw or gzip, or convert it to NIfTI")
    big = header.get("endian", "little").lower() == "big"
    values = _voxels(stream.read(), packed, shape, f"{'>' if big else '<'}{_NRRD_TYPES[header['type'].lower()]}")
    return values, _affine(np.diag(space).astype(float), axes, origin)


def _line(stream: BinaryIO, number: int) -> str:
    line = stream.readline(1 << 16)
    if not line or number > _LINES:
        raise InputError("has no complete header; it may be truncated: replace it")
    return line.decode("latin-1").strip()


def _first(header: dict[str, str], names: tuple[str, ...], default: str) -> str:
    return next((header[name] for name in names if name in header), default)


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array(text.split(), dtype=np.float64)


def _voxels(content: bytes, packed: bool, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    raise_if_any(filter(None, [size_problem(shape, np.dtype(kind).itemsize)]))
    size = math.prod(shape) * np.dtype(kind).itemsize
    if packed:
        content = zlib.decompressobj(_ZLIB_OR_GZIP).decompress(content, size)  # no more than the header promises
    if len(content) < size:
        raise InputError(f"has {len(content)} bytes of voxels instead of {size}; it may be truncated: replace it")
    values = np.frombuffer(content[:size], dtype=kind).reshape(shape, order="F")
    return values.astype(values.dtype.newbyteorder("="))


def _affine(space: NDArray[np.float64], axes: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine from voxels to RAS; each row of `axes` is one step along an axis of the array."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = space @ axes.T, space @ origin
    return affine


def register(*kinds: type[Nifti1Image]) -> None:
    """Let nibabel know of kinds of files."""
    imageclasses.all_image_classes.extend(kind for kind in kinds if kind not in imageclasses.all_image_classes)


register(MetaImage, Nrrd)
