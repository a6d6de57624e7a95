"""Records of models after attacks: what came back, compared with the same attack on the retrained model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mu_monai.audit.bootstrap import N_RESAMPLES, Interval, Sample, alone, ends, mean_interval, paired_gap
from mu_monai.audit.records import Record, as_record
from mu_monai.audit.separation import Groups, Separation, separation_records
from mu_monai.errors import InputError
from mu_monai.keys import CASE_ID, FORGET, LOSS, MODEL, PATIENT_ID, RETRAINED, ROLES, STUDENT, SUBSET, TEACHER, TEST
from mu_monai.metrics import attack_scores
from mu_monai.runs.numbers import AUC, AUC_OF_LOSS, PROBE, REBOUND, Group, Metric, State, at_worst_rate, worst_rates
from mu_monai.runs.scores import leading_metric

ANAMNESIS, STEPS = "anamnesis", "relearning_steps"
RELEARNED = 1.05  # times the teacher's loss: cases at or below it count as relearned
_ATTACK, _STAGE, _KNOWN = "attack", "stage", "known"
_LOSS, _PROBE = {LOSS: -1}, {PROBE: 1}


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """How intervals are drawn."""

    n_resamples: int
    seed: int


def attack_records(scores: pd.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> list[Record]:
    r"""Compute the records of every attack, each with the attack's name in `attack`.

    - `auc[loss]`, and `auc[probe]` of a linear probe: how well forgotten patients can be told from unseen ones after
      the attack.
    - `rebound`: the AUC after the attack minus the AUC before, on the same patients. What the same attack adds to the
      retrained model's AUC is generalization; what it adds to the student's beyond that was still in the weights.
    - `dice` or `accuracy` on `forget` and `test`: what the attack costs.
    - `relearning_steps`: the number of steps until a model's loss on the known forgotten cases is at most 5 % above the
      teacher's; infinite if it never is.
    - `anamnesis`: the student's relearning steps divided by the retrained model's,

    .. math:: \mathrm{AIN} = r(\mathrm{student}) / r(\mathrm{retrained})

    1 if both relearn equally fast, well below 1 if the student remembers, above 1 if it learns more slowly than a model
    that never saw the cases. It is 0 if only the student reached the loss, infinite if only the retrained model did,
    and NaN if neither did or the retrained model was there from the start.

    An attack that trains has its learning rate in its name, `relearning[lr=0.001]`. Intermediate states have the step
    as well, such as `relearning[lr=0.001]@5`; the last state has none. Step 0 is before the attack, on the patients
    that the attacker does not have. The last state need not be the strongest: a
    model that is trained for a long time on few cases forgets the others again.

    A model that an attack broke (`broken`) has no record at that state, and at others it keeps those that it has.

    Args:
        scores: one row per attack, stage, model and case; rows with an empty `attack` are from before it.
            If there is a subset `known`, `forget` holds only the other forgotten patients.
        n_resamples: bootstrap draws per interval, at least 1.
        seed: seed of the draws.

    Raises:
        InputError: if columns are missing, or an attacked model has no scores before the attack.

    Source: anamnesis index: Chundawat et al., arXiv 2201.05629.

    Example:
        >>> cases = {"model": "student", "stage": 0, "subset": ["forget", "forget", "test", "test"],
        ...     "patient_id": ["a", "b", "c", "d"], "case_id": ["1", "2", "3", "4"], "dice": 0.9}
        >>> before = pd.DataFrame(cases | {"attack": "", "loss": [0.3, 0.4, 0.3, 0.4]})
        >>> after = pd.DataFrame(cases | {"attack": "int4", "loss": [0.1, 0.2, 0.3, 0.4]})
        >>> [(record.metric, record.value) for record in attack_records(pd.concat([before, after]))][:2]
        [('auc[loss]', 1.0), ('rebound', 0.5)]
    """
    scores = scores.fillna({_ATTACK: ""})  # a table read from a file has NaN there
    _check(scores)
    draws = _Draws(n_resamples=n_resamples, seed=seed)
    before = scores[scores[_ATTACK] == ""]
    return [
        record
        for name in scores[_ATTACK].unique()
        if name
        for record in _of_attack(str(name), before, scores[scores[_ATTACK] == name], draws)
    ]


def broken(scores: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are of a model at a stage of an attack that left nothing of it: its losses are not all numbers.

    Args:
        scores: the scores after attacks: `attack`, `stage`, `model`, and `loss` or `probe`.

    Example:
        >>> rows = {"attack": "relearning", "stage": [5, 40, 40], "model": ["student", "student", "retrained"]}
        >>> broken(pd.DataFrame(rows | {"loss": [0.1, math.nan, 0.2]})).tolist()
        [False, True, False]
    """
    measured = scores[LOSS] if LOSS in scores.columns else pd.Series(math.nan, index=scores.index)
    if PROBE in scores.columns:
        probed = scores[PROBE].notna().groupby(scores[_ATTACK]).transform("any").astype(bool)
        measured = measured.where(~probed, scores[PROBE])
    bad = pd.Series(~np.isfinite(measured.to_numpy(float)), index=scores.index)
    return bad.groupby([scores[_ATTACK], scores[_STAGE], scores[MODEL]]).transform("any").astype(bool)


def attack_sentences(records: Sequence[Record]) -> list[str]:
    """One sentence per attack: what it brought back at its worst learning rate, compared with the retrained model.

    The anamnesis index is that of the learning rate at which it is lowest.

    Example:
        >>> attack_sentences([])
        []
    """
    worst = worst_rates(map(asdict, records))
    moves = [
        record
        for record in records
        if (record.model, record.metric) == (STUDENT, REBOUND) and at_worst_rate(record.attack, worst)
    ]
    ends = {state.attack: record for record in moves if (state := State.parse(record.attack)).step != 0}  # or what is
    sentences = [_rebound_sentence(record, records, moves) for record in ends.values()]  # left before a model broke
    indices = [record for record in records if record.metric == ANAMNESIS]
    lowest = min(indices, key=lambda record: math.inf if math.isnan(record.value) else record.value, default=None)
    return sentences + ([] if lowest is None else [_anamnesis_sentence(lowest, records)])


def _rebound_sentence(record: Record, records: Sequence[Record], moves: Sequence[Record]) -> str:
    after = next(r for r in records if (r.attack, r.model, r.metric) == (record.attack, STUDENT, AUC_OF_LOSS))
    states = {move: State.parse(move.attack) for move in moves}
    attack = states[record].attack
    text = (
        f"after {states[record].in_words} the student's AUC on forgotten patients is {after.value:.2f}: it changed by "
        f"{record.value:+.2f}"
    )
    text += "" if math.isnan(record.low) else f" ({record.low:+.2f} to {record.high:+.2f})"
    if record.reference:
        text += f", the retrained model's by {record.ideal:+.2f}"
    intermediate = [move for move, state in states.items() if state.attack == attack and state.step]
    most = max(intermediate, key=excess, default=record)
    if excess(most) > excess(record):
        text += f"; during the attack it had changed {'further beyond that' if most.reference else 'more'}, "
        text += f"by {most.value:+.2f} after {states[most].step} steps"
        text += f" (the retrained model's by {most.ideal:+.2f})" if most.reference else ""
    return text


def excess(move: Record) -> float:
    """How much further an attack moved the student than the retrained model; all of it where there is none."""
    return move.value - move.ideal


def _anamnesis_sentence(record: Record, records: Sequence[Record]) -> str:
    student, retrained = (
        next(r.value for r in records if (r.attack, r.model, r.metric) == (record.attack, model, STEPS))
        for model in (STUDENT, RETRAINED)
    )
    rate = State.parse(record.attack).rate
    at = "" if rate is None else f"at the learning rate {rate:g} "
    near = f"within {RELEARNED - 1:.0%} of the teacher's loss on the known forgotten cases"
    return (
        f"{at}the student {_came(student, near)}, and the retrained model {_came(retrained, 'there')}: anamnesis index "
        + ("not defined" if math.isnan(record.value) else f"{record.value:.2f}")
    )


def _came(steps: float, where: str) -> str:
    if steps == 0:
        return f"was {where} from the start"
    if math.isinf(steps):
        return f"never got {where}"
    return f"took {steps:.0f} step{'' if steps == 1 else 's'} to get {where}"


def _of_attack(name: str, before: pd.DataFrame, after: pd.DataFrame, draws: _Draws) -> Iterator[Record]:
    known, answers = after[after[SUBSET] == _KNOWN], after[after[SUBSET].isin((FORGET, TEST))]
    last = answers[_STAGE].max()  # also where it is broken, so that an earlier one is not taken for the end
    answers = answers[~broken(answers)]
    for stage, rows in answers.groupby(_STAGE):
        state = replace(State.parse(name), step=None if stage == last else int(rows[_STAGE].iloc[0]))
        for record in _of_stage(before, rows, draws, whole=stage == last):
            yield replace(record, attack=str(state))
    for record in _anamnesis(known[~broken(known)]):
        yield replace(record, attack=name)


def _of_stage(before: pd.DataFrame, after: pd.DataFrame, draws: _Draws, *, whole: bool) -> Iterator[Record]:
    probed = PROBE in after.columns and after[PROBE].notna().all()
    signal = _PROBE if probed else _LOSS
    groups = {model: _groups(after[after[MODEL] == model], signal) for model in _models(after)}
    records = separation_records(next(iter(signal)), groups, n_resamples=draws.n_resamples, seed=draws.seed)
    yield from (record for record in records if Metric.parse(record.metric).quantity == AUC)
    if probed:
        return
    earlier = before[before[CASE_ID].isin(after[CASE_ID])]
    unharmed = {model: _groups(earlier[earlier[MODEL] == model], signal) for model in groups}
    yield from _rebounds(unharmed, groups, draws)
    if whole:
        yield from _utility(after, draws)


def _rebounds(before: Mapping[str, Groups], after: Mapping[str, Groups], draws: _Draws) -> Iterator[Record]:
    moves = {model: _Move(before[model], after[model], draws) for model in after}
    for model, move in moves.items():
        group, reference = Group(model, FORGET), None if model == RETRAINED else moves.get(RETRAINED)
        if reference is None:
            yield as_record(REBOUND, group, move.interval(), ideal=0.0)
        else:
            of, gap = Group(RETRAINED, FORGET), move.interval(reference)
            yield as_record(REBOUND, group, move.interval(), of, gap=gap, ideal=reference.value)


class _Move:
    """How far an attack moved a model's AUC, for all patients and for each draw of patients."""

    def __init__(self, before: Groups, after: Groups, draws: _Draws) -> None:
        first, second = (
            Separation(groups, n_resamples=draws.n_resamples, seed=draws.seed) for groups in (before, after)
        )
        self.value = second.values[AUC] - first.values[AUC]
        self._resampled = second.resampled[AUC] - first.resampled[AUC]
        self._few = min(len(after.members), len(after.non_members)) < 2
        self._size = {"n_patients": len(after.members), "n_cases": after.n_cases}

    def interval(self, other: _Move | None = None) -> Interval:
        """The move with its 95 % interval, or its difference from the move of another model."""
        value = self.value if other is None else self.value - other.value
        low = high = math.nan
        if not self._few:
            low, high = ends(self._resampled if other is None else self._resampled - other._resampled)
        return Interval(value=value, low=low, high=high, **self._size)


def _utility(after: pd.DataFrame, draws: _Draws) -> Iterator[Record]:
    metric = leading_metric(after)
    options: dict[str, Any] = {"n_resamples": draws.n_resamples, "seed": draws.seed}
    for subset in (FORGET, TEST):
        rows = after[after[SUBSET] == subset].sort_values(CASE_ID)
        samples = {
            model: Sample(model_rows[metric], model_rows[PATIENT_ID].astype(str))
            for model in _models(rows)
            for model_rows in [rows[rows[MODEL] == model]]
        }
        for model, sample in samples.items():
            mean = mean_interval(sample, **options)
            reference = None if model == RETRAINED else samples.get(RETRAINED)
            if reference is None:
                yield as_record(metric, Group(model, subset), mean)
                continue
            gap = paired_gap(sample, reference, **options)
            of = Group(RETRAINED, subset)
            yield as_record(metric, Group(model, subset), mean, of, gap=gap, ideal=reference.mean)


def _anamnesis(known: pd.DataFrame) -> Iterator[Record]:
    """The relearning steps of every model and their ratio; empty without a teacher to compare with."""
    if not (known[MODEL] == TEACHER).any():
        return
    losses = known.groupby([MODEL, _STAGE])[LOSS].mean()
    target = RELEARNED * float(losses[TEACHER].iloc[0])
    steps = {model: _first(losses[model], target) for model in _models(known) if model != TEACHER}
    cases = known[known[MODEL] == TEACHER]
    size = {"n_patients": cases[PATIENT_ID].nunique(), "n_cases": len(cases)}
    compared, retrained = {STUDENT, RETRAINED} <= set(steps), Group(RETRAINED, FORGET)
    for model, number in steps.items():
        group, interval = Group(model, FORGET), alone(number, **size)
        if compared and model == STUDENT:
            yield as_record(STEPS, group, interval, retrained, ideal=steps[RETRAINED])
        else:
            yield as_record(STEPS, group, interval)
    if compared:
        value = _ratio(steps[STUDENT], steps[RETRAINED])
        of, gap = alone(value, **size), alone(value - 1, **size)
        yield as_record(ANAMNESIS, Group(STUDENT, FORGET), of, retrained, gap=gap, ideal=1.0)


def _first(losses: pd.Series[float], target: float) -> float:
    there = losses.index[losses <= target]
    return float(there.min()) if len(there) else math.inf


def _ratio(student: float, retrained: float) -> float:
    if retrained == 0 or (math.isinf(student) and math.isinf(retrained)):
        return math.nan
    return student / retrained


def _groups(rows: pd.DataFrame, signal: Mapping[str, int]) -> Groups:
    forgotten, unseen = (rows[rows[SUBSET] == subset] for subset in (FORGET, TEST))
    name = next(iter(signal))
    members, others = (attack_scores(part, dict(signal))[name] for part in (forgotten, unseen))
    return Groups(members, others, len(forgotten))


def _models(rows: pd.DataFrame) -> list[str]:
    return [role for role in ROLES if (rows[MODEL] == role).any()]


def _check(scores: pd.DataFrame) -> None:
    needed = (_ATTACK, _STAGE, MODEL, SUBSET, PATIENT_ID, CASE_ID)
    absent = [name for name in needed if name not in scores.columns]
    if absent:
        raise InputError(
            f"the attacks' score table has no column {', '.join(map(repr, absent))}; run the attacks again"
        )
    attacked = set(scores.loc[scores[_ATTACK] != "", MODEL])
    missing = sorted(attacked - set(scores.loc[scores[_ATTACK] == "", MODEL]))
    if missing:
        raise InputError(
            f"there are no scores of the {' and the '.join(missing)} before the attacks, so it is unknown what "
            "came back; score the models without an attack too, with an empty 'attack'"
        )
