"""The run folder: everything that a training or unlearning run writes, and how it is resumed."""

from __future__ import annotations

import json
import logging
import math
import platform
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents

from mu_monai.adapters import Student, weights_sha256, write_tensors
from mu_monai.bundle.trust import used_otherwise
from mu_monai.engine.checkpoint import Resumable, has_checkpoint, restore_checkpoint, save_checkpoint
from mu_monai.engine.checks import self_checks
from mu_monai.engine.cost import PassCount, count_of, forget_peak_memory, peak_memory_mib, uncounted
from mu_monai.engine.curve import Curve, epoch_terms, record_term
from mu_monai.engine.mixed_precision import precision_of
from mu_monai.engine.running_config import beside, changed_ids, running_config
from mu_monai.engine.warnings import UNMEASURED, warn, warned
from mu_monai.errors import InputError, raise_if_any
from mu_monai.files import file_sha256, read_json, write_json
from mu_monai.keys import (
    ADAPTER_DIR,
    CHECKPOINTS_DIR,
    CONFIG_JSON,
    CURVE_CSV,
    FORGET,
    IMAGE,
    LOSS,
    MODEL_PT,
    RETRAINED,
    STUDENT,
    TEACHER,
)
from mu_monai.lock import writing
from mu_monai.precision import FULL
from mu_monai.processes import differing, is_first, processes, total
from mu_monai.runs import RunRecord, file_digests, is_complete, is_finished, is_run, read_record, write_record
from mu_monai.runs.error_log import log_error
from mu_monai.runs.origin import origin_of
from mu_monai.runs.record import (
    FAILED,
    FINISHED,
    GONE,
    INTERRUPTED,
    RUNNING,
    TRAIN,
    UNLEARN,
    Cost,
    Digests,
    MadeWith,
    OfMethod,
    Parameters,
    training_passes,
    unreadable,
)
from mu_monai.runs.stamp import command_line, package_versions, told_split

_KEPT = ("method", "seed", "subsets", "forget_classes", "forget_images", "parameters", "processes", "precision")
_PACKAGES = ("mu-monai", "torch", "monai", "pytorch-ignite", "peft", "numpy")
logger = logging.getLogger(__name__)


class Method(Resumable, Protocol):
    """What the run folder needs from an unlearning method."""

    selective: ClassVar[bool]

    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by name."""

    def measurements(self, engine: SupervisedTrainer) -> dict[str, Any]:
        """What it measures on the finished run."""


class RunFolder:
    """Writes a run folder while a `SupervisedTrainer` runs, and resumes the trainer from it.

    Attach it last: an epoch is saved after everything else that belongs to it has happened. Of several processes, the
    first one writes, and all resume.

    Args:
        folder: the run folder; it must not exist, unless the run is resumed.
        bundle: name, version and task of the bundle.
        split: path of the `split.json` in use.
        seed: the run's seed.
        subsets: the subsets that are trained on.
        method: the unlearning method; `None` for a training run.
        teacher: path of the starting weights; `None` for a training run.
        teacher_passes: the sample passes of the teacher's training, if its own record does not say them.
        preset: name of the preset that the method's settings came from; `None` if there was no preset.
        forget_classes: the classes of a mask that are unlearned, or that training treats as background.
        forget_images_gone: whether the images of the forget cases no longer exist.
        shards: whether the folder holds the shards that the run takes the average of, so that it exists.
        resume: continue from the folder's checkpoint.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        bundle: dict[str, str],
        split: str | Path,
        seed: int,
        subsets: list[str],
        method: Method | None = None,
        teacher: str | None = None,
        teacher_passes: int | None = None,
        preset: str | None = None,
        forget_classes: Sequence[str] = (),
        forget_images_gone: bool = False,
        shards: bool = False,
        resume: bool = False,
    ) -> None:
        self.folder, self.method, self.resume = Path(folder), method, resume
        self._shards = shards
        # absolute, since the run may be read from other working directories
        self.split, self.teacher = Path(split).absolute(), None if teacher is None else str(Path(teacher).absolute())
        self._told_passes = teacher_passes
        self.curve = Curve(self.folder / CURVE_CSV)
        self._probe: torch.Tensor | None = None  # an image for the self-checks
        self._count = PassCount()  # replaced by the trainer's when the run starts
        self._taken = Cost(passes=0, steps=0)  # by all processes, up to the last epoch
        self._cpu_seconds: float | None = None  # of all processes, and of the trainings that were taken
        self._clock = math.nan  # start of the run, without interruptions; NaN before it starts
        self._began = self._cpu_began = 0.0  # at attach, so that what methods do at the start counts
        self.run_record = RunRecord(
            verb=TRAIN if method is None else UNLEARN,
            status=RUNNING,
            role=role_of(subsets, forget_classes, unlearning=method is not None),
            bundle=MadeWith(**{key: bundle[key] for key in ("name", "version", "task", "root") if key in bundle}),
            subsets=tuple(subsets),
            forget_classes=tuple(forget_classes),
            forget_images=GONE if forget_images_gone else "",
            preset=preset,
            method=None
            if method is None
            else OfMethod(name=type(method).__name__, settings=method.settings(), **origin_of(type(method))),
            seed=seed,
        )
        if method is None and forget_images_gone and FORGET in subsets:
            raise InputError("forget_images_gone=true leaves no case of 'forget' to train on; set subsets=['retain']")
        self._lock = ExitStack()  # held from start to end of the trainer's run
        self._check_folder()

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the start, every iteration and epoch, the end and any exception of a run."""
        record = replace(self.run_record, max_epochs=engine.state.max_epochs)
        raise_if_any(f"a run's {text}; check the --set values and overlays" for text in unreadable(record))
        self._began, self._cpu_began = time.monotonic(), time.process_time()
        forget_peak_memory(engine.state.device)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        engine.add_event_handler(Events.COMPLETED, self._complete)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._exception)

    def _check_folder(self) -> None:
        existing = is_run(self.folder) or (self.folder.is_dir() and any(self.folder.iterdir()))
        if self._shards:  # an interrupted average is taken again
            existing = is_finished(self.folder)
        if self.resume:
            if not has_checkpoint(self.folder / CHECKPOINTS_DIR):
                raise InputError(f"'{self.folder}' holds no checkpoint to resume from: {_why_not(self.folder)}")
        elif existing and is_first():
            raise InputError(
                f"the run folder '{self.folder}' exists; give another one, remove it, or continue it with --resume"
            )

    def _start(self, engine: SupervisedTrainer) -> None:
        if is_first():
            self._lock.enter_context(writing(self.folder))
        self._check_folder()  # again: another command may have written to it in the meantime
        self._count = count_of(engine)
        network, config = engine.network, running_config()
        self._note(
            processes=processes(),
            max_epochs=engine.state.max_epochs,
            device=str(engine.state.device),
            precision=precision_of(engine),
            versions=package_versions(*_PACKAGES) | {"python": platform.python_version()},
            sha256=Digests(
                split=file_sha256(self.split),
                starting_weights=network.base_sha256
                if isinstance(network, Student)
                else weights_sha256(network.state_dict()),
            ),
            split=told_split(self.split),
            teacher=self.teacher,
            parameters=Parameters(**_parameters(network)),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=0.0,
            command=command_line(),
        )
        raise_if_any(differing({"the split": self.run_record.sha256.split}))
        if config and self.teacher:
            warn(engine, *used_otherwise(config, self.teacher))
        if self.resume:
            self._resume(engine, config)
        if config is not None and is_first():
            write_json(self.folder / CONFIG_JSON, config)
            digest = file_sha256(self.folder / CONFIG_JSON)
            self._note(sha256=replace(self.run_record.sha256, config=digest))
        self._clock = self._began - (self.run_record.seconds or 0.0)
        self._write()

    def _resume(self, engine: SupervisedTrainer, config: dict[str, Any] | None) -> None:
        record = read_record(self.folder)
        before, now = record.to_json(), json.loads(json.dumps(self.run_record.to_json()))  # as it will be read back
        for content in (before, now):  # the module of a method's class may change, and earlier versions do not store it
            content["processes"] = content["processes"] or 1
            content["precision"] = content.get("precision", FULL)
            kept = content["method"] and {key: content["method"][key] for key in ("name", "settings")}
            content["method"] = beside(kept, content.get("teacher"))
        problems = [
            f"the SHA-256 of {name} was {before['sha256'].get(name)} when '{self.folder}' was started, and is now "
            f"{now['sha256'][name]}; resume with the same, or start a new run"
            for name in ("split", "starting_weights")
            if before["sha256"].get(name) != now["sha256"][name]
        ]
        problems += [
            f"{name} was {before.get(name)} and is now {now.get(name)}; resume with the same, or start a new run"
            for name in _KEPT
            if before.get(name) != now.get(name)
        ]
        file = self.folder / CONFIG_JSON
        if config is not None and file.is_file() and before["processes"] == now["processes"]:  # else they differ by it
            problems += changed_ids(read_json(file, dict), config)
        raise_if_any(problems)
        restore_checkpoint(engine, self.folder / CHECKPOINTS_DIR, self.method)
        if engine.state.epoch > engine.state.max_epochs:
            raise InputError(
                f"max_epochs={engine.state.max_epochs}, but '{self.folder}' has already finished {engine.state.epoch} "
                f"epochs; resume with max_epochs={engine.state.epoch} or more, or start a new run"
            )
        self.curve.restore(engine.state.epoch)
        last = self.curve.rows[-1] if self.curve.rows else {}
        self._count.passes = int(last.get("passes", 0)) if is_first() else 0  # those of all processes
        self._count.steps = int(last.get("steps", 0))
        self._count_all()
        self._note(
            seconds=last.get("seconds", 0.0),
            started=record.started or self.run_record.started,
        )
        logger.info("resumed '%s' after epoch %d", self.folder, engine.state.epoch)

    def _iteration(self, engine: SupervisedTrainer) -> None:
        output = engine.state.output
        record_term(engine, "total", output[LOSS], len(output[IMAGE]))
        self._probe = output[IMAGE]

    def _epoch(self, engine: SupervisedTrainer) -> None:
        self._row(engine)
        if is_first():
            save_checkpoint(engine, self.folder / CHECKPOINTS_DIR, self.method)

    def _row(self, engine: SupervisedTrainer) -> None:
        self._count_all()
        row = {
            "epoch": engine.state.epoch,
            "seconds": round(time.monotonic() - self._clock + self._seconds_before, 3),
            "passes": self._taken.passes,
            "steps": self._taken.steps,
            **epoch_terms(engine),
        }
        if is_first():
            self.curve.append(row)

    def _count_all(self) -> None:
        """Add up the sample passes of all processes, which take the same steps, and of trainings before."""
        before = [record.cost for record in self._count.taken]
        self._taken = Cost(
            passes=total(self._count.passes) + sum(cost.passes or 0 for cost in before),
            steps=self._count.steps + sum(cost.steps or 0 for cost in before),
        )

    def _complete(self, engine: SupervisedTrainer) -> None:
        network = engine.network
        if not engine.state.epoch:  # the method acted before the first epoch and ended the run
            self._note(max_epochs=0)
            self._row(engine)
        if self._probe is None:  # resumed after the last epoch: nothing was left to train
            batch = next(iter(engine.data_loader))
            self._probe = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)[0]
        selective = self.method is not None and self.method.selective
        with uncounted(engine):
            checks = self_checks(network, self._probe[:1], selective=selective)
            measured = {} if self.method is None else self.method.measurements(engine)
        if self.run_record.forget_images == GONE:
            warn(engine, UNMEASURED)
        self._note(checks=checks, warnings=tuple(warned(engine)), measurements=measured)
        self._count_all()
        if not self.resume:  # unknown for an interrupted part
            own = total(time.process_time() - self._cpu_began)
            before = [record.cpu_seconds for record in self._count.taken]
            self._cpu_seconds = None if None in before else round(own + sum(filter(None, before)), 3)
        if is_first():
            self._finish(network)
        self._lock.close()

    def _finish(self, network: torch.nn.Module) -> None:
        """Write the weights and the finished record."""
        plain = network.merged() if isinstance(network, Student) else network
        state = {name: value.detach().cpu().contiguous() for name, value in plain.state_dict().items()}
        write_tensors(self.folder / MODEL_PT, state)
        if isinstance(network, Student):
            network.save(self.folder / ADAPTER_DIR)
        digests = replace(self.run_record.sha256, weights=weights_sha256(state))
        self._note(sha256=digests, status=FINISHED, files=file_digests(self.folder))
        self._write()
        shutil.rmtree(self.folder / CHECKPOINTS_DIR, ignore_errors=True)
        for check in self.run_record.checks:
            if not check.passed:
                logger.error("self-check failed: %s (%s)", check.name, check.detail)
        for warning in self.run_record.warnings:
            logger.warning("%s", warning)

    def _exception(self, engine: SupervisedTrainer, error: BaseException) -> None:
        if not math.isnan(self._clock) and is_first():
            self._note(status=INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED)
            self._write()
            if self.run_record.status == FAILED:
                log_error(self.folder, error)
        self._count.close()
        self._lock.close()
        raise error

    @cached_property
    def _teacher_passes(self) -> int | None:
        """The sample passes of the training that made the starting weights."""
        return training_passes(Path(self.teacher).parent if self.teacher else None) or self._told_passes

    @property
    def _seconds_before(self) -> float:
        """What trainings took whose weights the run takes."""
        return sum(record.seconds or 0.0 for record in self._count.taken)

    @property
    def record(self) -> dict[str, Any]:
        """The run's record so far, as in `run.json`; configs look up values in it."""
        return self.run_record.to_json()

    def _note(self, **known: Any) -> None:
        """Add values to the record."""
        self.run_record = replace(self.run_record, **known)

    def _write(self) -> None:
        if not is_first():
            return
        passes, whole = self._taken.passes, self._teacher_passes
        self._note(
            cost=replace(self._taken, share=passes / whole if passes is not None and whole else None),
            seconds=round(time.monotonic() - self._clock + self._seconds_before, 3),
            cpu_seconds=self._cpu_seconds,
            peak_memory_mib=round(peak_memory_mib(torch.device(self.run_record.device)), 1),
        )
        write_record(self.folder, self.run_record)


def _why_not(folder: Path) -> str:
    """Why a folder cannot be resumed, and what to do."""
    if not is_run(folder) or read_record(folder).status != FINISHED:
        return "it is not a run, or its first epoch never ended; leave out --resume and give a new folder"
    if is_complete(folder):
        return "the run is finished; leave out --resume and give a new folder to make another"
    return f"its training is finished and only its scores are missing; make them with: mu-monai evaluate {folder}"


def role_of(subsets: Sequence[str], forget_classes: Sequence[str] = (), *, unlearning: bool = False) -> str:
    """The role of a model by what it was trained on: `student`, `teacher` (also the forget cases) or `retrained`.

    Example:
        >>> role_of(["retain"]), role_of(["retain", "forget"], ["lesion"])
        ('retrained', 'retrained')
    """
    if unlearning:
        return STUDENT
    return TEACHER if FORGET in subsets and not forget_classes else RETRAINED


def _parameters(network: torch.nn.Module) -> dict[str, Any]:
    if isinstance(network, Student):
        return network.budget()
    total = sum(parameter.numel() for parameter in network.parameters())
    return {"base": total, "trainable": total, "total": total, "share": 1.0, "coverage": "all weights train"}
