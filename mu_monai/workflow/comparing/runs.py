"""The runs of a comparison: retrained models, trials and runs of each seed, made once, resumed and kept."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mu_monai.attacks import ATTACKS
from mu_monai.audit.verdicts import RULES
from mu_monai.bundle import Bundle
from mu_monai.bundle.config import read_config
from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json, write_json
from mu_monai.keys import AUDIT_JSON, RETAIN, RETRAINED, STUDENT
from mu_monai.methods.registry import registered
from mu_monai.metrics import choice
from mu_monai.runs import is_complete, open_run, read_stamped
from mu_monai.workflow.auditing.judging import audit
from mu_monai.workflow.auditing.shadows import OVERLAY_JSON
from mu_monai.workflow.comparing.plan import Entry, Plan
from mu_monai.workflow.options import AuditOptions
from mu_monai.workflow.quiet import quiet
from mu_monai.workflow.recipe import own_settings
from mu_monai.workflow.trained_alike import changed_settings, complete, digest, training_digest, unlearning_digest
from mu_monai.workflow.training import train
from mu_monai.workflow.unlearning import unlearn
from mu_monai.workflow.workers.job import told

TRIAL_JSON = "trial.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting of a method, run with the first seed.

    Args:
        number: its number among the method's settings, from 1.
        settings: what it sets, as `KEY=VALUE`.
        run: its run folder.
        reason: why it failed; empty if it did not.
        found: the criterion of the choice, as `mu_monai.metrics.choice` returns it; empty if there is nothing to
            choose.
    """

    number: int
    settings: tuple[str, ...]
    run: Path
    reason: str = ""
    found: Mapping[str, float]

    @property
    def rank(self) -> tuple[bool, float, int]:
        """The sort key of trials, the best highest: successful ones first, then by score, then the earlier one."""
        return not self.reason, self.found.get("score", 0.0), -self.number


def retrained_models(plan: Plan) -> dict[int, Path]:
    """A model without the forgotten patients for every seed, trained as the teacher was; the given ones, if any.

    They are cached under a digest of split and training config, so that one cache can serve many comparisons.

    Raises:
        InputError: if the teacher's config holds code that the bundle's config does not.
        FloatingPointError: if a training diverges; without retrained models there is nothing to compare with.
    """
    if plan.references:
        return {seed: plan.references[place % len(plan.references)] for place, seed in enumerate(plan.options.seeds)}
    training = Training.of(plan)
    return {seed: training.make(seed) for seed in plan.options.seeds}


@dataclass(frozen=True, kw_only=True)
class Training:
    """How retrained models are trained: as the teacher was.

    Args:
        plan: the comparison.
        bundle: the teacher's bundle.
        folder: where they are kept, with the overlay of the teacher's settings.
    """

    plan: Plan
    bundle: Bundle
    folder: Path

    @classmethod
    def of(cls, plan: Plan) -> Training:
        """Read it from the teacher's run; the folder is named by a digest of split and config."""
        training = open_run(plan.teacher).record
        overlay = changed_settings(plan.teacher, training, "train", plan.trust)
        bundle = plan.trust.bundle_of(training)
        made_of = {"split": file_sha256(plan.split), "config": training_digest(training, overlay, plan.trust)}
        made_of |= {} if bundle.parts is None else {"code": bundle.code_sha256}
        folder = plan.cache / digest(made_of)[:12]
        write_json(folder / OVERLAY_JSON, overlay)
        return cls(plan=plan, bundle=bundle, folder=folder)

    def run(self, seed: int) -> Path:
        """The run folder of a seed's model."""
        return self.folder / f"seed-{seed}"

    def make(self, seed: int) -> Path:
        """The model of a seed: trained, resumed, or kept if it is finished."""
        ids = read_config(self.bundle.files("train"))
        scoring = [text for text in self.plan.options.settings if text.partition("=")[0] == "score_interval"]
        plain = [*scoring, "milestones=0"]  # nobody goes back to one, and what measures them would count as training

        def run(out: Path, resume: bool) -> Path:
            return train(
                self.bundle.place,
                split=self.plan.split,
                out=out,
                subsets=[RETAIN],
                settings=[f"seed={seed}", *(text for text in plain if text.partition("=")[0] in ids)],
                overlays=[str((self.folder / OVERLAY_JSON).resolve())],
                resume=resume,
                device=self.plan.options.device,
                quiet=True,
            )

        return _made(self.plan, self.run(seed), run, f"retrained, seed {seed}")


def tried(plan: Plan, entry: Entry) -> list[Trial]:
    """Run every setting of a method with the first seed, and score it by the choice's criterion, the best first."""
    trials = []
    for number, settings in enumerate(entry.trials, start=1):
        run = run_of(plan, entry, number, plan.options.seeds[0])
        reason, found = "", {}
        try:
            unlearned(plan, entry, number, plan.options.seeds[0])
            found = asdict(choice(open_run(run).scores)) if len(entry.trials) > 1 else {}
        except Exception as error:
            reason = told(error)
            logger.warning("%s, trial %d, failed: %s", entry.label, number, reason)
        trials.append(Trial(number=number, settings=settings, run=run, reason=reason, found=found))
    return sorted(trials, key=lambda trial: trial.rank, reverse=True)


def unlearned(plan: Plan, entry: Entry, number: int, seed: int) -> Path:
    """The run of a method's setting with a seed: made, resumed, or kept if it is finished."""
    settings = [*entry.trials[number - 1], f"seed={seed}", *plan.options.settings]
    folder = run_of(plan, entry, number, seed)
    _claim(folder.parent, plan, entry, entry.trials[number - 1])

    def run(out: Path, resume: bool) -> Path:
        return unlearn(
            plan.bundle.place,
            split=plan.split,
            teacher=plan.teacher,
            out=out,
            method=entry.method,
            preset=entry.preset,
            settings=settings,
            overlays=plan.options.overlays,
            resume=resume,
            device=plan.options.device,
            quiet=True,
            trust=plan.trust,
        )

    return _made(plan, folder, run, f"{entry.label}, trial {number}, seed {seed}")


def audited(plan: Plan, run: Path, reference: Path) -> dict[str, Any]:
    """The audit of a run against a retrained model; made if there is none of these weights with these attacks."""
    file = run / AUDIT_JSON
    _raise_if_failed(plan, file)
    if not _is_current(plan, file, run, reference):
        options = AuditOptions(
            references=[reference],
            attacks=plan.options.attacks,
            n_resamples=plan.options.n_resamples,
            distances=False,
            device=plan.options.device,
            quiet=True,
        )
        audit(run, teacher=plan.teacher, split=plan.split, options=options, trust=plan.trust)
    return read_stamped(file, {"records": [dict], "verdict": {"label": str}})


def run_of(plan: Plan, entry: Entry, number: int, seed: int) -> Path:
    """The run folder of a method's setting with a seed."""
    return plan.out / entry.label.replace(":", "-") / f"trial-{number}" / f"seed-{seed}"


def _claim(folder: Path, plan: Plan, entry: Entry, settings: tuple[str, ...]) -> None:
    """Record what a trial's runs are made from; runs of anything else, such as an earlier version's, are removed."""
    method = registered()[entry.method]
    layers = own_settings(plan.bundle, entry.method) or plan.bundle.preset(entry.preset)
    now = {
        "method": entry.label,
        "settings": [*settings, *plan.options.settings],
        "recipe": dict(method.recipe),
        "bundle": unlearning_digest(plan.bundle, [*layers, *plan.options.overlays]),
    }
    now = json.loads(json.dumps(now))
    file = folder / TRIAL_JSON
    if file.is_file() and read_json(file) != now:
        logger.warning("'%s' was made with other settings, or another content of the bundle, and is made again", folder)
        shutil.rmtree(folder)
    if not file.is_file():
        write_json(file, now)


def _made(plan: Plan, folder: Path, make: Callable[[Path, bool], Path], name: str) -> Path:
    """Make a run, or keep it if it is finished; records its cost if it was made."""
    _raise_if_failed(plan, folder)
    if not is_complete(folder):
        gc.collect()  # leftovers of the previous run would count as memory of this one
        began = time.monotonic()
        with quiet("mu_monai.engine"):  # `run.json` holds a run's warnings, and the page shows them
            complete(folder, make)
        logger.info("%s: %.1f s", name, time.monotonic() - began)
    return folder


def _raise_if_failed(plan: Plan, place: Path) -> None:
    if place in plan.failed:
        raise plan.failed[place]


def _is_current(plan: Plan, file: Path, run: Path, reference: Path) -> bool:
    """Whether there is a complete audit of these models with everything that is requested now, made as today."""
    try:
        content = read_stamped(file, {"models": dict, "attacks": [{"name": str, "settings": dict}], "verdict": dict})
    except InputError:
        return False
    models = {STUDENT: run, RETRAINED: reference}
    weights = {role: (content["models"].get(role) or {}).get("weights") for role in models}
    same = weights == {role: open_run(folder).record.sha256.weights for role, folder in models.items()}
    return same and set(plan.options.attacks) <= set(content.get("attacks_asked", [])) and _is_by_this_version(content)


def _is_by_this_version(content: Mapping[str, Any]) -> bool:
    """Whether the verdict of an audit is by the rules of this version, and its attacks ran with their settings."""
    ran = {entry["name"]: entry["settings"] for entry in content["attacks"]}
    now = {name: json.loads(json.dumps(ATTACKS[name].settings())) for name in ran if name in ATTACKS}
    return content["verdict"].get("rules") == RULES and all(ran[name] == now[name] for name in now)
