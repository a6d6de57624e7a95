"""Train a model as an average of adapters, one set per shard of patients, on a frozen base."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mu_monai.adapters import read_weights, weights_sha256, write_tensors
from mu_monai.adapters.averaging import base_problems
from mu_monai.bundle.config import parse_settings, run_config, unknown_ids
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import SEPARATOR, inherited
from mu_monai.data import Split, write_split
from mu_monai.data.shards import Case, members_sha256, only, sharded
from mu_monai.errors import collect, raise_if_any
from mu_monai.keys import BASE_PT, PATIENT_ID, RETAIN, SUBSETS, TEST, TRAINING_SUBSETS, VALIDATION
from mu_monai.lock import writes
from mu_monai.methods.shard_refit import base_warning
from mu_monai.runs import is_run, read_record, run_of
from mu_monai.runs.shards import Shard, Shards, has_shards, read_shards, shard_split, write_shards
from mu_monai.workflow.bundling.trying import label_problems, tried
from mu_monai.workflow.checks import number_problems, place_problems, weight_problems
from mu_monai.workflow.evaluating import scored_instead
from mu_monai.workflow.moved import own_split
from mu_monai.workflow.sharding.fitting import Fitting, announce
from mu_monai.workflow.training import prepared
from mu_monai.workflow.unlearning import teacher_file

_ADAPTERS = f"network{SEPARATOR}"
logger = logging.getLogger(__name__)


@writes("out")
def train_shards(
    bundle: str | Path,
    *,
    split: str | Path | None,
    base: str | Path | None,
    out: str | Path,
    shards: int | None = None,
    shard_by: str | None = None,
    subsets: Sequence[str] = TRAINING_SUBSETS,
    settings: Sequence[str] = (),
    overlays: Sequence[str] = (),
    resume: bool = False,
    device: str | None = None,
    quiet: bool = False,
) -> Path:
    """Train adapters for every shard of patients on a frozen base, and average them into one network.

    Each shard's adapters are a function of the base, its own cases in the order of their ids, and the seed. A keyed
    hash of the patient id, or the value of a column, chooses the shard of a patient: removing one moves nobody else.
    The result is a run like any other.

    Args:
        bundle: folder, or name of a shipped bundle.
        split: a `split.json`.
        base: a run folder or weights file whose network stays as it is; best trained on nobody who may withdraw.
        out: the run folder to make.
        shards: how many shards; None for one per value of `shard_by`.
        shard_by: the column of the split whose value decides instead of the patient id.
        subsets: what to train on: `retain` and `forget`, or `retain`.
        settings: `KEY=VALUE` overrides of config ids; those of `network` are of the adapters.
        overlays: config files laid over the bundle's, by path or by name in its `configs/`.
        resume: continue an interrupted run.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        quiet: no progress bar.

    Returns:
        the run folder.

    Raises:
        InputError: every problem of the input, before anything is trained.

    Source:
        Bourtoule et al., *Machine Unlearning* (SISA, arXiv 1912.03817); Dukler et al., *SAFE* (arXiv 2304.13169).
    """
    out, given = Path(out), parse_settings(settings)
    config, opened, problems = prepared(
        bundle,
        split=split,
        options={"run_dir": str(out), "subsets": list(subsets), "quiet": quiet},
        settings={key: value for key, value in given.items() if not key.startswith(_ADAPTERS)},
        overlays=overlays,
        device=device,
    )
    problems += _choice_problems(split, base, shards, shard_by)
    if resume and not problems and scored_instead(out, device, config.trusted(), split=split):
        return out
    problems += out_problems(out, resume)
    raise_if_any(problems or place_problems({"--base": base}))
    assert opened is not None
    assert base is not None
    weights, parts = teacher_file(base), sharded(opened, subsets, number=shards, by=shard_by, seed=_seed(config))
    config.lay("run", inherited(base, config.bundle, overlays=config.overlays))
    fitting = Fitting(
        bundle=config.bundle,
        split=opened,
        inherited=config.laid("run"),
        settings=given,
        overlays=overlays,
        device=device,
        quiet=quiet,
    )
    known, saw = seen_by(base, opened)
    plan = Shards(
        base=weights_sha256(read_weights(weights)),
        base_known=known,
        base_saw=saw,
        seed=_seed(config),
        number=shards,
        by=shard_by,
        shards=tuple(shard_of(opened, name, cases) for name, cases in parts.items()),
    )
    before = read_shards(out) if has_shards(out) else None
    raise_if_any(
        collect(
            lambda: weight_problems(config.read(), weights),
            lambda: _setting_problems(fitting, out, plan.shards[0], given),
            lambda: [] if before is None else _other_plan(out, before, plan),
            lambda: [] if before is None else fitting.problems(out, out, plan.shards),
        )
        or label_problems(tried(config), config)
    )
    if before is None:
        write_shards(out, plan)
    write_base(out, weights)
    _warn_of_base(opened, plan, subsets)
    for shard in plan.shards:
        write_split(shard_split(out, shard), only(opened, {RETAIN: parts[shard.name]}))
    announce(fitting, out, plan)
    fitting.fit_all(out, before or plan)
    config.lay("recipe", average_recipe(config))
    run_config(config.files, config.overrides)
    return out


def _seed(config: LayeredConfig) -> int:
    return int(config.read().get("seed") or 0)


def out_problems(out: Path, resume: bool) -> Iterator[str]:
    """Why a run of shards cannot be written to a folder, or continued in it."""
    if resume and not has_shards(out):
        yield f"'{out}' holds no run of shards to resume; leave out --resume and give a new folder"
    if not resume and out.is_dir() and any(out.iterdir()):
        yield f"the run folder '{out}' exists; give another one, remove it, or continue it with --resume"
    if resume and is_run(out) and read_record(out).status == "finished":
        yield "the run is finished; leave out --resume and give a new folder to make another"


def _choice_problems(split: Any, base: Any, shards: int | None, shard_by: str | None) -> Iterator[str]:
    if split is None:
        yield "training in shards needs a split (--split)"
    if base is None:
        yield (
            "training in shards needs --base: the weights that all adapters belong to, such as public ones, or a run "
            "on cases that will not be withdrawn"
        )
    if shards is None and shard_by is None:
        yield "--base is for training in shards; say how many with --shards, or by which column with --shard-by"
    if shards is not None and shards < 1:
        yield f"--shards {shards} is not allowed; use a whole number of at least 1"


def _setting_problems(fitting: Fitting, out: Path, shard: Shard, given: Mapping[str, Any]) -> Iterator[str]:
    """Why settings are not known to the training of a shard, or would make it more than adapters."""
    config = fitting.config(out, shard)
    yield from unknown_ids(config.read("recipe"), list(given))
    yield from number_problems(given)
    network = config.read().get("network")
    for name, only_value in (("bn_mode", "eval"), ("trainable", "adapters")):
        if network.get(name, only_value) != only_value:
            yield (
                f"network#{name}={network[name]} cannot be averaged over shards, which change nothing but adapters; "
                f"leave it at {only_value}"
            )


def shard_of(split: Split, name: str, cases: Sequence[Case]) -> Shard:
    """A shard that is not trained yet."""
    people = {case[PATIENT_ID] for case in cases}
    return Shard(name=name, patients=len(people), cases=len(cases), members=members_sha256(split, cases))


def seen_by(base: str | Path, split: Split) -> tuple[bool, tuple[str, ...]]:
    """Whether it is known what a base was trained on, and the digests of a split's images that it was trained on.

    The same files are found, and not other images of the same patients. A run of shards has a base of its own, and what
    that was trained on is not in it.
    """
    folder = run_of(base)
    record = read_record(folder) if is_run(folder) else None
    trained = None if record is None else own_split(folder, record)
    if record is None or trained is None:
        return False, ()
    known = {digest for name in record.subsets for digest in trained.digests(name).values()}
    own = {digest for name in SUBSETS for digest in split.digests(name).values()}
    return not has_shards(folder), tuple(sorted(known & own))


def _warn_of_base(split: Split, shards: Shards, subsets: Sequence[str]) -> None:
    said, saw = base_warning(shards), set(shards.base_saw)
    if said:
        logger.warning("%s", said)
    seen = {name: len(set(split.digests(name).values()) & saw) for name in (*subsets, VALIDATION, TEST)}
    inside = {name: number for name, number in seen.items() if number}
    if inside:
        logger.warning(
            "THE BASE WAS ITSELF TRAINED ON CASES OF THIS SPLIT (%s): for these, forgetting is exact for the adapters "
            "only, and scores on validation and test tell nothing; take a base that never saw them",
            ", ".join(f"{number} of {name}" for name, number in inside.items()),
        )


def write_base(out: Path, weights: Path) -> None:
    """Keep the weights of the base in the run folder, since every later request needs them.

    Raises:
        InputError: if the folder has other ones than its `shards.json` names.
    """
    if (out / BASE_PT).is_file():
        raise_if_any(base_problems(out, read_shards(out)))
    else:
        write_tensors(out / BASE_PT, {name: value.contiguous() for name, value in read_weights(weights).items()})


def _other_plan(out: Path, before: Shards, now: Shards) -> Iterator[str]:
    """Why an interrupted run cannot be continued: what was other when it was started."""
    for name in ("base", "seed", "number", "by"):
        if getattr(before, name) != getattr(now, name):
            yield (
                f"the {name} of the shards was {getattr(before, name)} when '{out}' was started, and is now "
                f"{getattr(now, name)}; resume with the same, or start a new run"
            )
    if [(shard.name, shard.members) for shard in before.shards] != [
        (shard.name, shard.members) for shard in now.shards
    ]:
        yield f"the shards of '{out}' held other cases when it was started; resume with the same split, or start anew"


def average_recipe(config: LayeredConfig) -> dict[str, Any]:
    """What makes a training the average of the shards that its folder holds."""
    parser = config.read()
    take = {"_target_": "mu_monai.engine.TakeShards", "folder": "@run_dir"}
    milestones = {"milestones": 0} if "milestones" in parser else {}
    return {"handlers": [take, *parser.get("handlers")], f"run_folder{SEPARATOR}shards": True, **milestones}
