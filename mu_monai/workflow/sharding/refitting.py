"""Forget exactly: train the shards that hold the forgotten again without them, and take the average anew."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mu_monai.adapters.averaging import base_problems
from mu_monai.bundle import Bundle, open_bundle
from mu_monai.bundle.config import run_config
from mu_monai.bundle.layers import LayeredConfig
from mu_monai.bundle.trust import SEPARATOR, STRANGER, Trust
from mu_monai.data import Split, read_split, write_split
from mu_monai.data.shards import Case, members_sha256, only
from mu_monai.errors import InputError, collect, raise_if_any
from mu_monai.files import whole_folder
from mu_monai.keys import (
    BASE_PT,
    CASE_ID,
    CONFIG_JSON,
    FORGET,
    MODEL_PT,
    RETAIN,
    SHARDS_DIR,
    SHARDS_JSON,
    SUBSET,
    SUBSETS,
    TRAINING_SUBSETS,
)
from mu_monai.lock import writes
from mu_monai.methods.shard_refit import ShardRefit, base_warning
from mu_monai.runs import RunRecord, open_run, read_record
from mu_monai.runs.shards import (
    Shard,
    Shards,
    adapter_problems,
    has_shards,
    read_shards,
    shard_folder,
    shard_split,
    write_shards,
)
from mu_monai.runs.stamp import package_versions
from mu_monai.workflow.bundling.trying import label_problems, tried
from mu_monai.workflow.checks import device_problems, place_problems, reading_problems, usable_split
from mu_monai.workflow.evaluating import scored_instead
from mu_monai.workflow.recipe import gone_unsupported
from mu_monai.workflow.sharding.fitting import Fitting
from mu_monai.workflow.sharding.taking import taking
from mu_monai.workflow.sharding.training import out_problems, shard_of, write_base
from mu_monai.workflow.trained_alike import changed_settings

_USED = (MODEL_PT, CONFIG_JSON, BASE_PT, SHARDS_JSON, SHARDS_DIR)
_DECIDING = ("torch", "monai", "peft", "numpy")  # packages whose versions may change the last digits of a training
_FROM_ITS_OWN = "make the split from the run's own, which keeps case ids: mu-monai split SPLIT --forget-ids ..."
# The digest of a case's image, and its id: copies of an image are cases of their own, as with a second reader's mask.
Member = tuple[str, str]
logger = logging.getLogger(__name__)


@writes("out")
def unlearn_exactly(
    bundle: str | Path,
    *,
    split: str | Path | None,
    teacher: str | Path | None,
    out: str | Path,
    forget_images_gone: bool = False,
    overlays: Sequence[str] = (),
    plan: bool = False,
    resume: bool = False,
    device: str | None = None,
    quiet: bool = False,
    trust: Trust = STRANGER,
) -> Path:
    """Forget the split's forget cases exactly: the model is the one that a training in shards without them gives.

    Only the shards that hold a forgotten case are trained again, each as before but without it; one that holds nobody
    else is dropped. On the same machine and versions, the result is equal bit for bit to `train_shards` without the
    forgotten. What the base itself learned from them stays.

    Args:
        bundle: folder, or name of a shipped bundle.
        split: a `split.json` made from that of the run, with all cases that the shards were trained on.
        teacher: the run of `train_shards`, or one of this function, for a further request.
        out: the run folder to make.
        forget_images_gone: the images of the forget cases no longer exist, or must not be opened.
        overlays: config files laid over the bundle's, if the shards were trained with some that hold more than data.
        plan: only say which shards would be trained again, and at what cost; `out` is not made.
        resume: continue an interrupted run.
        device: such as `cpu` or `cuda:0`; by default a GPU if there is one.
        quiet: no progress bar.
        trust: how far the teacher's run is trusted.

    Returns:
        the run folder, a run like any other.

    Raises:
        InputError: every problem of the input, before anything is trained: a base or shard that is not that of its
            digest, a request for cases that no shard was trained on, cases that are retained and are in no shard, or
            a config under which shards would be trained otherwise than before.

    Source:
        Bourtoule et al., *Machine Unlearning* (SISA, arXiv 1912.03817); Dukler et al., *SAFE* (arXiv 2304.13169).
    """
    source = open_bundle(bundle)
    trained = LayeredConfig(source, "train", overlays=overlays)
    trust = trained.trusted(trust)  # what the overlays say of the model is taken from its run, if it is the same there
    if resume and scored_instead(out, device, trust, split=split, teacher=teacher):
        return Path(out)
    if split is None or teacher is None:
        raise InputError("--exact needs --teacher, a run that was trained in shards, and --split with whom to forget")
    out, folder = Path(out), Path(teacher)
    before, record = read_shards(folder), open_run(folder, *_USED).record
    gone = forget_images_gone
    opened, broken = usable_split(split, TRAINING_SUBSETS, forget_images_gone=gone)
    raise_if_any(
        collect(
            lambda: broken,
            lambda: base_problems(folder, before),
            lambda: adapter_problems(folder, before.shards),
            lambda: out_problems(out, resume),
            lambda: place_problems({"--out": out, "--split": split, "--teacher": teacher, "BUNDLE": source.place}),
            lambda: device_problems(device),
        )
    )
    assert opened is not None
    request = Request.of(folder, before, opened)
    raise_if_any(request.problems())
    fitting = _as_before(trained, folder, before, opened, trust, device=device, quiet=quiet)
    raise_if_any(fitting.problems(folder, out, before.shards) if not trust.config else ())
    after = request.after()
    _tell(before, after, record)
    if plan:
        return out
    config = _average(source, opened, folder, out, trust, gone=gone, device=device, quiet=quiet)
    raise_if_any(
        collect(
            lambda: reading_problems(opened, config),
            lambda: gone_unsupported(config.read("recipe")) if gone else [],
            lambda: _other_request(out, after) if resume else [],
        )
        or label_problems(tried(config), config)
    )
    fitting.fit_all(out, _prepared(out, folder, request, after))
    run_config(config.files, config.overrides)
    return out


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a split asks of a model that was trained in shards.

    Args:
        before: the shards.
        split: the split with the cases to forget.
        members: the cases that each shard was trained on, in their order.
    """

    before: Shards
    split: Split
    members: Mapping[str, Sequence[Member]]

    @classmethod
    def of(cls, folder: Path, before: Shards, split: Split) -> Request:
        """The request of a split to the model in a run folder."""
        own = {shard.name: read_split(shard_split(folder, shard)).digests(RETAIN) for shard in before.shards}
        members = {name: [(digest, case) for case, digest in cases.items()] for name, cases in own.items()}
        return cls(before=before, split=split, members=members)

    def cases(self, *subsets: str) -> dict[Member, Case]:
        """The cases of subsets."""
        digests = {name: self.split.digests(name) for name in subsets}
        located = [(digests[name], case) for name in subsets for case in self.split.located[name]]
        return {(known[case[CASE_ID]], case[CASE_ID]): case for known, case in located}

    def left(self, name: str, *subsets: str) -> list[Case]:
        """The cases of a shard that are in one of the subsets, in the order of its training."""
        cases = self.cases(*subsets)
        return [cases[member] for member in self.members[name] if member in cases]

    def problems(self) -> Iterator[str]:
        """Why the request cannot be answered."""
        known = {member for members in self.members.values() for member in members}
        forget, removed = self.cases(FORGET), set(self.before.removed)
        for digest, case in forget:
            if (digest, case) not in known and digest not in removed:
                yield f"case '{case}' is to be forgotten, but no shard was trained on it; leave it out"
        if {digest for digest, _ in forget} <= removed:
            yield "all cases to forget were taken out by earlier requests, so there is nothing to do"
        for digest, case in self.cases(RETAIN):
            if digest in removed:
                yield (
                    f"case '{case}' is to be retained, but an earlier request took it out; make the split from that of "
                    "the earlier request, which then forgets both"
                )
            elif (digest, case) not in known:
                yield f"case '{case}' is to be retained, but no shard was trained on it; {_FROM_ITS_OWN}"
        yield from self._misplaced()

    def _misplaced(self) -> Iterator[str]:
        """Members of shards that are held out or missing in the split, or whose files are others now."""
        everywhere = self.cases(*SUBSETS)
        for shard in self.before.shards:
            members = self.members[shard.name]
            places = {member: everywhere.get(member, {}).get(SUBSET, "no subset") for member in members}
            away = {case: place for (_, case), place in places.items() if place not in TRAINING_SUBSETS}
            for case, place in away.items():
                yield (
                    f"case '{case}' is in {place} of the split, but shard '{shard.name}' was trained on it; "
                    f"{_FROM_ITS_OWN}"
                )
            if not away and members_sha256(self.split, self.left(shard.name, *TRAINING_SUBSETS)) != shard.members:
                yield (
                    f"images or labels of shard '{shard.name}' are not those that it was trained on; put them back, "
                    "and make the split from the run's own"
                )

    def after(self) -> Shards:
        """The shards without the forgotten; those that have to be trained again have no adapters yet."""
        forgotten, shards = {digest for digest, _ in self.cases(FORGET)}, list[Shard]()
        for shard in self.before.shards:
            left = self.left(shard.name, RETAIN)
            if len(left) == shard.cases:
                shards.append(replace(shard, fitted=False))
            elif left:
                shards.append(shard_of(self.split, shard.name, left))
        removed = tuple(sorted({*self.before.removed, *forgotten}))
        return replace(self.before, shards=tuple(shards), removed=removed)


def _as_before(
    trained: LayeredConfig,
    folder: Path,
    shards: Shards,
    split: Split,
    trust: Trust,
    *,
    device: str | None,
    quiet: bool,
) -> Fitting:
    """How the shards of a run were trained, from the config of one of them; all have the same."""
    training = shard_folder(folder, shards.shards[0])
    return Fitting(
        bundle=trained.bundle,
        split=split,
        inherited=changed_settings(training, read_record(training), "train", trust, trained.overlays),
        settings={"seed": shards.seed},
        overlays=trained.overlays,
        device=device,
        quiet=quiet,
    )


def _tell(before: Shards, after: Shards, record: RunRecord) -> None:
    """Say what is trained again and at what cost, and what could make the result other than exact."""
    left = {shard.name for shard in after.shards}
    refit = [shard.name for shard in after.shards if shard.adapter is None]
    dropped = [shard.name for shard in before.shards if shard.name not in left]
    cost = sum(shard.passes or 0 for shard in before.shards if shard.name in refit)
    logger.info(
        "%d of %d shards are trained again (%s)%s: at most %.1f %% of all shards' training",
        len(refit),
        len(before.shards),
        ", ".join(refit) or "none",
        f", and {len(dropped)} dropped, since nobody is left in it ({', '.join(dropped)})" if dropped else "",
        100 * cost / before.passes if before.passes else 0,
    )
    if base_warning(after):
        logger.warning("%s", base_warning(after))
    now = package_versions(*_DECIDING)
    other = [f"{name} {record.versions[name]}" for name in now if record.versions.get(name, now[name]) != now[name]]
    if other:
        logger.warning(
            "the shards were trained with other versions (%s): those that are trained again never see the forgotten "
            "either, but may differ in the last digits from what a training then would have given",
            ", ".join(other),
        )


def _other_request(out: Path, after: Shards) -> list[str]:
    """Why an interrupted run cannot be continued."""
    before = read_shards(out)
    names = [[(shard.name, shard.members) for shard in each.shards] for each in (before, after)]
    if before.removed == after.removed and names[0] == names[1]:
        return []
    return [f"'{out}' was started with another request; resume with the same split and teacher, or start a new run"]


def _prepared(out: Path, folder: Path, request: Request, after: Shards) -> Shards:
    """Write into a run folder all that is needed to go on: base, members, and the shards that stay as they are."""
    if has_shards(out):
        after = read_shards(out)
    else:
        write_shards(out, after)
    write_base(out, folder / BASE_PT)
    for shard in after.shards:
        write_split(shard_split(out, shard), only(request.split, {RETAIN: request.left(shard.name, RETAIN)}))
        if not shard.fitted and not shard_folder(out, shard).is_dir():
            with whole_folder(shard_folder(out, shard)) as place:
                shutil.copytree(shard_folder(folder, shard), place, dirs_exist_ok=True)
    return after


def _average(
    bundle: Bundle,
    split: Split,
    teacher: Path,
    out: Path,
    trust: Trust,
    *,
    gone: bool,
    device: str | None,
    quiet: bool,
) -> LayeredConfig:
    """The unlearning run that takes the average of the shards in its own folder."""
    config = taking(
        ShardRefit,
        {"shards": str(out.resolve())},
        bundle=bundle,
        split=split,
        teacher=teacher,
        out=out,
        trust=trust,
        gone=gone,
        device=device,
        quiet=quiet,
    )
    config.lay("options", {f"run_folder{SEPARATOR}shards": True})
    return config
