"""Why a run ended: the reason behind an error in one sentence, with the case and what to do."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mu_monai.errors import InputError, RunError
from mu_monai.keys import CASE_ID, IMAGE

_LONGEST, _SHOWN = 300, 3  # characters of a message, and cases of a batch
_LESS = (
    "use less of it: a smaller batch_size, image_size or patch_size (such as --set batch_size=1), cache_gib=0 for "
    "volumes, or another --device"
)
KILLED = "it was killed, by a user or because memory ran out; --resume continues from the last finished epoch"


@dataclass(frozen=True)
class _Kind:
    """A kind of error: how its type and message look, what it means, and what to do; whether it is about a case."""

    looks: re.Pattern[str]
    means: str
    advice: str
    of_case: bool = False


def _kind(looks: str, means: str, advice: str, *, of_case: bool = False) -> _Kind:
    return _Kind(re.compile(looks, re.IGNORECASE | re.DOTALL), means, advice, of_case)


_KINDS = (
    _kind(
        r"\bgloo\b.*(closed by peer|connection reset|broken pipe|timed out)|DistBackendError|NCCL error",
        "another process of this run ended without a reason, or does not answer",
        KILLED,
    ),
    _kind(
        r"DataLoader worker .*(killed by signal|exited unexpectedly)|DataLoader timed out|shared memory \(?shm",
        "a process that loads images has died, usually for lack of memory",
        "load in the main process (num_workers 0 in the config's data loaders), or close other programs",
    ),
    _kind(
        r"^PicklingError|Can't (get local object|pickle)",
        "what loads images cannot be given to another process, as this system does it",
        "load in the main process (num_workers 0 in the config's data loaders), or replace the lambda in the config by "
        "a function of a module",
    ),
    _kind(
        r"CUDA (error: )?out of memory|HIP out of memory|^OutOfMemoryError|_ALLOC_FAILED|MPS backend out of memory",
        "the memory of the GPU is full",
        _LESS,
    ),
    _kind(
        r"^_?\w*MemoryError|not enough memory|DefaultCPUAllocator|Unable to allocate|Cannot allocate memory|bad_alloc",
        "the memory is full",
        _LESS,
    ),
    _kind(
        r"Expected more than 1 value per channel",
        "a batch has one image, and a layer of the network one value per channel of it, which BatchNorm cannot use",
        "give a batch_size that leaves no image over (--set batch_size=N), or a larger image_size or patch_size",
    ),
    _kind(
        r"Expected more than 1 spatial element",
        "a layer of the network has one value per channel of an image, which cannot be normalized",
        "give a larger image_size or patch_size",
    ),
    _kind(
        r"No space left on device|Disk quota exceeded|File too large|Read-only file system|PytorchStreamWriter"
        r"|file write failed|unexpected pos \d+",
        "a file cannot be written",
        "make room or choose a place that can be written, and continue with --resume if an epoch was finished",
    ),
    _kind(r"Is a directory", "a folder is given in place of a file", "name the files in it", of_case=True),
    _kind(
        r"cannot identify image file|image file is truncated|Truncated File|broken data stream|cannot find a suitable "
        r"reader|ImageFileError|not a gzipped file|CRC check failed|end-of-stream|InvalidDicomError|broken PNG",
        "a file cannot be read",
        "replace the file, or leave it out",
        of_case=True,
    ),
)
_IN_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\s*(?:Original )?Traceback.*", re.DOTALL)
_LAST_LINE = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception)\b):? ?(.*?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


def reason_for(error: BaseException) -> Exception | None:
    """The reason behind an error: wrong input, a loss that is not finite, or a sentence; None for any other error.

    MONAI wraps errors in others that contain the whole config, and torch hands on those of worker processes as text.

    Example:
        >>> print(reason_for(RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried ...")))
        the memory is full (RuntimeError: [enforce fail] DefaultCPUAllocator: not enough memory: you tried ...); use ...
    """
    chain = list(causes(error))
    clear = next((cause for cause in chain if isinstance(cause, InputError | FloatingPointError | RunError)), None)
    if clear is not None:
        return _from_worker(clear) or clear
    for cause in reversed(chain):
        told = _root(cause)
        kind = next((kind for kind in _KINDS if kind.looks.search(told)), None)
        if kind is not None:
            where = _where(chain) if kind.of_case else ""
            return RunError(f"{where}{kind.means} ({_short(told)}); {kind.advice}")
    return _from_worker(chain[-1])


def unexpected(error: BaseException) -> RunError:
    """The sentence for an error that has no reason of a known kind: the case if there is one, its type and message."""
    chain = list(causes(error))
    return RunError(f"{_where(chain)}{_short(_root(chain[-1]))}")


def case_of(error: BaseException) -> str:
    """The case, file or batch that a run worked on when an error was raised; empty if that cannot be told."""
    return _where(list(causes(error)))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _root(error: BaseException) -> str:
    """The type and message of an error, or of the first one in the text that a worker process or a reader left."""
    text = str(error)
    found = _first_in(text) if "Traceback (most recent call last)" in text else None
    return ": ".join(filter(None, found or (type(error).__name__, text)))


def _first_in(text: str) -> tuple[str, str] | None:
    """Type and message of the first error in a printed traceback; those that follow are made from it."""
    trace = text[text.index("Traceback (most recent call last)") :]
    found = _LAST_LINE.search(trace)
    return (found[1], found[2].strip()) if found else None


def _from_worker(error: BaseException) -> Exception | None:
    """The input error or loss that is not finite that a worker process raised, as it was there."""
    found = _first_in(str(error)) if _IN_WORKER.search(str(error)) else None
    if found is None:
        return None
    if found[0] == InputError.__name__:
        lines = found[1].splitlines()
        return InputError([line.removeprefix("  - ") for line in lines[1:]] or lines)
    return (
        FloatingPointError(found[1]) if found[0] == FloatingPointError.__name__ else RunError(_short(": ".join(found)))
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _where(chain: list[BaseException]) -> str:
    for cause in reversed(chain):
        frames = [frame for frame, _ in traceback.walk_tb(cause.__traceback__)]
        for frame in reversed(frames):
            named = next(filter(None, map(_named, list(frame.f_locals.values()))), "")
            if named:
                return f"{named}: "
    return ""


def _named(value: Any) -> str:
    """The case or file that a mapping describes, or the cases of a batch."""
    if not isinstance(value, Mapping):
        return ""
    case, image = (value.get(key) for key in (CASE_ID, IMAGE))
    image = image if isinstance(image, str | os.PathLike) else getattr(image, "meta", {}).get("filename_or_obj", "")
    if isinstance(case, str):
        return f"case '{case}' ('{image}')" if image else f"case '{case}'"
    if isinstance(case, list | tuple) and case and all(isinstance(name, str) for name in case):
        more = f" and {len(case) - _SHOWN} more" if len(case) > _SHOWN else ""
        return f"the batch of {', '.join(map(repr, case[:_SHOWN]))}{more}"
    return f"'{image}'" if isinstance(image, str | os.PathLike) and image else ""
