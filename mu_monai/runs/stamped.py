"""JSON files with a digest of their own content, so that a change in them is detected."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import Shape, read_json, shape_problems, write_json
from mu_monai.runs.typed import made, shape_of

DIGEST = "digest"
FORMAT = 2  # the first format with a digest; files of format 1 are read without one
_FORMATS = (1, FORMAT)
Part = TypeVar("Part")


def write_stamped(target: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write JSON with the digest of its content as its last entry, atomically.

    The digest is the SHA-256 of the content as compact JSON with sorted keys, without the digest itself.

    Args:
        target: the file.
        content: the content; its `format` must be that of files with a digest.

    Example:
        >>> import tempfile
        >>> file = f"{tempfile.mkdtemp()}/a.json"
        >>> write_stamped(file, {"format": 2, "seed": 0})
        >>> read_stamped(file)["seed"]
        0
    """
    plain = json.loads(json.dumps({key: value for key, value in content.items() if key != DIGEST}))
    write_json(target, {**plain, DIGEST: _digest(plain)})


def read_stamped(source: str | os.PathLike[str], shape: Shape = dict) -> dict[str, Any]:
    """Read JSON that `write_stamped` wrote; a file of format 1 has no digest, and is read without this check.

    Args:
        source: the file.
        shape: the expected shape, see `files.read_json`.

    Raises:
        InputError: if the file is missing, is not JSON, has another format or shape, or was changed after it was
            written.
    """
    content = read_json(source)
    version = content.get("format") if isinstance(content, dict) else type(content).__name__
    if not isinstance(content, dict) or isinstance(version, bool) or version not in _FORMATS:
        raise InputError(
            f"'{source}' has format {version!r}; this version reads format {' and '.join(map(str, _FORMATS))}"
        )
    plain = {key: value for key, value in content.items() if key != DIGEST}
    if (version == FORMAT or DIGEST in content) and content.get(DIGEST) != _digest(plain):
        raise InputError(
            f"'{source}' was changed after it was written: its content does not match its digest "
            f"({content.get(DIGEST)}); put the original file back, or make it again"
        )
    raise_if_any(
        f"'{source}': {problem}; the file is damaged: make it again" for problem in shape_problems(content, shape)
    )
    return content


def read_part(kind: type[Part], source: str | os.PathLike[str], may_lack: Collection[str] = ()) -> Part:
    """Read what `write_stamped` wrote of a dataclass, see `plain`, and make it again.

    Args:
        kind: the dataclass.
        source: the file.
        may_lack: fields that the file may lack, since they have a default.

    Raises:
        InputError: as `read_stamped`.
    """
    shape = {name: entry for name, entry in shape_of(kind).items() if name not in may_lack}
    return made(kind, read_stamped(source, shape))


def _digest(plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
