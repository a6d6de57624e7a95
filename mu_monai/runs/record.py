"""`run.json`: the record of a run, as one type with one reader and one writer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import link_problems, shape_problems
from mu_monai.keys import MODEL_PT, RETRAINED, ROLES, RUN_JSON, TRAINING_SUBSETS
from mu_monai.runs.shards import has_shards, read_shards
from mu_monai.runs.stamped import FORMAT, read_stamped, write_stamped
from mu_monai.runs.typed import made, plain, shape_of

TRAIN, UNLEARN, AUDIT = "train", "unlearn", "audit"
VERBS = (TRAIN, UNLEARN, AUDIT)
RUNNING, INTERRUPTED, FAILED, FINISHED = "running", "interrupted", "failed", "finished"
GONE = "gone"
STATUSES = (RUNNING, INTERRUPTED, FAILED, FINISHED)
_NULL = ("split", "drift", "provenance", "measurements", "seconds")  # null means the same as a missing key here
_MEASUREMENTS: dict[str, Any] = {
    "drift": {"layers": [dict]},
    "margins": dict | None,
    "restoration": dict | None,
    "boundary": dict,
    "composition": dict,
}
_OPTIONAL = ("verb", "forget_images")  # files without them are valid
_PROVENANCE = {"counts": dict}


@dataclass(frozen=True, kw_only=True)
class MadeWith:
    """The bundle of a run: `name`, `version` and `task` from its metadata, and its folder `root`."""

    name: str = ""
    version: str = ""
    task: str = ""
    root: str = ""


@dataclass(frozen=True, kw_only=True)
class Digests:
    """SHA-256 of the inputs of a run (`split`, `config`, `starting_weights`) and of its result (`weights`).

    Digests of weights are over the tensors and their names, not over a file.
    """

    split: str = ""
    config: str | None = None
    starting_weights: str | None = None
    weights: str = ""


@dataclass(frozen=True, kw_only=True)
class OfSplit:
    """The split of a run: the absolute path of its file, and the public part of its provenance.

    `cases` is the SHA-256 of its cases and of the contents of their files, wherever they are (`stamp.cases_sha256`);
    empty in runs of earlier versions.
    """

    file: str = ""
    cases: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OfMethod:
    """The unlearning method of a run.

    Args:
        name: the name of its class.
        settings: its hyper-parameters, by name.
        target: the class with its module; empty in runs of earlier versions.
        package: the distribution that the class comes from; empty if it is not known.
        version: the version of the package.
    """

    name: str
    settings: Mapping[str, Any]
    target: str = ""
    package: str | None = ""
    version: str | None = ""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Counts of weights: of the network (`base`), with adapters (`total`), trainable ones; and where adapters are."""

    base: int | None = None
    trainable: int | None = None
    total: int | None = None
    share: float | None = None
    coverage: str = ""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run took, apart from measuring its result.

    Args:
        passes: sample passes: 1 for the forward pass of an image, patch or window, 3 if a backward pass follows.
        steps: optimizer steps.
        share: passes, as a share of those of the training that made the starting weights; None if these are unknown.
    """

    passes: int | None = None
    steps: int | None = None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """The result of a check that a finished run made on itself."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of `run.json`; empty text means that the file lacks the entry, None that the run has no such thing.

    Args:
        format: format of the file: 1 without digests of the run's files, 2 with them.
        verb: `train`, `unlearn`, or `audit` for a model that was not unlearned here.
        status: `running`, `interrupted`, `failed` or `finished`.
        role: `teacher`, `retrained` or `student`.
        bundle: the bundle that the run was made with.
        subsets: the subsets that were trained on.
        forget_classes: the classes of masks that were unlearned, or left out of training.
        forget_images: `gone` if the images of the forget cases no longer existed, so that nothing was measured on them.
        preset: the bundle's preset that the settings came from.
        method: the unlearning method.
        seed: the seed of the run.
        max_epochs: the number of epochs.
        device: such as `cpu` or `cuda:0`; of several processes, that of the first.
        precision: what networks computed in while they were trained: `fp32`, or mixed with `bf16` or `fp16`; empty in
            runs of earlier versions, which is `fp32`.
        processes: the number of processes that trained it together; None in runs of earlier versions.
        versions: versions of packages and of Python.
        sha256: digests of inputs and weights.
        split: the split.
        teacher: the path of the starting weights.
        parameters: counts of weights.
        checks: the self-checks.
        warnings: the warnings of the run.
        measurements: measurements by the method, by name.
        started: the start time, in ISO 8601.
        cost: sample passes and optimizer steps; all None in runs of earlier versions.
        seconds: wall time without interruptions.
        cpu_seconds: CPU time of the process; None if it is not known for a part of the run.
        peak_memory_mib: peak memory of the GPU, or else of the process.
        command: the command line.
        files: SHA-256 of every result file of the run, by its name in the folder.

    Example:
        >>> record = RunRecord.from_json({"verb": "train", "status": "finished", "role": "teacher", "seed": 1})
        >>> record.seed, record.sha256.weights, record.to_json()["seed"]
        (1, '', 1)
    """

    format: int = FORMAT
    verb: str = ""
    status: str
    role: str
    bundle: MadeWith = MadeWith()
    subsets: tuple[str, ...] = ()
    forget_classes: tuple[str, ...] = ()
    forget_images: str = ""
    preset: str | None = None
    method: OfMethod | None = None
    seed: int | None = None
    max_epochs: int | None = None
    device: str = ""
    precision: str = ""
    processes: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    sha256: Digests = Digests()
    split: OfSplit = OfSplit()
    teacher: str | None = None
    parameters: Parameters = Parameters()
    checks: tuple[SelfCheck, ...] = ()
    warnings: tuple[str, ...] = ()
    measurements: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    cost: Cost = Cost()
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mib: float | None = None
    command: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The record in a JSON mapping; missing entries get their defaults, and unknown ones are left out."""
        return made(cls, content)

    def to_json(self) -> dict[str, Any]:
        """The content of `run.json`, in the order of the fields, without empty text."""
        return plain(self)

    @property
    def whose(self) -> str:
        """Its model in a sentence: `a teacher`, `a student` or `a retrained model`."""
        return model_of(self.role)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How the split was made, as far as it is known."""
        return self.split.provenance


def model_of(role: str) -> str:
    """The model of a role in a sentence.

    Example:
        >>> model_of("retrained"), model_of("student")
        ('a retrained model', 'a student')
    """
    return f"a {role} model" if role == RETRAINED else f"a {role}"


def write_record(folder: str | os.PathLike[str], record: RunRecord) -> None:
    """Write a run's `run.json`, with the digest of its content."""
    write_stamped(Path(folder) / RUN_JSON, record.to_json())


def is_run(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a run folder, finished or not."""
    return (Path(folder) / RUN_JSON).is_file()


def run_of(place: str | os.PathLike[str]) -> Path:
    """The run folder whose model a weights file is; any other place is returned as it is.

    A run tells how its model is used, such as the size of images, which the weights alone do not.

    Args:
        place: a run folder, a weights file, or anything else.
    """
    path = Path(place)
    return path.parent if path.name == MODEL_PT and path.is_file() and is_run(path.parent) else path


def read_record(folder: str | os.PathLike[str]) -> RunRecord:
    """The `run.json` of a run, finished or not.

    Raises:
        InputError: with every problem: the folder is not a run or contains links, or the file is not JSON, was changed
            after it was written, has another format, or has a value of the wrong type.
    """
    file = Path(folder) / RUN_JSON
    if not is_run(folder):
        raise InputError(
            f"'{folder}' is not a run folder: it has no {RUN_JSON}; give the folder that train or unlearn wrote"
        )
    raise_if_any(link_problems(folder))
    content = read_stamped(file)
    raise_if_any(f"'{file}': {text}; the file is damaged: put the original back" for text in _problems(content))
    return RunRecord.from_json(content)


def unreadable(record: RunRecord) -> list[str]:
    """Why a record could not be read once it is written: a config may put values of any type into it.

    Example:
        >>> unreadable(RunRecord(verb="train", status="running", role="teacher", seed=True))
        ['seed holds true or false (True) instead of a whole number or null']
    """
    return list(_problems(record.to_json()))


def training_passes(folder: str | os.PathLike[str] | None) -> int | None:
    """The sample passes of the training that a model came from; None if there is no such run, or they are not known.

    Of a model that is an average of shards, those of all shards count, also of those that an earlier run trained. Of a
    student, they are those of the training before the unlearning, as its own cost is a share of them.
    """
    place, seen = None if folder is None else Path(folder), set[Path]()
    while place is not None and place not in seen and is_run(place):
        if has_shards(place):
            return read_shards(place).passes
        record = read_record(place)
        passes, share = record.cost.passes, record.cost.share
        if record.verb != UNLEARN:
            return passes
        if passes and share:
            return round(passes / share)
        seen.add(place)  # it took none itself
        place = Path(record.teacher).parent if record.teacher else None
    return None


def _problems(content: Mapping[str, Any]) -> Iterator[str]:
    """Values with another shape than a run writes, and missing entries that every run must have."""
    shape: dict[str, Any] = {name: kind for name, kind in shape_of(RunRecord).items() if name != "format"}
    shape |= {"measurements": _MEASUREMENTS, "split": {"file": str, "cases": str, "provenance": _PROVENANCE}}
    method = shape.pop("method")
    problems = list(_misshapen(content, shape))
    if content.get("method") is not None or content.get("verb") == UNLEARN:
        problems += _misshapen({"method": None, **content}, {"method": method})
        absent = [item for item in ("name", "settings") if item not in (content.get("method") or {})]
        problems += [f"method has no {item}" for item in absent if not problems]
    allowed = {"verb": VERBS, "status": STATUSES, "role": ROLES, "forget_images": (GONE,)}
    problems += [
        f"{key} is {content.get(key)!r}, which is not one of {', '.join(names)}"
        for key, names in allowed.items()
        if content.get(key) not in names and not (key in _OPTIONAL and key not in content)
    ]
    problems += [
        f"subsets hold {name!r}, which is not one of {', '.join(TRAINING_SUBSETS)}"
        for name in content.get("subsets", [])
        if not problems and name not in TRAINING_SUBSETS
    ]
    yield from problems


def _misshapen(content: Mapping[str, Any], shape: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for key, kind in shape.items():
        if key not in content or (content[key] is None and key in _NULL):
            continue
        value = content[key]
        if isinstance(kind, Mapping) and isinstance(value, Mapping):
            yield from _misshapen(value, kind, f"{place}{key}, ")
        else:
            yield from shape_problems(value, dict if isinstance(kind, Mapping) else kind, f"{place}{key}")
