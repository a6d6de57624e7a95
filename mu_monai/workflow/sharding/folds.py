"""Folds: models of a cross-validation, so that every patient has one that never saw it; and going back to that."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mu_monai.adapters import read_weights
from mu_monai.adapters.rewriting import own_weights_problems
from mu_monai.bundle.config import parse_settings, run_config
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import STRANGER, Trust
from mu_monai.data import Split, read_split, write_split
from mu_monai.data.case_files import image_files
from mu_monai.data.shards import Case, members_sha256, only, sharded
from mu_monai.errors import InputError, collect, raise_if_any
from mu_monai.keys import (
    CASE_ID,
    CONFIG_JSON,
    FORGET,
    IMAGE,
    MODEL_PT,
    PATIENT_ID,
    RETAIN,
    TEST,
    TRAINING_SUBSETS,
    VALIDATION,
)
from mu_monai.lock import writes
from mu_monai.methods.rollback import Rollback
from mu_monai.runs import is_finished, read_record
from mu_monai.runs.record import training_passes
from mu_monai.workflow.bundling.trying import label_problems, tried
from mu_monai.workflow.checks import device_problems, place_problems, reading_problems, usable_split
from mu_monai.workflow.evaluating import scored_instead
from mu_monai.workflow.recipe import budget_options, budget_problems, gone_unsupported
from mu_monai.workflow.sharding.fitting import trained_otherwise
from mu_monai.workflow.sharding.taking import taking
from mu_monai.workflow.sharding.trained_folds import FOLD, Fold, find_folds
from mu_monai.workflow.trained_alike import complete
from mu_monai.workflow.training import prepared, train

logger = logging.getLogger(__name__)


@writes("out")
def train_folds(
    bundle: str | Path,
    *,
    split: str | Path | None,
    folds: int,
    out: str | Path,
    subsets: Sequence[str] = TRAINING_SUBSETS,
    settings: Sequence[str] = (),
    overlays: Sequence[str] = (),
    resume: bool = False,
    device: str | None = None,
    quiet: bool = False,
) -> list[Path]:
    """Cross-validate: train a model per fold of the patients to train on, each without its own fold.

    A keyed hash of the patient id chooses the fold, so that removing a patient moves nobody else. A fold's own patients
    are held out for validation, beside those of the split. In the split of a fold, all that is trained on is `retain`.

    Args:
        bundle: folder, or name of a shipped bundle.
        split: a `split.json`.
        folds: how many folds, at least 2.
        out: the folder of the runs to make, `fold-0`, `fold-1` ..., with the split of each, `fold-0.json` ...
        subsets: what to train on: `retain` and `forget`, or `retain`; cases of another one are in no fold.
        settings: `KEY=VALUE` overrides of config ids.
        overlays: config files laid over the bundle's, by path or by name in its `configs/`.
        resume: continue where it was interrupted.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        quiet: no progress bar.

    Returns:
        the run folders.

    Raises:
        InputError: every problem of the input, before anything is trained; with `resume`, another split, seed, number
            of folds or subsets than before, or other settings than those of a finished fold.
    """
    out = Path(out)
    config, opened, problems = prepared(
        bundle,
        split=split,
        options={"run_dir": str(out), "subsets": list(subsets), "quiet": quiet},
        settings=parse_settings(settings),
        overlays=overlays,
        device=device,
    )
    problems += ["cross-validation needs a split (--split)"] if split is None else []
    problems += [f"--folds {folds} is not allowed; use at least 2"] if folds < 2 else []
    if not resume and out.is_dir() and any(out.iterdir()):
        problems.append(f"the folder '{out}' exists; give another one, remove it, or continue it with --resume")
    raise_if_any(problems or label_problems(tried(config), config))
    assert opened is not None
    seed = int(config.read().get("seed") or 0)
    parts = sharded(opened, subsets, number=folds, seed=seed)
    trained = TRAINING_SUBSETS if FORGET in subsets else (RETAIN,)  # says whether the models are teachers
    config.lay("options", {"subsets": list(trained)})
    raise_if_any([*_empty(parts, folds), *_in_several(opened, parts)])
    splits = {out / f"{FOLD}{number}.json": _without(opened, parts, str(number)) for number in range(folds)}
    raise_if_any(collect(lambda: _other_folds(out, opened, splits), lambda: _other_settings(splits, config)))
    runs = []
    for number, (file, cases) in enumerate(splits.items()):
        run = file.with_suffix("")
        if not file.is_file():  # one that is there has the same cases, and the digest of it is in its run
            write_split(file, only(opened, cases))
        held_out = {case[PATIENT_ID] for case in cases[VALIDATION]}
        logger.info("fold %d of %d: %d patients are held out", number, folds, len(held_out))

        def make(folder: Path, again: bool, file: Path = file) -> object:
            return train(
                bundle,
                split=file,
                out=folder,
                subsets=trained,
                settings=settings,
                overlays=overlays,
                resume=again,
                device=device,
                quiet=quiet,
            )

        complete(run, make)
        runs.append(run)
    return runs


def _empty(parts: Mapping[str, Sequence[Case]], folds: int) -> Iterator[str]:
    """Why folds hold nobody."""
    for number in range(folds):
        if str(number) not in parts:
            yield (
                f"fold {number} of {folds} holds nobody, since a hash of the {len(_patients(parts))} patients chooses; "
                "use fewer folds, or another seed"
            )


def _in_several(split: Split, parts: Mapping[str, Sequence[Case]]) -> Iterator[str]:
    """Images of patients of different folds, on which a model would be trained that should never have seen them."""
    digests = split.file_digests
    holders: dict[str, dict[str, Case]] = {}
    for number, part in parts.items():
        for case in part:
            for file in image_files(case[IMAGE]):
                holders.setdefault(digests[file], {}).setdefault(number, case)
    for digest, cases in holders.items():
        if len(cases) > 1:
            who = ", ".join(
                f"case '{case[CASE_ID]}' of patient '{case[PATIENT_ID]}' in fold {number}"
                for number, case in cases.items()
            )
            yield (
                f"the image with SHA-256 {digest} is in several folds ({who}), so that holding one out holds nothing "
                "back; give copies one patient_id, or make the split with --on-duplicates drop"
            )


def _without(split: Split, parts: Mapping[str, Sequence[Case]], number: str) -> dict[str, Sequence[Case]]:
    """The cases of each subset in the split of a fold, which holds out its own part."""
    others = [case for name, part in parts.items() if name != number for case in part]
    return {RETAIN: others, VALIDATION: [*parts[number], *split.located[VALIDATION]], TEST: split.located[TEST]}


def _other_folds(out: Path, split: Split, splits: Mapping[Path, Mapping[str, Sequence[Case]]]) -> Iterator[str]:
    """Why an interrupted cross-validation cannot be continued: the splits in its folder are of other folds."""
    there = sorted(out.glob(f"{FOLD}*.json"))
    other = [file.name for file in there if file not in splits or not _holds(file, split, splits[file])]
    if other:
        yield (
            f"'{out}' was begun with another split, seed or number of folds than --folds {len(splits)} of "
            f"'{split.path}', or with other --subsets ({', '.join(other)} would be different); resume with the same, "
            "or give a new folder"
        )


def _holds(file: Path, split: Split, subsets: Mapping[str, Sequence[Case]]) -> bool:
    """Whether a split file holds these cases of a split."""
    found = read_split(file)
    return all(members_sha256(found, found.located[name]) == members_sha256(split, subsets[name]) for name in subsets)


def _other_settings(splits: Iterable[Path], config: LayeredConfig) -> Iterator[str]:
    """Why the folds that are finished were not trained like those to come: the config ids that differ."""
    for run in (file.with_suffix("") for file in splits):
        if is_finished(run):
            yield from trained_otherwise(run / CONFIG_JSON, config)
            return


def _patients(parts: Mapping[str, Sequence[Mapping[str, object]]]) -> set[object]:
    return {case[PATIENT_ID] for part in parts.values() for case in part}


@writes("out")
def rollback(
    folds: str | Path,
    *,
    split: str | Path,
    out: str | Path,
    teacher: str | Path | None = None,
    budget: float | None = None,
    forget_images_gone: bool = False,
    plan: bool = False,
    resume: bool = False,
    device: str | None = None,
    quiet: bool = False,
    trust: Trust = STRANGER,
) -> Path:
    """Go back to the model of a fold that never saw the split's forget cases, as a run like any other.

    Args:
        folds: the folder of the runs of a cross-validation; with `plan`, also one of nnU-Net or Auto3DSeg, see
            `find_folds`.
        split: a `split.json` made from that of the cross-validation.
        out: the run folder to make.
        teacher: the run that is in use now, for comparison; by default the first fold that was trained on all of the
            forgotten.
        budget: train the fold's model on with retained cases, for at most this share of its own training, in [0, 1].
        forget_images_gone: the images of the forget cases no longer exist, or must not be opened.
        plan: only say which fold never saw them; `out` is not made.
        resume: continue an interrupted run.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        quiet: no progress bar.
        trust: how far the runs are trusted.

    Returns:
        the run folder.

    Raises:
        InputError: every problem of the input: no fold that never saw all of them, with who stands in the way and what
            is next best; cases that no fold was trained on; folds that overlap; a fold that was trained on cases that
            the split holds out, or does not have; a network that cannot be built here.
    """
    if resume and not plan and scored_instead(out, device, trust, split=split, teacher=teacher):
        return Path(out)
    found = find_folds(folds)
    opened, broken = usable_split(split, TRAINING_SUBSETS, forget_images_gone=forget_images_gone)
    raise_if_any(broken)
    assert opened is not None
    clean = _clean(found, opened)
    raise_if_any(_known_besides(clean, opened))
    number = len(opened.patients(FORGET))
    logger.info("%s never saw the %d patient%s to forget", clean.name, number, "" if number == 1 else "s")
    if plan:
        _tell(clean, budget)
        return Path(out)
    if clean.run is None:
        raise InputError(
            f"{clean.name} never saw the forgotten, but its network cannot be built here, {clean.trainer.instead}, "
            "or use --plan, which only tells"
        )
    record = read_record(clean.run)
    bundle = trust.bundle_of(record)
    used = teacher or next(fold.run for fold in found if fold is not clean and fold.run is not None)
    config = taking(
        Rollback,
        {"weights": str(clean.run.resolve())},
        bundle=bundle,
        split=opened,
        teacher=used,
        out=Path(out),
        trust=trust,
        gone=forget_images_gone,
        device=device,
        quiet=quiet,
        resume=resume,
    )
    whole, weights = training_passes(clean.run), clean.run / MODEL_PT
    config.lay("options", budget_options(budget, Rollback, whole, config))
    raise_if_any(
        collect(
            lambda: place_problems({"--out": out, "--split": split, "--folds": folds, "--teacher": teacher}),
            lambda: device_problems(device),
            lambda: reading_problems(opened, config),
            lambda: gone_unsupported(config.read("recipe")) if forget_images_gone else [],
            lambda: budget_problems(budget, whole, clean.run),
            lambda: own_weights_problems(read_weights(weights)),
        )
        or label_problems(tried(config), config)
    )
    run_config(config.files, config.overrides)
    return Path(out)


def _tell(clean: Fold, budget: float | None) -> None:
    """Say what going back to a fold takes, and what it does not cover."""
    if clean.run is None:
        logger.info("%s", clean.trainer.not_covered)
        return
    whole = training_passes(clean.run)
    if not budget:
        logger.info("the run would take no training: its weights are there, and every case is scored")
    elif whole is not None:
        logger.info(
            "the run would take at most %d sample passes (%.1f %% of the fold's own training)",
            int(budget * whole),
            100 * budget,
        )
    logger.info("%s", clean.trainer.not_covered)


def _clean(folds: Sequence[Fold], split: Split) -> Fold:
    """The fold that was trained on none of the forgotten."""
    digests = split.digests(FORGET)
    names = {case[CASE_ID]: {digests[case[CASE_ID]], case[CASE_ID]} for case in split.rows[FORGET]}
    saw = {fold.name: {case for case, known in names.items() if known & fold.trained} for fold in folds}
    raise_if_any(_strange(folds, names, saw))
    clean = next((fold for fold in folds if not saw[fold.name]), None)
    if clean is not None:
        return clean
    of = {case[CASE_ID]: case[PATIENT_ID] for case in split.rows[FORGET]}
    people = {name: sorted({of[case] for case in cases}) for name, cases in saw.items()}
    best = min(folds, key=lambda fold: len(people[fold.name]))
    how = "with what trained it" if best.run is None else f"(mu-monai unlearn BUNDLE --teacher {best.run} ...)"
    raise InputError(
        [
            *(f"{name} was trained on patients to forget: {', '.join(known)}" for name, known in people.items()),
            f"no single fold is clean; next best is {best.name}, with the fewest of them ({len(people[best.name])}): "
            f"unlearn these from it {how}, or retrain",
        ]
    )


def _known_besides(fold: Fold, split: Split) -> Iterator[str]:
    """What a fold's model would still know besides the retained cases of a split."""
    if fold.run is None:  # its model is not made into a run here
        return
    held = {digest: case for name in (VALIDATION, TEST) for case, digest in split.digests(name).items()}
    strange = fold.trained - held.keys() - {*split.digests(RETAIN).values()}
    told = {
        "cases that the split holds out": [f"'{held[digest]}'" for digest in sorted(fold.trained & held.keys())],
        "images that the split does not have": [f"that with the SHA-256 {digest}" for digest in sorted(strange)],
    }
    for what, known in told.items():
        if known:
            yield (
                f"{fold.name} was trained on {what} (such as {known[0]}, {len(known)} in all): make the split from "
                "that of the cross-validation, and forget there whom the model must not know; a ledger that goes back "
                "to folds begins with a model of their whole split"
            )


def _strange(folds: Sequence[Fold], names: Mapping[str, set[str]], saw: Mapping[str, set[str]]) -> Iterator[str]:
    """Cases that no fold was trained on, or that several held out, which is not a cross-validation."""
    for case in names:
        without = [fold.name for fold in folds if case not in saw[fold.name]]
        if len(without) == len(folds):
            known = "" if folds[0].run is not None else " under this id; correct it if it has another one there, or"
            yield f"case '{case}' is to be forgotten, but no fold was trained on it{known or ';'} leave it out"
        elif len(without) > 1:
            yield (
                f"case '{case}' is held out in {', '.join(without)}: the folds overlap, so they are not of one "
                "cross-validation; give the folder of one"
            )
