"""Attack the models of a finished run, score the results, and keep every score table so that a killed run resumes."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm  # type: ignore[import-untyped]

from mu_monai.adapters import weights_sha256
from mu_monai.adapters.placement import feature_layer
from mu_monai.attacks import (
    ATTACK_NAMES,
    ATTACKS,
    LINEAR_PROBE,
    Attack,
    AttackData,
    Relearning,
    probe_scores,
)
from mu_monai.audit import broken
from mu_monai.errors import InputError, did_you_mean, raise_if_any
from mu_monai.files import atomic_path
from mu_monai.keys import (
    CASE_ID,
    FORGET,
    MODEL,
    PATIENT_ID,
    RETAIN,
    RETRAINED,
    STUDENT,
    SUBSET,
    TEACHER,
    TEST,
    VALIDATION,
)
from mu_monai.runs.numbers import State
from mu_monai.runs.scores import read_scores
from mu_monai.workflow.auditing.evaluation import Batches, Evaluation
from mu_monai.workflow.options import ALL

ATTACKS_DIR = "attacks"
ATTACK, STAGE, KNOWN = "attack", "stage", "known"
RELEARNING, ADAPTER_REMOVAL = "relearning", "adapter-removal"
RELEARNING_ATTACK = Relearning()
_EVERY_STEP, _STRIDE = 10, 5  # the known cases are scored after each step up to the first number, then every so many
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AttackResults:
    """The models after the attacks: scores, settings, and what could not be measured.

    Args:
        scores: `attack` (with its learning rate, if it trains), `stage` (the step of the attack), `model`, `subset` and
            the columns of `scores.csv`, or `probe`. Rows with an empty `attack` are of the models before any attack.
            The subset `known` holds the forgotten patients that the attacker had; wherever there is a `known`, `forget`
            holds only the others. What an attack broke is there as well, with losses that are not numbers.
        settings: the settings of every attack that ran, by name.
        notes: what did not run and why, and what the numbers do not show; one sentence each.
    """

    scores: pd.DataFrame
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def chosen_attacks(names: Sequence[str]) -> list[str]:
    """The requested attacks, in their order; `all` selects every attack.

    Raises:
        InputError: for an unknown name.

    Example:
        >>> chosen_attacks(["int4", "int8"])
        ['int8', 'int4']
    """
    raise_if_any(
        f"attack '{name}' is not known; use {ALL} or one or more of {', '.join(ATTACK_NAMES)}"
        f"{did_you_mean(name, ATTACK_NAMES)}"
        for name in names
        if name not in (*ATTACK_NAMES, ALL)
    )
    return [name for name in ATTACK_NAMES if name in names or ALL in names]


def run_attacks(
    evaluation: Evaluation,
    run: str | Path,
    names: Sequence[str] = (ALL,),
    *,
    scores: pd.DataFrame | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> AttackResults:
    """Attack the student and, for comparison, the retrained model; score forgotten and unseen cases after each attack.

    Attacks that train run at each of their learning rates.

    Where an attack breaks a model, so that losses are not numbers, nothing is said of that model at that stage.

    Every score table is kept under `attacks/` in the run folder. Its name holds a digest of weights, attack, seed,
    cases and of how they are read and scored, and a digest of its content. So a killed run resumes where it stopped,
    the same attacks take seconds the second time, and a table that was changed is made again.

    Args:
        evaluation: the models by role, and the cases.
        run: the student's run folder: tables are kept in it, and its adapters are looked for in it.
        names: attacks, or `all`.
        scores: the scores of all these models before any attack, on `forget` and `test`, in the order of the loaders;
            computed if not given.
        seed: the attacks' seed.
        quiet: no progress bar.

    Raises:
        InputError: for unknown attacks, for scores in another order, if there are no forgotten or no unseen cases, or
            if classes were forgotten.
    """
    chosen = chosen_attacks(names)
    raise_if_any(_problems(evaluation))
    arena = _Arena(evaluation, Path(run), seed, _before(evaluation) if scores is None else scores)
    tables = [arena.before]
    jobs = [(state, role) for name in chosen for state in _states(name) for role in arena.roles(name)]
    tables += [arena.attacked(state, role) for state, role in tqdm(jobs, desc="attacks", disable=quiet or None)]
    scores = pd.concat(tables, ignore_index=True)
    return AttackResults(
        scores=scores,
        settings={state.attack: _settings(ATTACKS.get(state.attack)) for state, _ in jobs},
        notes=[*_left_out(scores[broken(scores)]), *arena.notes(chosen)],
    )


def _left_out(rows: pd.DataFrame) -> Iterator[str]:
    """What nothing can be said of: the models that an attack broke, and at which of its steps."""
    for name, of_attack in rows.groupby(ATTACK, sort=False):
        stages = of_attack.groupby(MODEL, sort=False)[STAGE].unique()
        models = [f"the {model}{_at(list(steps))}" for model, steps in stages.items()]
        yield (
            f"{State.parse(str(name)).in_words} broke {' and '.join(models)}: losses are not numbers there, so that "
            "nothing can be said of it"
        )


def _at(steps: Sequence[int]) -> str:
    return "" if list(steps) == [0] else f" (steps {', '.join(map(str, steps))})"


def _kept(start: Path) -> Path | None:
    """The table kept under a name; it is made again if its content does not match the digest in its name."""
    for file in sorted(start.parent.glob(f"{start.name}-*.csv")):
        if file.stem == f"{start.name}-{_short_digest(file.read_bytes())}":
            return file
        logger.warning("'%s' was changed after it was written; the attack runs again", file)
    return None


def _short_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class _Arena:
    """The models and data that all attacks share."""

    def __init__(self, evaluation: Evaluation, run: Path, seed: int, scores: pd.DataFrame) -> None:
        self._models, self._scorer, self._run, self._seed = evaluation.models, evaluation.scorer, run, seed
        self._device, self._made_of = evaluation.device, evaluation.made_of
        rows = scores[scores[SUBSET].isin((FORGET, TEST)) & scores[MODEL].isin(list(evaluation.models))]
        rows = rows.astype({PATIENT_ID: str, CASE_ID: str})
        self.before = _labeled(rows, attack="", stage=0)
        scored = set(self.before[MODEL])
        one = self.before[self.before[MODEL] == next((role for role in evaluation.models if role in scored), STUDENT)]
        self._hindered = functools.cache(self._why_not)
        self._cases = hashlib.sha256(one[[SUBSET, PATIENT_ID, CASE_ID]].to_csv(index=False).encode()).hexdigest()
        patients = one.loc[one[SUBSET] == FORGET, PATIENT_ID].to_numpy()  # in the loaders' order
        self._drawn = _drawn(patients, seed)
        known = np.flatnonzero(np.isin(patients, self._drawn))
        others = np.setdiff1d(np.arange(len(patients)), known)
        whole = self._scorer.loaders[FORGET]
        self._known, self._others = _some_of(whole, known), _some_of(whole, others)
        self._data = AttackData(
            retain=evaluation.retain_batches,
            known=_some_of(evaluation.forget_batches, known),
            loss=evaluation.loss,
            inferer=evaluation.inferer,
            device=evaluation.device,
            seed=seed,
            folder=run,
        )

    def roles(self, name: str) -> list[str]:
        """The models an attack runs on: the teacher only if the others are compared with it."""
        if self._hindered(name):
            return []
        if name in (LINEAR_PROBE, RELEARNING):
            return list(self._models)
        wanted = (STUDENT,) if name == ADAPTER_REMOVAL else (RETRAINED, STUDENT)
        return [role for role in wanted if role in self._models]

    def attacked(self, state: State, role: str) -> pd.DataFrame:
        """The scores of one model after one attack, read from the kept table if there is one."""
        weights, name, attack = weights_sha256(self._models[role].state_dict()), state.attack, _attack(state)
        settings = {key: value for key, value in _settings(attack).items() if key != "learning_rates"}  # one at a time
        key = json.dumps([weights, name, settings, self._seed, self._cases, self._made_of, role == TEACHER])
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        start = self._run / ATTACKS_DIR / f"{name}-{role}-{digest}"
        file = _kept(start)
        if file is None:
            content = pd.concat(list(self._stages(attack, role)), ignore_index=True).to_csv(index=False).encode()
            file = start.with_name(f"{start.name}-{_short_digest(content)}.csv")
            with atomic_path(file) as path:
                path.write_bytes(content)
        table = read_scores(file, (SUBSET, PATIENT_ID, CASE_ID))
        return _labeled(table, attack=str(state), model=role)

    def _stages(self, attack: Attack | None, role: str) -> Iterator[pd.DataFrame]:
        network = self._models[role].eval()
        if attack is None:
            scorer = self._scorer
            yield _labeled(probe_scores(network, scorer.loaders, scorer.inferer, self._device), stage=0)
        elif isinstance(attack, Relearning):
            yield from self._relearning(network, attack, only_now=role == TEACHER)
        else:
            yield self._answers(attack(network, self._data), self._scorer.loaders[FORGET])

    def _relearning(self, network: nn.Module, attack: Relearning, *, only_now: bool) -> Iterator[pd.DataFrame]:
        """How fast the known cases come back, and how the other cases score along the way."""
        if only_now:
            yield self._known_answers(network, 0)
            return
        for step, attacked in attack.stages(network, self._data):
            if step <= _EVERY_STEP or step % _STRIDE == 0 or step == attack.steps:
                yield self._known_answers(attacked, step)
            if step in (*attack.shown, attack.steps):
                yield self._answers(attacked, self._others, step)

    def _known_answers(self, network: nn.Module, step: int) -> pd.DataFrame:
        scores = self._scorer.score(network, self._known, measure=False)
        if set(scores[PATIENT_ID].astype(str)) != set(self._drawn):
            raise InputError(
                "the scores are not in the order of the forget cases, so it is unknown which patients the attacker "
                "has; give the rows as 'mu-monai evaluate' writes them"
            )
        return _labeled(scores, subset=KNOWN, stage=step)

    def _answers(self, network: nn.Module, forgotten: Batches, step: int = 0) -> pd.DataFrame:
        parts = {FORGET: forgotten, TEST: self._scorer.loaders[TEST]}
        tables = [
            _labeled(self._scorer.score(network, loader, measure=False), subset=name, stage=step)
            for name, loader in parts.items()
        ]
        return pd.concat(tables, ignore_index=True)

    def _why_not(self, name: str) -> str:
        """Why an attack cannot run here; empty if it can."""
        if STUDENT not in self._models:
            return "there is no student to attack"
        if name in ATTACKS:
            return ATTACKS[name].hindered(self._models[STUDENT], self._data)
        empty = [subset for subset in (RETAIN, VALIDATION) if not len(self._scorer.loaders[subset])]
        if empty:
            return (
                f"it learns from {RETAIN} and {VALIDATION} cases, and the split has no {' and no '.join(empty)} cases"
            )
        try:
            feature_layer(self._models[STUDENT])
        except InputError as error:
            return str(error)
        return ""

    def notes(self, chosen: Sequence[str]) -> Iterator[str]:
        """What did not run, what is missing for comparison, and what the numbers do not show."""
        for name in chosen:
            hindered = self._hindered(name)
            if hindered:
                yield f"{name} was not run: {hindered}"
        if RETRAINED not in self._models:
            yield "without a retrained model it is unknown how much of what came back is only generalization"
        if ADAPTER_REMOVAL in chosen and not self._hindered(ADAPTER_REMOVAL):
            yield self._rebuilt()
        if LINEAR_PROBE in chosen and not self._hindered(LINEAR_PROBE) and TEACHER in self._models:
            yield self._encoder()

    def _rebuilt(self) -> str:
        text = "THE ORIGINAL MODEL CAN BE REBUILT FROM THE RUN FOLDER ALONE: model.pt minus adapter/"
        if TEACHER in self._models:
            rebuilt = ATTACKS[ADAPTER_REMOVAL](self._models[STUDENT], self._data).state_dict()
            far, before = (self._distance(state) for state in (rebuilt, self._models[STUDENT].state_dict()))
            if far > 0.01 * before:
                return (
                    "after subtracting adapter/ from model.pt, the largest difference to the original's weights is "
                    f"{far:.1e}, and before it was {before:.1e}: this alone does not restore the original"
                )
            text += f" restores its weights, with a largest difference of {far:.1e}"
        return f"{text}. Release the model with 'mu-monai release', which leaves adapters out, never the run folder"

    def _distance(self, state: Mapping[str, torch.Tensor]) -> float:
        original = self._models[TEACHER].state_dict()
        return max(float((state[name].double() - value.double()).abs().max()) for name, value in original.items())

    def _encoder(self) -> str:
        scores = pd.concat([self.attacked(State(LINEAR_PROBE), role) for role in (TEACHER, STUDENT)])
        teacher, student = (scores.loc[scores[MODEL] == role, "probe"].to_numpy() for role in (TEACHER, STUDENT))
        if np.allclose(teacher, student, rtol=1e-4, atol=1e-6):
            return (
                "the encoder of the student is the teacher's (adapters in the decoder do not change it): its features "
                "reveal "
                "exactly what the teacher's reveal about the forgotten patients"
            )
        return "the encoder of the student differs from that of the teacher"


def _before(evaluation: Evaluation) -> pd.DataFrame:
    loaders, scorer = evaluation.scorer.loaders, evaluation.scorer
    return pd.concat(
        [
            _labeled(scorer.score(network.eval(), loaders[subset], measure=False), model=role, subset=subset)
            for role, network in evaluation.models.items()
            for subset in (FORGET, TEST)
        ],
        ignore_index=True,
    )


def _labeled(table: pd.DataFrame, **columns: str | int) -> pd.DataFrame:
    return table.assign(**columns)


def _size(loader: Batches) -> int:
    dataset: Any = loader.dataset
    return len(dataset)


def _states(name: str) -> list[State]:
    """The ends of an attack: one for each of its learning rates."""
    return [State(name, rate=rate) for rate in (ATTACKS[name].sweep() if name in ATTACKS else {None: None})]


def _attack(state: State) -> Attack | None:
    """The attack that leads to a state; the linear probe, which leaves the model as it is, is none."""
    return ATTACKS[state.attack].sweep()[state.rate] if state.attack in ATTACKS else None


def _settings(attack: Attack | None) -> dict[str, Any]:
    return {} if attack is None else attack.settings()


def _drawn(patients: NDArray[np.str_], seed: int) -> list[str]:
    """The forgotten patients that the attacker has: at most half of them."""
    different = np.unique(patients)
    number = min(RELEARNING_ATTACK.patients, len(different) // 2)
    return list(np.random.default_rng(seed).choice(different, number, replace=False))


def _some_of(loader: Batches, places: NDArray[np.int64]) -> Batches:
    """A loader like the given one, of the cases at some positions only."""
    return DataLoader(
        Subset(loader.dataset, places.tolist()), batch_size=loader.batch_size, collate_fn=loader.collate_fn
    )


def _problems(evaluation: Evaluation) -> Iterator[str]:
    scorer = evaluation.scorer
    if scorer.forget_classes:
        yield (
            f"classes were forgotten ({', '.join(scorer.forget_classes)}), not patients; attacks test whether "
            "forgotten patients come back, so omit --attacks"
        )
        return
    for subset in (FORGET, TEST):
        if not len(scorer.loaders.get(subset, ())):
            yield f"the split has no cases in '{subset}': attacks compare forgotten with unseen cases; add some"
    whole, batches = (_size(loader) for loader in (scorer.loaders[FORGET], evaluation.forget_batches))
    if whole != batches:
        yield (
            f"the scorer has {whole} forget cases and the method {batches}; attacks need the same cases in the same "
            "order in both"
        )
