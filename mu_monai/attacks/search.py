"""Search a folder for anything that the original model can be rebuilt from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from mu_monai.attacks.containers import FLOATS, Part, read_parts
from mu_monai.errors import InputError

ORIGINAL, DIFFERENCE, FACTOR = "original", "difference", "factor"
ADAPTER, OPTIMIZER, CHECKPOINT, STRANGE = "adapter", "optimizer state", "checkpoint", "not understood"
KINDS = (ORIGINAL, DIFFERENCE, FACTOR, ADAPTER, OPTIMIZER, CHECKPOINT, STRANGE)
_NEAR = 0.1  # of the way between original and student: what is nearer than this stands for the one it is near to
_FEW = 16  # numbers below which closeness can be chance, so that equality alone counts; also the bytes' window
_SHOWN = 3
_ADAPTER_NAME = re.compile(r"\blora_[AB]\b|\bmodules_to_save\b")
_POSITION = {"trainer", "epoch", "iteration", "optimizer", "scaler", "lr_scheduler", "scheduler"}
_MOMENTS = {"exp_avg", "exp_avg_sq", "momentum_buffer"}
_WHAT = {
    ORIGINAL: "holds {n} of the original model's tensors that unlearning changed",
    DIFFERENCE: "holds the change itself of {n} tensors: taking it off the released weights gives the original back",
    FACTOR: "holds a low-rank factor of the change of {n} tensors: with its other factor the original comes back",
    ADAPTER: "is an adapter by its names ({n} of them): taken off, the original comes back",
    OPTIMIZER: "holds an optimizer's state ({n} entries), which tells which way the weights moved",
    CHECKPOINT: "is a checkpoint of training ({n} entries of its position): weights of a moment before the last",
    STRANGE: "could not be read, so nobody can say that it holds nothing",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing in a folder that should not leave the house.

    Args:
        file: the file's path in the folder, with members of archives behind a slash.
        kind: one of `KINDS`.
        what: one sentence for a reader.
        tensors: the tensors of the original model that come back from it; empty where names alone gave it away.
    """

    file: str
    kind: str
    what: str
    tensors: tuple[str, ...] = ()

    @property
    def rebuilds(self) -> bool:
        """Whether the original, or part of it, was shown to come back from it."""
        return self.kind in (ORIGINAL, DIFFERENCE, FACTOR)


def search_folder(
    folder: str | os.PathLike[str],
    teacher: Mapping[str, torch.Tensor] | None = None,
    student: Mapping[str, torch.Tensor] | None = None,
) -> list[Finding]:
    r"""Look through every file of a folder, hidden ones and members of archives included.

    A tensor :math:`x` stands for the original's :math:`t` where it is much nearer to it than the released :math:`s` is,
    and for the change where it is parallel to :math:`t - s`:

    .. math:: \|x - t\| \le 0.1 \, \|s - t\|, \qquad 1 - \cos^2(x, t - s) \le 0.01

    A matrix whose rows span all but 1 % of the energy of the change is a low-rank factor of it. Besides, the original's
    numbers are looked for in the raw bytes of every file, as float32, float16, bfloat16 and float64, so that formats
    that are not read are searched as well.

    What is encrypted, quantized, or written as text other than JSON is not found; files that could not be read are
    listed.

    Args:
        folder: what is to be handed on.
        teacher: the original model's state dict; without it only the kinds of files can be told.
        student: the released model's; without it every tensor of the original counts as one that must not be there.

    Raises:
        InputError: where the folder does not exist, or a student is given without its teacher.

    Example:
        >>> import tempfile
        >>> folder, student = tempfile.mkdtemp(), {"weight": torch.arange(32.0)}
        >>> teacher = {"weight": torch.arange(32.0).flip(0)}
        >>> torch.save(student, f"{folder}/model.pt")
        >>> search_folder(folder, teacher, student)
        []
        >>> torch.save({"old": teacher["weight"].half()}, f"{folder}/notes.bin")
        >>> [(found.file, found.kind, found.tensors) for found in search_folder(folder, teacher, student)]
        [('notes.bin', 'original', ('weight',))]
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"'{folder}' is no folder; give the folder that is to be released")
    if teacher is None and student is not None:
        raise InputError("a student's weights alone tell nothing about the original; give the teacher's as well")
    secrets = _secrets(teacher or {}, student)
    findings: list[Finding] = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file():
            findings += _in_file(path, name, secrets)
        elif path.is_symlink() or not path.is_dir():
            findings.append(_finding(name, STRANGE, [], "a link that leads nowhere or to a folder, or no plain file"))
    return findings


def _in_file(path: Path, name: str, secrets: Sequence[_Secret]) -> list[Finding]:
    try:
        data = path.read_bytes()
    except OSError as error:
        return [_finding(name, STRANGE, [], str(error))]
    return [found for part in read_parts(name, data) for found in _findings(part, secrets)]


class _Secret:
    """A tensor of the original that unlearning changed, and how to know it again."""

    def __init__(self, name: str, original: torch.Tensor, released: torch.Tensor | None) -> None:
        self.name = name
        self._typed = (original.detach().cpu(), None if released is None else released.detach().cpu())
        self.original = self._typed[0].double().flatten()
        self.released = None if released is None else self._typed[1].double().flatten()  # type: ignore[union-attr]
        self.change = self.original if self.released is None else self.original - self.released
        self.reach = _NEAR * float(self.change.norm()) if len(self.original) >= _FEW else 0.0

    def is_near(self, found: torch.Tensor, to: torch.Tensor) -> bool:
        return bool((found - to).norm() <= self.reach)

    def match(self, found: torch.Tensor, flat: torch.Tensor) -> str:
        """Which kind of secret a tensor is; empty where it is none, such as the released weight itself."""
        if len(flat) == len(self.original):
            if self.released is not None and self.is_near(flat, self.released):
                return ""
            if self.is_near(flat, self.original):
                return ORIGINAL
            if self.released is not None and len(flat) >= _FEW and _parallel(flat, self.change):
                return DIFFERENCE
        return FACTOR if self.released is not None and self._is_factor(found) else ""

    @cached_property
    def matrices(self) -> list[torch.Tensor]:
        """The change as a matrix `(out, in * kernel)`: of plain layers, and of transposed convolutions."""
        shape = self._typed[0].shape
        if len(shape) < 2:
            return []
        change = self.change.view(shape)
        return [change.flatten(1), *([change.transpose(0, 1).flatten(1)] if len(shape) > 2 else [])]

    def _is_factor(self, found: torch.Tensor) -> bool:
        if found.dim() < 2:
            return False
        for turn, matrix in enumerate(self.matrices):
            rows = (found.transpose(0, 1) if turn else found).flatten(1).double()
            if rows.shape[1] == matrix.shape[1] and 2 * len(rows) <= rows.shape[1] and len(rows) <= len(matrix):
                basis = torch.linalg.qr(rows.T).Q
                if (matrix - matrix @ basis @ basis.T).norm() <= _NEAR * matrix.norm():
                    return True
        return False

    @cached_property
    def needles(self) -> list[bytes]:
        """A few of the original's numbers in a row, as bytes of every type; none that the released ones have too."""
        moved = self.change.nonzero().flatten()
        start = max(0, min(int(moved[len(moved) // 2]), len(self.original) - _FEW))
        values = self.original[start : start + _FEW]
        if len(values.unique()) < 4:
            return []
        other = None if self.released is None else self.released[start : start + _FEW]
        found = []
        for dtype in FLOATS:
            needle = _bytes(values, dtype)
            if other is None or needle != _bytes(other, dtype):
                found.append(needle)
        return [*found, values.numpy().astype(">f8").tobytes(), values.numpy().astype(">f4").tobytes()]


def _secrets(teacher: Mapping[str, torch.Tensor], student: Mapping[str, torch.Tensor] | None) -> list[_Secret]:
    """What must not be there; a tensor of one repeated number tells nothing and is no secret."""
    released = {name: value for name, value in (student or {}).items() if name in teacher}
    return [
        _Secret(name, value, released.get(name) if _same_shape(released.get(name), value) else None)
        for name, value in teacher.items()
        if value.is_floating_point()
        and len(value.unique()) > 1
        and not (_same_shape(released.get(name), value) and torch.equal(released[name].cpu(), value.cpu()))
    ]


def _same_shape(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    return one is not None and one.shape == other.shape


def _findings(part: Part, secrets: Sequence[_Secret]) -> Iterator[Finding]:
    matches: dict[str, set[str]] = {}
    largest = max((len(secret.original) for secret in secrets), default=0)
    for found in part.tensors.values():
        if 1 < found.numel() <= largest:  # neither an original nor its change or a factor of it is larger
            flat = found.double().flatten()
            for secret in secrets:
                matches.setdefault(secret.match(found, flat), set()).add(secret.name)
    matches.pop("", None)
    matches.setdefault(ORIGINAL, set()).update(
        secret.name for secret in secrets if any(needle in part.data for needle in secret.needles)
    )
    for kind in (ORIGINAL, DIFFERENCE, FACTOR):
        if matches.get(kind):
            yield _finding(part.name, kind, sorted(matches[kind]))
    yield from _kinds(part)
    if part.problem:
        yield _finding(part.name, STRANGE, [], part.problem)


def _kinds(part: Part) -> Iterator[Finding]:
    """What names alone give away."""
    names = set(part.tensors) | part.keys
    adapters = sorted(name for name in part.tensors if _ADAPTER_NAME.search(name))
    if Path(part.name).name == "adapter_config.json":
        adapters = [part.name]
    moments = sorted(name for name in names if name.rpartition(".")[2] in _MOMENTS or name == "param_groups")
    position = sorted(part.keys & _POSITION) if any(value.numel() > 1 for value in part.tensors.values()) else []
    for kind, found in ((ADAPTER, adapters), (OPTIMIZER, moments), (CHECKPOINT, position)):
        if found:
            yield Finding(file=part.name, kind=kind, what=_sentence(part.name, kind, found))


def _finding(file: str, kind: str, tensors: list[str], why: str = "") -> Finding:
    return Finding(file=file, kind=kind, what=_sentence(file, kind, tensors, why), tensors=tuple(tensors))


def _sentence(file: str, kind: str, names: Sequence[str], why: str = "") -> str:
    some = ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")
    return f"{file} {_WHAT[kind].format(n=len(names))} ({why or some})"


def _parallel(one: torch.Tensor, other: torch.Tensor) -> bool:
    lengths = one.norm() * other.norm()
    return bool(lengths > 0 and 1 - (one @ other / lengths) ** 2 <= _NEAR**2)


def _bytes(values: torch.Tensor, dtype: torch.dtype) -> bytes:
    return bytes(values.to(dtype).contiguous().view(torch.uint8).numpy().data)
