"""What a verdict says: its label, what it rests on and what speaks against it, in words with their numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mu_monai.audit.records import Record
from mu_monai.keys import RETRAINED
from mu_monai.runs.numbers import AUC_OF_LOSS, DROP, Group, Metric, State

UNDER, MATCHED, OVER = "UNDER-FORGOTTEN", "MATCHED", "OVER-FORGOTTEN"
SHALLOW, NO_BASELINE, CANNOT_TELL = "SHALLOW", "NO BASELINE", "CANNOT TELL"
RETURNS_SINCE = 4  # by earlier rules, what comes back is told only where it makes a verdict SHALLOW
JUDGED_SINCE = 5  # by earlier rules, what was tested on too few patients counts as what contradicts nothing
CHANCE = 0.5
MIN_PATIENTS = 10
_STANDS_OUT = "Under attack the forgotten patients stand out more than with the retrained model"
_ALIKE = " Without a retrained model, this assumes that forgotten and unseen patients are alike."


def gap_of(record: Record) -> tuple[float, float, float]:
    """The gap with its interval: to the reference, or to 0.5 without one."""
    if record.reference:
        return record.gap, record.gap_low, record.gap_high
    return record.value - CHANCE, record.low - CHANCE, record.high - CHANCE


def is_to_retrained(record: Record) -> bool:
    """Whether the gap of a record is to the retrained model."""
    return Group.parse(record.reference).model == RETRAINED


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def what_of(move: Record) -> str:
    """What a rebound is compared with."""
    return (
        "what it adds to the retrained model's" if is_to_retrained(move) else "0, without a retrained model to compare"
    )


def sentence_of(
    label: str, main: Record, teacher: Record | None, n_unseen: int, tolerance: float, needed: int | None
) -> str:
    """The label in words."""
    measured = _measured(main)
    if label == NO_BASELINE and teacher is not None:
        return (
            "The original model shows no measurable influence of these patients, so nothing can be attested: by its "
            f"loss, {_measured(teacher)}.{_not_excluded(teacher, needed)} By the student's loss, {measured}."
        )
    sentences = {
        UNDER: f"The student still knows the forgotten patients: {measured}.",
        MATCHED: f"The student treats the forgotten patients as it should, within {tolerance:g}: {measured}.",
        OVER: "The student answers the forgotten patients worse than it should, which itself shows who was forgotten: "
        f"{measured}.",
    }
    if label in sentences:
        return sentences[label]
    if main.n_patients < MIN_PATIENTS:
        return f"{_few(main)} An interval of \N{PLUS-MINUS SIGN}{tolerance:g} takes about {needed} forgotten patients."
    if n_unseen < MIN_PATIENTS:
        return f"{n_unseen} unseen patients are too few to compare with: {measured}."
    if needed is None:
        return (
            f"The gap lies at the edge of what is tolerated ({tolerance:g}), and its interval reaches across: "
            f"{measured}."
        )
    return (
        f"The interval is too wide to tell: {measured}. About {needed} forgotten patients, and unseen ones in "
        "proportion, would be needed."
    )


def unlike_sentence(main: Record, teacher: Record) -> str:
    """Why 0.5 is not what to compare with, where the original model answers the forgotten patients worse."""
    return (
        "Forgotten and unseen patients are not comparable, so without a retrained model it is not known how the "
        f"student should answer them: by the original's loss, {_measured(teacher)}. A retrained model is needed "
        f"(--reference). By the student's loss, {_measured(main)}."
    )


def shallow_sentence(main: Record, move: Record, before: str) -> str:
    """What an attack brings back, in place of the label that the student would have `before` it."""
    if before == MATCHED:
        first = "The student treats the forgotten patients as it should, but "
        first += "that does not last" if _is_own(move) else f"{_STANDS_OUT[0].lower()}{_STANDS_OUT[1:]}"
    else:
        first = "Whatever the student forgot comes back" if _is_own(move) else _STANDS_OUT
    return f"{first}: {_measured(main)}, and {_moved(move)}"


def assumed(main: Record, rules: int) -> str:
    """What a gap to 0.5 assumes; empty if there is a retrained model."""
    return "" if is_to_retrained(main) or rules < JUDGED_SINCE else _ALIKE


def contradictions(
    others: Sequence[Record],
    judged: Sequence[Record],
    against: Record | None,
    returns: Record | None,
    n_unseen: int,
    rules: int,
) -> str:
    """What contradicts a label, or that nothing does or could.

    Args:
        others: the other AUCs of the student that were measured, on any number of patients.
        judged: those of them with enough patients to be judged.
        against: the one that contradicts most.
        returns: the rebound of the attack that surely brings back most.
        n_unseen: how many unseen patients there are.
        rules: the version of the rules.
    """
    counted = judged if rules >= JUDGED_SINCE else others
    tried = _tried(others, counted, rules)
    if against is not None:
        text = _against(against, len(judged), tried)
    elif returns is not None:
        text = f"No other AUC contradicts it ({tried})."
    elif rules < JUDGED_SINCE:
        text = f"Nothing else that was measured contradicts it ({tried})."
    elif _signals(counted) or _attacks(counted):
        text = f"Nothing else that was judged contradicts it ({tried})."
    else:
        text = f"Nothing else could be judged ({tried})."
    few = "; and ".join(_not_judged([record for record in others if record not in counted], n_unseen))
    text += f" Besides, {few}." if few else ""
    if returns is None:
        return text
    return f"{text} {'What was forgotten comes back' if _is_own(returns) else _STANDS_OUT}: {_moved(returns)}"


def damage(cost: Record | None) -> str:
    """What the model lost of what it was to keep; empty if nothing."""
    if cost is None:
        return ""
    metric = Metric.parse(cost.metric).quantity
    if metric.endswith(DROP):
        lost = (
            f"{metric.removesuffix(DROP)} on {cost.subset} is lower than the original's by {cost.value:.3f} "
            f"({signed(cost.low)} to {signed(cost.high)})"
        )
    else:
        model = "the retrained model's" if is_to_retrained(cost) else "the teacher's"
        lost = (
            f"{cost.metric} on {cost.subset} is {cost.value:.3f}, {signed(cost.gap)} "
            f"({signed(cost.gap_low)} to {signed(cost.gap_high)}) from {model}"
        )
    return f"The model lost what it was to keep: {lost}. A ruined model matches anything."


def _against(against: Record, n_judged: int, tried: str) -> str:
    when = f"after {State.parse(against.attack).in_words}" if against.attack else "without any attack"
    rank = "the only such number" if n_judged == 1 else f"the strongest of {n_judged}"
    text = f"By {Metric.parse(against.metric).of}, {when}, {_measured(against)}; {rank} ({tried})."
    return text + (" Among so many, one in twenty differs by chance." if n_judged > 1 else "")


def _tried(others: Sequence[Record], counted: Sequence[Record], rules: int) -> str:
    signals, attacks = _signals(counted), _attacks(counted)
    released = " on the released model" if rules >= RETURNS_SINCE else ""
    none = f"; no attack{released} was {'judged' if _attacks(others) else 'tried'}"
    return _count(len(signals), "other signal") + (f" and {_count(len(attacks), 'attack')}" if attacks else none)


def _signals(records: Sequence[Record]) -> set[str]:
    return {record.metric for record in records if not record.attack and record.metric != AUC_OF_LOSS}


def _attacks(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(State.parse(record.attack).attack for record in records if record.attack))


def _not_judged(left: Sequence[Record], n_unseen: int) -> Iterator[str]:
    """What was measured on too few patients to be judged, and how large it was."""
    signals = _signals(left)
    if signals:
        were = "was" if len(signals) == 1 else "were"
        yield f"{_count(len(signals), 'other signal')} {were} measured on too few patients to judge"
    for attack in _attacks(left):
        of_attack = [record for record in left if State.parse(record.attack).attack == attack]
        worst = max(of_attack, key=lambda record: abs(gap_of(record)[0]))
        who = "patient" if worst.n_patients < MIN_PATIENTS else "unseen patient"
        number = _count(worst.n_patients if worst.n_patients < MIN_PATIENTS else n_unseen, who)
        yield f"{attack} was tested on {number}, too few to judge; there the AUC is {worst.value:.3f}"


def _is_own(move: Record) -> bool:
    """Whether what an attack does beyond the retrained model is mostly the student's rise, not the other's fall."""
    return not is_to_retrained(move) or move.value > -move.ideal


def _moved(move: Record) -> str:
    """What an attack did to the AUC, such as `after relearning@5 it is higher by +0.200 (+0.100 to +0.300)`."""
    text = f"after {State.parse(move.attack).in_words} it is higher by {signed(move.value)}"
    if not is_to_retrained(move):
        ends = "" if math.isnan(move.low) else f" ({signed(move.low)} to {signed(move.high)})"
        return f"{text}{ends}. Without a retrained model it is not known how much of that any model would gain."
    ends = "" if math.isnan(move.gap_low) else f" ({signed(move.gap_low)} to {signed(move.gap_high)})"
    return f"{text}, the retrained model's by {signed(move.ideal)}: a difference of {signed(move.gap)}{ends}."


def _not_excluded(teacher: Record, needed: int | None) -> str:
    if needed is None:
        return ""
    return (
        f" An influence up to {signed(gap_of(teacher)[2])} cannot be excluded: to tell takes about {needed} forgotten "
        "patients, and unseen ones in proportion."
    )


def _few(main: Record) -> str:
    if main.n_patients == 1:
        return (
            "One forgotten patient has a rank and no interval: the loss is lower than that of "
            f"{100 * main.value:.0f} % of the unseen patients (like an unseen one: any share is as likely)."
        )
    return f"{main.n_patients} forgotten patients are too few for an interval to be trusted: {_measured(main)}."


def _measured(record: Record) -> str:
    """The AUC and its gap, as in `the AUC is 0.700, +0.200 (+0.100 to +0.300) from the retrained model's`."""
    gap, low, high = gap_of(record)
    where = "the retrained model's" if is_to_retrained(record) else "0.5, where unseen patients are"
    ends = "" if math.isnan(low) else f" ({signed(low)} to {signed(high)})"
    return f"the AUC is {record.value:.3f}, {signed(gap)}{ends} from {where}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")
