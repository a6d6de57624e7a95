"""`shards.json`: what a model that is an average of adapters was made of, so that anybody can verify it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mu_monai.errors import InputError
from mu_monai.files import file_sha256
from mu_monai.keys import ADAPTER_DIR, SHARDS_DIR, SHARDS_JSON
from mu_monai.runs.stamped import FORMAT, read_part, write_stamped
from mu_monai.runs.typed import plain

_ADAPTER = f"{ADAPTER_DIR}/adapter_model.safetensors"
_PLAIN = re.compile(r"[a-z0-9_-]{1,40}")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One shard of patients, and the adapters that were trained on it alone; what is not yet trained is None.

    Args:
        name: its number, or the value of the column that made it.
        patients: the number of its patients.
        cases: the number of its cases.
        members: SHA-256 over the digests of images and labels of its cases, in their order.
        fitted: whether this run trained it; otherwise it was taken over from an earlier one.
        steps: the optimizer steps of its training.
        passes: the sample passes of its training, see `Cost`.
        adapter: SHA-256 of the file of its adapters.
    """

    name: str
    patients: int
    cases: int
    members: str
    fitted: bool = True
    steps: int | None = None
    passes: int | None = None
    adapter: str | None = None

    @property
    def place(self) -> str:
        """The name of its folder: its own name, or a digest of it if that cannot be the name of a file everywhere.

        Example:
            >>> Shard(name="3", patients=1, cases=1, members="").place
            '3'
        """
        return self.name if _PLAIN.fullmatch(self.name) else sha256(self.name.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The content of `shards.json`: counts and digests, and no ids unless shards are named by a column of them.

    Args:
        format: format of the file.
        base: SHA-256 of the weights that all adapters belong to.
        base_known: whether it is known what the base was trained on.
        base_saw: the digests of images of this split that the base itself was trained on.
        seed: the seed of every shard's training, and the key of the hash that chooses a patient's shard.
        number: how many shards the hash chooses from; None if each value of the column has one.
        by: the column whose values are hashed instead of patient ids, or have a shard each; None for patients.
        shards: the shards that hold somebody, in the order in which they are averaged.
        removed: the digests of images that earlier requests took out.
    """

    format: int = FORMAT
    base: str
    base_known: bool
    base_saw: tuple[str, ...] = ()
    seed: int
    number: int | None = None
    by: str | None = None
    shards: tuple[Shard, ...]
    removed: tuple[str, ...] = ()

    @property
    def passes(self) -> int:
        """The sample passes of all trainings that the model is an average of."""
        return sum(shard.passes or 0 for shard in self.shards)


def has_shards(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has a `shards.json`."""
    return (Path(folder) / SHARDS_JSON).is_file()


def write_shards(folder: str | os.PathLike[str], shards: Shards) -> None:
    """Write `shards.json` into a run folder, with the digest of its content."""
    write_stamped(Path(folder) / SHARDS_JSON, plain(shards))


def read_shards(folder: str | os.PathLike[str]) -> Shards:
    """The `shards.json` of a run folder.

    Raises:
        InputError: if there is none, it was changed after it was written, or it has another shape.
    """
    if not has_shards(folder):
        raise InputError(
            f"'{folder}' has no {SHARDS_JSON}: its model was not trained in shards; train one that is: mu-monai train "
            "BUNDLE --split FILE --base WEIGHTS --shards 8, or unlearn without --exact"
        )
    return read_part(Shards, Path(folder) / SHARDS_JSON, ("number", "by"))


def shard_folder(folder: str | os.PathLike[str], shard: Shard) -> Path:
    """The folder of a shard's training in a run folder."""
    return Path(folder) / SHARDS_DIR / shard.place


def shard_split(folder: str | os.PathLike[str], shard: Shard) -> Path:
    """The split file of a shard in a run folder, which holds its cases and nobody else."""
    return Path(folder) / SHARDS_DIR / f"{shard.place}.json"


def adapter_folders(folder: str | os.PathLike[str], shards: Iterable[Shard]) -> list[Path]:
    """The folders of the adapters of shards."""
    return [shard_folder(folder, shard) / ADAPTER_DIR for shard in shards]


def adapter_sha256(training: Path) -> str:
    """SHA-256 of the file of adapters in the folder of a shard's training."""
    return file_sha256(training / _ADAPTER)


def adapter_problems(folder: str | os.PathLike[str], shards: Iterable[Shard]) -> Iterator[str]:
    """Why the adapters of shards are not those that `shards.json` names."""
    for shard in shards:
        file = shard_folder(folder, shard) / _ADAPTER
        if not file.is_file():
            yield f"shard '{shard.name}' of '{folder}' has no adapters ('{file}' is missing); put the file back"
        elif file_sha256(file) != shard.adapter:
            yield (
                f"the adapters of shard '{shard.name}' ('{file}') are not those of its training (SHA-256 "
                f"{file_sha256(file)}, in {SHARDS_JSON} {shard.adapter}); put the original file back"
            )
