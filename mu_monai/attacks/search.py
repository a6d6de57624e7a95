"""Search a folder for anything from which the original model can be rebuilt."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from mu_monai.attacks.containers import FLOATS, Part, read_parts
from mu_monai.errors import InputError

ORIGINAL, DIFFERENCE, FACTOR, EARLIER = "original", "difference", "factor", "earlier epoch"
ADAPTER, OPTIMIZER, CHECKPOINT, STRANGE = "adapter", "optimizer state", "checkpoint", "not understood"
KINDS = (ORIGINAL, DIFFERENCE, FACTOR, EARLIER, ADAPTER, OPTIMIZER, CHECKPOINT, STRANGE)
_NEAR = 0.1  # a tensor matches the original within this share of the distance to the student and of its own variation
_FEW = 16  # with fewer numbers, closeness can be chance, so only equality counts; also the window of the byte search
_SHOWN = 3
_ADAPTER_NAME = re.compile(r"\blora_[AB]\b|\bmodules_to_save\b")
_POSITION = {"trainer", "epoch", "iteration", "optimizer", "scaler", "lr_scheduler", "scheduler"}
_MOMENTS = {"exp_avg", "exp_avg_sq", "momentum_buffer"}
_WHAT = {
    ORIGINAL: "holds {n} of the original model's tensors that unlearning changed",
    DIFFERENCE: "holds the change itself of {tensors}: undoing it in the released weights restores the original",
    FACTOR: "holds a low-rank factor of the change of {tensors}: with the other factor it restores the original",
    EARLIER: "holds {tensors} of an earlier epoch of the original's training, which knows the forgotten cases too",
    ADAPTER: "is an adapter by its names ({n} of them): removing it from the weights restores the original",
    OPTIMIZER: "holds an optimizer's state ({entries}), which reveals the direction in which the weights moved",
    CHECKPOINT: "is a training checkpoint ({entries} of its position): it holds weights from before the end",
    STRANGE: "could not be read, so its content is unknown",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing in a folder that should not be released.

    Args:
        file: the file's path in the folder; members of archives follow a slash.
        kind: one of `KINDS`.
        what: one sentence for a reader.
        tensors: the tensors of the original model that it restores; empty if it was found only by names.
    """

    file: str
    kind: str
    what: str
    tensors: tuple[str, ...] = ()

    @property
    def rebuilds(self) -> bool:
        """Whether it was shown to restore the original or an earlier epoch of it, or a part of one."""
        return self.kind in (ORIGINAL, DIFFERENCE, FACTOR, EARLIER)


def search_folder(
    folder: str | os.PathLike[str],
    teacher: Mapping[str, torch.Tensor] | None = None,
    student: Mapping[str, torch.Tensor] | None = None,
    earlier: Iterable[Mapping[str, torch.Tensor]] = (),
) -> list[Finding]:
    r"""Search every file of a folder, including hidden files and members of archives.

    A tensor :math:`x` matches the original's :math:`t` if it is much nearer to it than the released :math:`s` is, and
    than the mean of :math:`t` is: where unlearning moved a small :math:`t` far, every small tensor is near it. It
    matches the change if it is parallel to :math:`t - s`, and still is once both have lost their means:

    .. math:: \|x - t\| \le 0.1 \, \min(\|s - t\|, \|t - \bar t\|), \qquad 1 - \cos^2(x, t - s) \le 0.01

    A matrix whose rows span all but 1 % of the energy of the change is a low-rank factor of it. In addition, the
    original's numbers are searched in the raw bytes of every file, as float32, float16, bfloat16 and float64, so that
    unknown formats are covered as well. Earlier epochs are searched as they are: by chance, statistics look like a
    change to one.

    Content that is encrypted, quantized, or text other than JSON is not found; files that could not be read are listed.

    Args:
        folder: the folder to be released.
        teacher: the original model's state dict; without it only the kinds of files are recognized.
        student: the released model's state dict; without it no tensor of the original may be in the folder.
        earlier: state dicts of earlier epochs of the original's training, such as its milestones; taken one at a time.

    Raises:
        InputError: if the folder does not exist, or a student is given without its teacher.

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
        raise InputError(f"'{folder}' is not a folder; give the folder that is to be released")
    if teacher is None and student is not None:
        raise InputError("a student's weights alone say nothing about the original; give the teacher's as well")
    return [*_in_folder(root, _secrets(ORIGINAL, teacher or {}, student)), *_of_earlier(root, student, earlier)]


def _in_folder(root: Path, secrets: Sequence[_Secret]) -> Iterator[Finding]:
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file():
            yield from _in_file(path, name, secrets)
        elif path.is_symlink() or not path.is_dir():
            yield _finding(name, STRANGE, [], "a broken link, a link to a folder, or not a regular file")


def _of_earlier(
    root: Path, student: Mapping[str, torch.Tensor] | None, earlier: Iterable[Mapping[str, torch.Tensor]]
) -> list[Finding]:
    """What is there of earlier epochs, one after the other: the numbers of all would take much memory."""
    names: dict[str, set[str]] = {}
    for state in earlier:
        for found in _in_folder(root, _secrets(EARLIER, state, student)):
            if found.kind == EARLIER:
                names.setdefault(found.file, set()).update(found.tensors)
    return [_finding(file, EARLIER, sorted(tensors)) for file, tensors in names.items()]


def _in_file(path: Path, name: str, secrets: Sequence[_Secret]) -> list[Finding]:
    try:
        data = path.read_bytes()
    except OSError as error:
        return [_finding(name, STRANGE, [], str(error))]
    return [found for part in read_parts(name, data) for found in _findings(part, secrets)]


class _Secret:
    """A tensor of the original, or of an earlier epoch of it, that is not the released one, and how to recognize it."""

    def __init__(self, name: str, kind: str, original: torch.Tensor, released: torch.Tensor | None) -> None:
        self.name, self.kind = name, kind
        self._typed = (original.detach().cpu(), None if released is None else released.detach().cpu())
        self.original = self._typed[0].double().flatten()
        self.released = None if released is None else self._typed[1].double().flatten()  # type: ignore[union-attr]
        self.change = self.original if self.released is None else self.original - self.released
        many, own = len(self.original) >= _FEW, self.original - self.original.mean()
        self.reach = _NEAR * float(self.change.norm()) if many else 0.0
        self.near = min(self.reach, _NEAR * float(own.norm()))

    def match(self, found: torch.Tensor, flat: torch.Tensor) -> str:
        """The kind of secret that a tensor is; empty if it is not one, such as the released weight itself."""
        same = len(flat) == len(self.original)
        if same and self.released is not None and (flat - self.released).norm() <= self.reach:
            return ""
        if same and (flat - self.original).norm() <= self.near:
            return self.kind
        if self.released is None or self.kind == EARLIER:
            return ""
        if same and len(flat) >= _FEW and _parallel(flat, self.change):
            return DIFFERENCE
        return FACTOR if self._is_factor(found) else ""

    @cached_property
    def matrices(self) -> list[torch.Tensor]:
        """The change as matrices `(out, in * kernel)`: as for plain layers, and as for transposed convolutions."""
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
        """A few consecutive numbers of the original, as bytes of every type, unless the released ones are the same."""
        moved = self.change.nonzero().flatten()
        start = max(0, min(int(moved[len(moved) // 2]), len(self.original) - _FEW))
        values = self.original[start : start + _FEW]
        if len(values.unique()) < 4:
            return []
        other = None if self.released is None else self.released[start : start + _FEW]
        needles = []
        for dtype in FLOATS:
            needle = _bytes(values, dtype)
            if other is None or needle != _bytes(other, dtype):
                needles.append(needle)
        return [*needles, values.numpy().astype(">f8").tobytes(), values.numpy().astype(">f4").tobytes()]


def _secrets(
    kind: str, teacher: Mapping[str, torch.Tensor], student: Mapping[str, torch.Tensor] | None
) -> list[_Secret]:
    """The tensors that must not be there; one that repeats a single number reveals nothing and is left out."""
    released = {name: value for name, value in (student or {}).items() if name in teacher}
    return [
        _Secret(name, kind, value, released.get(name) if _same_shape(released.get(name), value) else None)
        for name, value in teacher.items()
        if value.is_floating_point()
        and len(value.unique()) > 1
        and not (_same_shape(released.get(name), value) and torch.equal(released[name].cpu(), value.cpu()))
    ]


def _same_shape(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    return one is not None and one.shape == other.shape


def _findings(part: Part, secrets: Sequence[_Secret]) -> Iterator[Finding]:
    matches = _matches(part, secrets)
    for kind in (ORIGINAL, DIFFERENCE, FACTOR, EARLIER):
        if matches.get(kind):
            yield _finding(part.name, kind, sorted(matches[kind]))
    yield from _kinds(part)
    if part.problem:
        yield _finding(part.name, STRANGE, [], part.problem)


def _matches(part: Part, secrets: Sequence[_Secret]) -> dict[str, set[str]]:
    """The names of the secrets that a part gives away, by the kind of what it holds of them."""
    matches: dict[str, set[str]] = {}
    largest = max((len(secret.original) for secret in secrets), default=0)
    for found in part.tensors.values():
        if 1 < found.numel() <= largest:  # originals, changes and factors are not larger
            flat = found.double().flatten()
            for secret in secrets:
                matches.setdefault(secret.match(found, flat), set()).add(secret.name)
    for secret in secrets:
        if any(needle in part.data for needle in secret.needles):
            matches.setdefault(secret.kind, set()).add(secret.name)
    return matches


def _kinds(part: Part) -> Iterator[Finding]:
    """Findings by names alone."""
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
    n = len(names)
    counts = {"tensors": f"{n} tensor{'' if n == 1 else 's'}", "entries": f"{n} {'entry' if n == 1 else 'entries'}"}
    return f"{file} {_WHAT[kind].format(n=n, **counts)} ({why or some})"


def _parallel(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two vectors point the same way, around their means as well: by chance, vectors of variances do."""
    return _aligned(one, other) and _aligned(one - one.mean(), other - other.mean())


def _aligned(one: torch.Tensor, other: torch.Tensor) -> bool:
    lengths = one.norm() * other.norm()
    return bool(lengths > 0 and 1 - (one @ other / lengths) ** 2 <= _NEAR**2)


def _bytes(values: torch.Tensor, dtype: torch.dtype) -> bytes:
    return bytes(values.to(dtype).contiguous().view(torch.uint8).numpy().data)
