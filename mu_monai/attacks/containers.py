"""The content of a file, read without executing any of it: tensors, their names, and the bytes of every part."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import safetensors.torch
import torch

from mu_monai.files import ARCHIVE_ERRORS

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_DEEPEST = 4  # nesting of archives within archives; deeper content is not searched
_ROOM = 1 << 29  # bytes by which the unpacked content of a file may exceed its size
_OF_JSON = 16  # bytes that parsed numbers take in Python per byte of text


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file, or one member of an archive.

    Args:
        name: the path of the file; members of archives follow a slash.
        data: its bytes, unpacked.
        tensors: everything in it that could be read as tensors, by name.
        keys: every key of the dictionaries in a torch file.
        problem: why it could not be read; empty if it could.
    """

    name: str
    data: bytes
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()
    problem: str = ""


@dataclass
class Room:
    """The number of bytes that may still be unpacked from one file, including all archives within it."""

    left: int

    def take(self, size: int) -> None:
        """Reserve `size` bytes, or raise a `ValueError` if they do not fit."""
        if size > self.left:
            raise ValueError(_TOO_LARGE)
        self.left -= size


_TOO_LARGE = "not searched: the file unpacks to more than 512 MiB beyond its own size"


def read_parts(name: str, data: bytes, depth: int = 0, room: Room | None = None) -> Iterator[Part]:
    """Read the parts of a file, archives member by member; its type is recognized by its bytes, not by its name.

    Nothing is unpickled and no code is run: torch files are read with `weights_only=True`, arrays with
    `allow_pickle=False`. Only the raw storages of TorchScript archives are read, as numbers of every floating type.

    Args:
        name: the name of the file in the result.
        data: its bytes.
        depth: the number of archives that it is nested in.
        room: the bytes that may still be unpacked; content that does not fit becomes a part with that problem.

    Example:
        >>> buffer = io.BytesIO()
        >>> np.savez(buffer, a=np.ones(3))
        >>> [(part.name, *part.tensors) for part in read_parts("x.bin", buffer.getvalue())]
        [('x.bin/a.npy', 'a.npy')]
    """
    try:
        if depth > _DEEPEST:
            raise ValueError(f"lies in more than {_DEEPEST} archives")
        reader = next(read for is_such, read in _FORMATS if is_such(data))
        yield from reader(name, data, depth, room or Room(len(data) + _ROOM))
    except _UNREADABLE as error:
        why = str(error).partition("\n")[0][:120]
        yield Part(name=name, data=data, problem=f"{type(error).__name__}: {why}")


_UNREADABLE = (*ARCHIVE_ERRORS, tarfile.TarError, safetensors.SafetensorError)


def _gzip_parts(name: str, data: bytes, depth: int, room: Room) -> Iterator[Part]:
    with gzip.open(io.BytesIO(data)) as stream:
        unpacked = stream.read(room.left + 1)
    room.take(len(unpacked))
    yield from read_parts(name.removesuffix(".gz"), unpacked, depth + 1, room)


def _tar_parts(name: str, data: bytes, depth: int, room: Room) -> Iterator[Part]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            stream = archive.extractfile(member)
            if stream is not None:
                yield from _member(f"{name}/{member.name}", member.size, stream.read, depth, room)


def _member(name: str, size: int, read: Callable[[], bytes], depth: int, room: Room) -> Iterator[Part]:
    """A member of an archive; one that does not fit is reported, and the others are still searched."""
    try:
        room.take(size)
    except ValueError as error:
        yield Part(name=name, data=b"", problem=str(error))
        return
    yield from read_parts(name, read(), depth + 1, room)


def _array_parts(name: str, data: bytes, _: int, __: Room) -> Iterator[Part]:
    array = np.load(io.BytesIO(data), allow_pickle=False)
    yield Part(name=name, data=data, tensors=dict(_tensors(array, name.rpartition("/")[2])))


def _safetensors_parts(name: str, data: bytes, _: int, __: Room) -> Iterator[Part]:
    yield Part(name=name, data=data, tensors=safetensors.torch.load(data))


def _pickle_parts(name: str, data: bytes, _: int, __: Room) -> Iterator[Part]:
    yield _torch_part(name, data)


def _picture_parts(name: str, data: bytes, _: int, __: Room) -> Iterator[Part]:
    yield Part(name=name, data=data)


def _zip_parts(name: str, data: bytes, depth: int, room: Room) -> Iterator[Part]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if not any(member.endswith("data.pkl") for member in archive.namelist()):
            for entry in archive.infolist():
                if not entry.is_dir():
                    read = partial(archive.read, entry)
                    yield from _member(f"{name}/{entry.filename}", entry.file_size, read, depth, room)
            return
        room.take(sum(member.file_size for member in archive.infolist()))
        script = any("/code/" in f"/{member}" for member in archive.namelist())
        plain = None if script else _torch_part(name, data)
        if plain is not None and not plain.problem:
            yield plain
            return
        storages: dict[str, torch.Tensor] = {}
        for member in archive.namelist():
            storages |= _storage(member, archive.read(member))
        yield Part(name=name, data=data, tensors=storages, problem=plain.problem if plain else "")


def _torch_part(name: str, data: bytes) -> Part:
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols that torch itself does not write
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise almost anything in torch
        return Part(
            name=name, data=data, problem=f"it cannot be read without executing its content ({type(error).__name__})"
        )
    return Part(name=name, data=data, tensors=dict(_tensors(content)), keys=frozenset(_keys(content)))


def _storage(member: str, data: bytes) -> dict[str, torch.Tensor]:
    """The numbers of a raw storage, read as every floating type that its size allows."""
    if not member.rpartition("/")[2].isdigit() or not data:
        return {}
    numbers = bytearray(data)
    return {
        f"{member} as {dtype}": torch.frombuffer(numbers, dtype=dtype)
        for dtype in FLOATS
        if len(data) % dtype.itemsize == 0
    }


def _text_parts(name: str, data: bytes, _: int, room: Room) -> Iterator[Part]:
    """Text; numbers in JSON are read as tensors."""
    if b"\x00" in data:
        raise ValueError("it is neither text nor a known format")
    text = data.decode("utf-8")
    if (
        text.lstrip().startswith(("{", "[")) and _OF_JSON * len(text) > room.left
    ):  # not taken: the memory is freed again
        raise ValueError(_TOO_LARGE)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        yield Part(name=name, data=data)
        return
    yield Part(name=name, data=data, tensors=dict(_tensors(content)))


def _tensors(content: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of nested dictionaries and lists, named by its keys and indices."""
    if isinstance(content, torch.Tensor):
        yield prefix, _plain(content.detach())
    elif isinstance(content, np.ndarray):
        if content.dtype.kind in "fiu":
            fits = content.dtype.itemsize <= 8  # torch has no wider numbers
            native = content.astype(content.dtype.newbyteorder("=") if fits else np.float64)
            yield prefix, torch.from_numpy(native)
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(content, Sequence) and not isinstance(content, str | bytes):
        yield from _listed(content, prefix)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers of any tensor, dense and real."""
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _listed(content: Sequence[Any], prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    try:
        array = np.array(content, dtype=np.float64)
    except (TypeError, ValueError):
        for place, value in enumerate(content):
            yield from _tensors(value, f"{prefix}.{place}" if prefix else str(place))
        return
    if array.size:
        yield prefix, torch.from_numpy(array)


def _keys(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield str(key)
            yield from _keys(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _keys(value)


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[str, bytes, int, Room], Iterator[Part]]], ...] = (
    (lambda data: data.startswith(b"PK"), _zip_parts),
    (lambda data: data.startswith(b"\x1f\x8b"), _gzip_parts),
    (lambda data: data[257:262] == b"ustar", _tar_parts),
    (lambda data: data.startswith(b"\x93NUMPY"), _array_parts),
    (lambda data: data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data), _safetensors_parts),
    (lambda data: data.startswith(b"\x80"), _pickle_parts),
    (lambda data: data.startswith(_PICTURES), _picture_parts),
    (lambda data: True, _text_parts),
)
