"""What the models of a cross-validation were trained on: runs of this package, of nnU-Net, or of Auto3DSeg."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mu_monai.data import read_split
from mu_monai.data.layouts.listing import stem_of
from mu_monai.data.layouts.nnunet import DATASET_JSON, SPLITS_JSON
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import read_json
from mu_monai.keys import IMAGE
from mu_monai.methods.rollback import NOT_COVERED, NOT_COVERED_IN_AUTO3DSEG, NOT_COVERED_IN_NNUNET
from mu_monai.runs import is_run, open_run

FOLD = "fold-"
_OF_NNUNET = re.compile(r"fold_(\d+)")
_VALIDATION, _TRAINING = "validation", "training"


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """What trained the models of a cross-validation.

    Args:
        not_covered: what going back to a fold of it does not cover.
        instead: why its networks are not built here, and what to do with the fold; empty if they are.
    """

    not_covered: str
    instead: str = ""


_HERE = Trainer(not_covered=NOT_COVERED)
_NNUNET = Trainer(
    not_covered=NOT_COVERED_IN_NNUNET,
    instead="since nnU-Net plans it by its own rules; predict with that fold alone (nnUNetv2_predict -f ...)",
)
_AUTO3DSEG = Trainer(
    not_covered=NOT_COVERED_IN_AUTO3DSEG,
    instead="since an algorithm of Auto3DSeg builds it; predict with the models of that fold alone",
)


@dataclass(frozen=True, kw_only=True)
class Fold:
    """What a fold's model was trained on.

    Args:
        name: its name.
        trained: what of each case it was trained on: digests of images, or ids.
        run: its run folder; None if its model was trained elsewhere.
        trainer: what trained it.
    """

    name: str
    trained: frozenset[str]
    run: Path | None = None
    trainer: Trainer = _HERE


def find_folds(place: str | Path) -> list[Fold]:
    """The folds of a cross-validation.

    Args:
        place: the folder above the runs `fold-0`, `fold-1` ...; nnU-Net's `splits_final.json`, the folder of a data set
            that has it, or a folder of results with `fold_0/validation`, `fold_1/validation` ...; or the datalist of
            Auto3DSeg, whose entries have a `fold`.

    Raises:
        InputError: if there are fewer than two, the folder is a single run, or who was held out cannot be told for
            certain.
    """
    folder = Path(place)
    file = folder / SPLITS_JSON if folder.is_dir() else folder
    if file.is_file():
        return _listed(file)
    if is_run(folder):
        raise InputError(
            f"'{place}' is one run, and going back needs all folds of a cross-validation; give the folder above them, "
            "which 'mu-monai train --folds' wrote, or leave --folds out if there is none"
        )
    runs = [path for path in sorted(folder.glob(f"{FOLD}*")) if is_run(path)] if folder.is_dir() else []
    if len(runs) > 1:
        return [_of_run(run) for run in runs]
    validated = _validated(folder)
    if validated:
        return _of_results(folder, validated)
    raise InputError(
        f"'{place}' holds {len(runs)} runs called fold-0, fold-1 ..., no {SPLITS_JSON} and no fold_0/{_VALIDATION}; "
        "give the folder that 'mu-monai train --folds' wrote, nnU-Net's folder of a data set or of results, or the "
        "datalist of Auto3DSeg"
    )


def _of_run(run: Path) -> Fold:
    record = open_run(run).record
    beside = run.with_suffix(".json")  # where it is if the folder was moved
    split = read_split(beside if beside.is_file() else record.split.file)
    if split.sha256 != record.sha256.split:
        raise InputError(f"'{split.path}' is not the split that '{run}' was trained with; put the original file back")
    trained = {digest for subset in record.subsets for digest in split.digests(subset).values()}
    return Fold(name=run.name, run=run, trained=frozenset(trained))


def _listed(file: Path) -> list[Fold]:
    """The folds that a file lists: a list of nnU-Net's, or a datalist of Auto3DSeg."""
    content = read_json(file)
    if isinstance(content, dict):
        return _of_datalist(file, read_json(file, {_TRAINING: [dict]})[_TRAINING])
    parts = read_json(file, [{"train": [str], "val": [str]}])
    raise_if_any(
        f"fold {number} of '{file}' both trains on and validates {case!r}; restore the file that nnU-Net wrote"
        for number, part in enumerate(parts)
        for case in sorted({*part["train"]} & {*part["val"]})
    )
    return [
        Fold(name=f"fold {number}", trained=frozenset(part["train"]), trainer=_NNUNET)
        for number, part in enumerate(parts)
    ]


def _of_datalist(file: Path, entries: Sequence[Mapping[str, Any]]) -> list[Fold]:
    """Auto3DSeg trains the model of a fold on the entries that have another `fold`, or none."""
    raise_if_any(_datalist_problems(file, entries))
    numbers = sorted({entry["fold"] for entry in entries if "fold" in entry})
    return [
        Fold(
            name=f"fold {number}",
            trained=frozenset(name for entry in entries if entry.get("fold") != number for name in _names(entry)),
            trainer=_AUTO3DSEG,
        )
        for number in numbers
    ]


def _datalist_problems(file: Path, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    folds: dict[str, Any] = {}
    for number, entry in enumerate(entries, start=1):
        names, fold = _names(entry), entry.get("fold")
        if not names:
            yield f"'{file}', training, entry {number}: {IMAGE!r} is not the name of a file, or a list of names"
        if fold is not None and type(fold) is not int:
            yield f"'{file}', training, entry {number}: fold {fold!r} is not a whole number"
        other = [name for name in names if folds.setdefault(name, fold) != fold]
        if other:
            yield f"'{file}', training: {other[0]!r} is in two folds; which of its images is meant cannot be told"
    if len({fold for fold in folds.values() if fold is not None}) < 2:
        yield f"'{file}' has no two folds: its entries need a 'fold', as Auto3DSeg writes them into its own copy of it"


def _names(entry: Mapping[str, Any]) -> list[str]:
    images = entry.get(IMAGE)
    images = images if isinstance(images, list) else [images]
    return [stem_of(image) for image in images] if all(isinstance(image, str) for image in images) else []


def _validated(folder: Path) -> dict[int, Path]:
    """The folders of what each fold of nnU-Net predicted for its validation, by the number of the fold."""
    found = folder.glob(f"fold_*/{_VALIDATION}") if folder.is_dir() else []
    numbered = {_OF_NNUNET.fullmatch(path.parent.name): path for path in found}
    return {int(match[1]): path for match, path in sorted(numbered.items(), key=str) if match is not None}


def _of_results(folder: Path, validated: Mapping[int, Path]) -> list[Fold]:
    """Each model was trained on what the others validated, if together they validated all cases."""
    about = read_json(folder / DATASET_JSON, {"numTraining": int, "file_ending": str})
    ending, number = about["file_ending"], about["numTraining"]
    held = {
        fold: {path.name.removesuffix(ending) for path in place.iterdir() if path.name.endswith(ending)}
        for fold, place in validated.items()
    }
    cases = {case for names in held.values() for case in names}
    raise_if_any(_result_problems(folder, held, cases, number))
    return [
        Fold(name=f"fold {fold}", trained=frozenset(cases - names), trainer=_NNUNET) for fold, names in held.items()
    ]


def _result_problems(folder: Path, held: Mapping[int, set[str]], cases: set[str], number: int) -> Iterator[str]:
    if len(cases) != number:
        yield (
            f"the folds {', '.join(map(str, held))} in '{folder}' validated {len(cases)} cases of {number}, so that "
            f"who else was trained on cannot be told; give {SPLITS_JSON}, or finish the validation of all folds"
        )
    twice = sorted(case for case in cases if sum(case in names for names in held.values()) > 1)
    if twice:
        yield (
            f"{len(twice)} cases in '{folder}' were validated by several folds, such as {twice[0]!r}: these are not of "
            f"one cross-validation; give the {SPLITS_JSON} of the one that is meant"
        )
