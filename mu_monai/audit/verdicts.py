"""The verdict of the audit, by stated rules: does the student treat the forgotten patients as it should?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mu_monai.audit.attacks import excess
from mu_monai.audit.records import Record
from mu_monai.audit.subgroups import MARGIN
from mu_monai.errors import InputError
from mu_monai.keys import FORGET, RETAIN, RETRAINED, STUDENT, TEACHER, TEST
from mu_monai.runs.numbers import AUC, AUC_OF_LOSS, LOGISTIC, REBOUND, U_LIRA, Group, Metric, State
from mu_monai.runs.scores import LEADING_METRICS

UNDER, MATCHED, OVER = "UNDER-FORGOTTEN", "MATCHED", "OVER-FORGOTTEN"
SHALLOW, NO_BASELINE, CANNOT_TELL = "SHALLOW", "NO BASELINE", "CANNOT TELL"
LABELS = (UNDER, MATCHED, SHALLOW, OVER, NO_BASELINE, CANNOT_TELL)
RULES = 4  # the version of the rules
SHALLOW_SINCE = 2  # by those of version 1, no verdict is SHALLOW, and by those of version 2 only what would be MATCHED
RETURNS_SINCE = 4  # by earlier ones, what comes back is told only where it makes a verdict SHALLOW
TOLERANCE = 0.05
MIN_PATIENTS = 10
_TWO_SIDED = (LOGISTIC, U_LIRA)  # near 1 for patients that stand out on either side
_OF_THE_FOLDER = "adapter-removal"  # about what the run folder gives away, not about the released model
_CHANCE = 0.5
_UNIFORM = 1.96 / math.sqrt(12)  # half the 95 % interval of the AUC of one patient with a uniform rank


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the audit concludes about a student.

    Args:
        label: one of `LABELS`.
        rule: the rule that gave the label.
        sentence: the label in words, with its numbers.
        evidence: the records that the label is based on: the student's, the teacher's, and those that contradict it.
        needed_patients: about how many forgotten patients it would take to decide, or to decide whether there is a
            baseline; None if the label is decided, or if more patients would not help.
        but: other measurements that contradict the label, or that there are none, and whether the model lost what it
            was to keep; never empty.
        rules: the version of the rules that gave the label.
    """

    label: str
    rule: str
    sentence: str
    evidence: tuple[Record, ...]
    needed_patients: int | None
    but: str
    rules: int


def verdict(records: Sequence[Record], *, n_unseen: int, tolerance: float = TOLERANCE, rules: int = RULES) -> Verdict:
    """Judge a student by the AUC of the loss, forgotten against unseen patients, and its gap to the ideal.

    The gap g is to the retrained model on the same patients or, without one, to 0.5; [l, h] is its 95 % interval and m
    the tolerance. The first row that applies decides:

    | label | condition |
    |---|---|
    | CANNOT TELL | fewer than 10 forgotten or 10 unseen patients: a bootstrap over so few claims too much precision |
    | NO BASELINE | the teacher's gap has l <= 0: these patients have no measurable influence that could be removed |
    | SHALLOW | as MATCHED, but an attack brings the AUC up, by more than m beyond what it adds to the retrained one's |
    | SHALLOW | as the last CANNOT TELL, but an attack does so, and the interval of that difference is above 0 |
    | MATCHED | g, l and h all lie within +-m, even if [l, h] excludes 0: the gap is too small to matter |
    | UNDER-FORGOTTEN | l > 0 and g > m, even if l < m |
    | OVER-FORGOTTEN | h < 0 and g < -m, even if h > -m |
    | CANNOT TELL | anything else |

    MATCHED is an equivalence test by interval inclusion. With a 95 % interval instead of the 90 % interval of two
    one-sided tests at 5 %, it errs in at most about 2.5 % of cases; the whole audit uses one kind of interval.

    SHALLOW looks at the worst attack, at its worst learning rate and after any of its tested steps, and at the
    retrained model after the very same. In place of MATCHED it does not wait for the interval, which the sentence
    gives: a doubt whether it lasts is told. In place of CANNOT TELL, which claims nothing, it does. Without a retrained
    model all that the attack adds counts, more than is fair to an attack that trains. Removing the adapters does not
    count, nor does an attack that was tested on fewer than 10 patients.

    The number of patients that would be needed follows from the width of the interval, which shrinks roughly with one
    over the square root of their number if unseen patients increase in proportion: n ((h - l) / 2m)^2, valid if the
    true gap is 0. With too few patients for an interval it is (1.96 / (m sqrt(12)))^2, since the rank of an unseen
    patient among others is uniform.

    NO BASELINE can mean that there are too few patients. If the teacher's h is above m, an influence up to h is not
    excluded, and n ((h - l) / 2d)^2 patients with d = max(g, m - g) would show an influence of size g or exclude one
    beyond m. Here g, l and h are all the teacher's.

    Under any other label, the worst attack whose difference has an interval above 0 is named in `but`. If Dice or
    accuracy on retained or unseen cases has a gap whose whole interval lies below -0.02, `but` says so: a model that
    gives every case the same answer would match.

    Any other AUC of the student, by another signal or after an attack, is judged by the same rules. The one with the
    largest gap that is UNDER- or OVER-FORGOTTEN and contradicts the label is named in `but`, with how many were judged:
    the intervals are not corrected for multiple comparisons, and one in 20 misses its reference by chance. A logistic
    regression and U-LiRA find patients that stand out on either side, so they never contradict UNDER- or
    OVER-FORGOTTEN, and a low AUC of theirs contradicts nothing. Removing the adapters is left out: it restores the
    original wherever the run folder is available.

    Args:
        records: the utility and membership records of all models, and those after attacks.
        n_unseen: how many patients `test` has.
        tolerance: the largest gap of the AUC that counts as no gap, in (0, 0.5).
        rules: the version of the rules, 1 to 4; audits that name none are by version 1, which has no SHALLOW, by
            version 2 it only takes the place of MATCHED, and by version 3 nothing that comes back is named elsewhere.

    Raises:
        InputError: if the tolerance or the version is not allowed, or no record has the student's AUC of the loss.

    Source: two one-sided tests after Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987; the AUC as
        the probability that a forgotten patient ranks before an unseen one: Hanley and McNeil, Radiology 143, 1982.

    Example:
        >>> record = Record(model="student", metric="auc[loss]", subset="forget", value=0.9, low=0.8, high=0.95,
        ...     n_patients=30, n_cases=30, reference="retrained/forget", gap=0.4, gap_low=0.3, gap_high=0.5, ideal=0.5)
        >>> verdict([record], n_unseen=100).label
        'UNDER-FORGOTTEN'
    """
    if not 0 < tolerance < _CHANCE:
        raise InputError(f"tolerance={tolerance} is not allowed; give the largest gap of an AUC to accept, in (0, 0.5)")
    if rules not in range(1, RULES + 1):
        raise InputError(f"rules={rules!r} are not known; this version knows the rules of verdicts 1 to {RULES}")
    main = _find(records, STUDENT)
    if main is None:
        raise InputError(
            f"no record has the student's {AUC_OF_LOSS} on {FORGET}; score the student on forgotten and unseen cases: "
            "mu-monai evaluate RUN"
        )
    teacher = _find(records, TEACHER)
    label, rule = _decide(main, teacher, n_unseen, tolerance)
    before, few = label, min(main.n_patients, n_unseen) < MIN_PATIENTS
    back = max(() if few else _moves(records, tolerance, label, rules), key=excess, default=None)
    if back is not None:
        label, rule = SHALLOW, f"{rule}, and an attack brings it up by more than {tolerance:g} beyond {_what(back)}"
    others = [
        record
        for record in records
        if _is_evidence(record)
        and record.attack != _OF_THE_FOLDER
        and State.parse(record.attack).step != 0  # before the attack, on the patients that the attacker does not have
        and (record is not main or label == NO_BASELINE)
    ]
    against = _strongest(others, label, tolerance)
    told = rules >= RETURNS_SINCE and back is None
    returns = max(_sure(records, tolerance) if told else (), key=excess, default=None)
    needed = _needed(main, tolerance) if label == CANNOT_TELL else None
    if label == NO_BASELINE and teacher is not None:
        needed = _needed_for_baseline(teacher, tolerance)
    cost = _cost(records)
    evidence = [record for record in (main, teacher, back, against, returns, cost) if record is not None]
    return Verdict(
        label=label,
        rule=rule,
        sentence=_sentence(label, main, teacher, n_unseen, tolerance, needed)
        if back is None
        else _shallow(main, back, before),
        evidence=tuple(dict.fromkeys(evidence)),
        needed_patients=needed,
        but=" ".join(filter(None, (_but(others, against, teacher, returns, rules), _damage(cost)))),
        rules=rules,
    )


def _find(records: Sequence[Record], model: str) -> Record | None:
    candidates = [record for record in records if record.metric == AUC_OF_LOSS and _is_evidence(record, model)]
    return next((record for record in candidates if not record.attack), None)


def _is_evidence(record: Record, model: str = STUDENT) -> bool:
    return record.model == model and record.subset == FORGET and Metric.parse(record.metric).quantity == AUC


def _gap(record: Record) -> tuple[float, float, float]:
    """The gap with its interval: to the reference, or to 0.5 without one."""
    if record.reference:
        return record.gap, record.gap_low, record.gap_high
    return record.value - _CHANCE, record.low - _CHANCE, record.high - _CHANCE


def _is_to_retrained(record: Record) -> bool:
    return Group.parse(record.reference).model == RETRAINED


def _decide(main: Record, teacher: Record | None, n_unseen: int, tolerance: float) -> tuple[str, str]:
    for n_patients, which in ((main.n_patients, "forgotten"), (n_unseen, "unseen")):
        if n_patients < MIN_PATIENTS:
            return CANNOT_TELL, f"fewer than {MIN_PATIENTS} {which} patients"
    if teacher is not None and not _gap(teacher)[1] > 0:
        return NO_BASELINE, "the interval of the teacher's gap is not above 0"
    return _by_gap(main, tolerance)


def _by_gap(record: Record, tolerance: float) -> tuple[str, str]:
    gap, low, high = _gap(record)
    if max(abs(gap), abs(low), abs(high)) <= tolerance:
        return MATCHED, f"the whole 95 % interval of the gap lies within \N{PLUS-MINUS SIGN}{tolerance:g}"
    if low > 0 and gap > tolerance:
        return UNDER, f"the 95 % interval of the gap is above 0, and the gap above {tolerance:g}"
    if high < 0 and gap < -tolerance:
        return OVER, f"the 95 % interval of the gap is below 0, and the gap below {_signed(-tolerance)}"
    return CANNOT_TELL, (
        f"the 95 % interval of the gap leaves \N{PLUS-MINUS SIGN}{tolerance:g}, and does not show a gap beyond it"
    )


def _strongest(others: Sequence[Record], label: str, tolerance: float) -> Record | None:
    """The record with the largest gap that contradicts the label."""
    apart = [
        record for record in others if record.n_patients >= MIN_PATIENTS and _contradicts(record, label, tolerance)
    ]
    return max(apart, key=lambda record: abs(_gap(record)[0]), default=None)


def _contradicts(record: Record, label: str, tolerance: float) -> bool:
    decided = _by_gap(record, tolerance)[0]
    if Metric.parse(record.metric).of in _TWO_SIDED:
        return decided == UNDER and label not in (UNDER, OVER)
    return decided in {UNDER, OVER} - {label}


def _moves(records: Sequence[Record], tolerance: float, label: str, rules: int) -> Iterator[Record]:
    """The rebounds that are more than tolerated, if they can make a label SHALLOW; for CANNOT TELL, the sure ones."""
    if rules >= {MATCHED: SHALLOW_SINCE, CANNOT_TELL: SHALLOW_SINCE + 1}.get(label, RULES + 1):
        yield from _rebounds(records, tolerance) if label == MATCHED else _sure(records, tolerance)


def _rebounds(records: Sequence[Record], tolerance: float) -> Iterator[Record]:
    for record in records:
        if (
            (record.model, record.metric, record.subset) == (STUDENT, REBOUND, FORGET)
            and record.attack != _OF_THE_FOLDER
            and State.parse(record.attack).step != 0
            and record.value > 0
            and record.n_patients >= MIN_PATIENTS
            and excess(record) > tolerance
        ):
            yield record


def _sure(records: Sequence[Record], tolerance: float) -> Iterator[Record]:
    """Those whose interval is above 0."""
    found = _rebounds(records, tolerance)
    return (record for record in found if (record.gap_low if _is_to_retrained(record) else record.low) > 0)


def _what(move: Record) -> str:
    return (
        "what it adds to the retrained model's" if _is_to_retrained(move) else "0, without a retrained model to compare"
    )


def _shallow(main: Record, move: Record, before: str) -> str:
    first = "The student treats the forgotten patients as it should, but that does not last"
    if before != MATCHED:
        first = "Whatever the student forgot comes back"
    return f"{first}: {_measured(main)}, and {_moved(move)}"


def _moved(move: Record) -> str:
    """What an attack did to the AUC, such as `after relearning@5 it is higher by +0.200 (+0.100 to +0.300)`."""
    text = f"after {State.parse(move.attack).in_words} it is higher by {_signed(move.value)}"
    if not _is_to_retrained(move):
        ends = "" if math.isnan(move.low) else f" ({_signed(move.low)} to {_signed(move.high)})"
        return f"{text}{ends}. Without a retrained model it is not known how much of that any model would gain."
    ends = "" if math.isnan(move.gap_low) else f" ({_signed(move.gap_low)} to {_signed(move.gap_high)})"
    return f"{text}, the retrained model's by {_signed(move.ideal)}: a difference of {_signed(move.gap)}{ends}."


def _cost(records: Sequence[Record]) -> Record | None:
    """The largest loss, interval included, on cases that were to be kept: a ruined model matches anything."""
    lost = [
        record
        for record in records
        if record.model == STUDENT
        and record.subset in (RETAIN, TEST)
        and record.metric in LEADING_METRICS
        and not record.attack
        and record.gap_high < -MARGIN
    ]
    return min(lost, key=lambda record: record.gap, default=None)


def _damage(cost: Record | None) -> str:
    if cost is None:
        return ""
    model = "the retrained model's" if _is_to_retrained(cost) else "the teacher's"
    return (
        f"The model lost what it was to keep: {cost.metric} on {cost.subset} is {cost.value:.3f}, {_signed(cost.gap)} "
        f"({_signed(cost.gap_low)} to {_signed(cost.gap_high)}) from {model}. A ruined model matches anything."
    )


def _needed(main: Record, tolerance: float) -> int | None:
    _, low, high = _gap(main)
    half = (high - low) / 2
    if main.n_patients < MIN_PATIENTS:
        return math.ceil((_UNIFORM / tolerance) ** 2)
    return math.ceil(main.n_patients * (half / tolerance) ** 2) if half > tolerance else None


def _needed_for_baseline(teacher: Record, tolerance: float) -> int | None:
    """How many patients would show the teacher's apparent influence, or exclude one beyond the tolerance."""
    gap, low, high = _gap(teacher)
    if not high > tolerance:
        return None
    apart = max(gap, tolerance - gap)
    return max(teacher.n_patients + 1, math.ceil(teacher.n_patients * ((high - low) / 2 / apart) ** 2))


def _sentence(
    label: str, main: Record, teacher: Record | None, n_unseen: int, tolerance: float, needed: int | None
) -> str:
    measured = _measured(main)
    if label == NO_BASELINE and teacher is not None:
        return (
            "The original model shows no measurable influence of these patients, so nothing can be attested: by its "
            f"loss, {_measured(teacher)}.{_not_excluded(teacher, needed)} By the student's loss, {_measured(main)}."
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


def _not_excluded(teacher: Record, needed: int | None) -> str:
    if needed is None:
        return ""
    return (
        f" An influence up to {_signed(_gap(teacher)[2])} cannot be excluded: to tell takes about {needed} forgotten "
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
    gap, low, high = _gap(record)
    where = "the retrained model's" if _is_to_retrained(record) else "0.5, where unseen patients are"
    ends = "" if math.isnan(low) else f" ({_signed(low)} to {_signed(high)})"
    return f"the AUC is {record.value:.3f}, {_signed(gap)}{ends} from {where}"


def _but(
    others: Sequence[Record], against: Record | None, teacher: Record | None, returns: Record | None, rules: int
) -> str:
    attacks = {State.parse(record.attack).attack for record in others if record.attack}
    signals = {record.metric for record in others if not record.attack and record.metric != AUC_OF_LOSS}
    tried = _count(len(signals), "other signal")
    none = "no attack on the released model" if rules >= RETURNS_SINCE else "no attack"
    tried += f" and {_count(len(attacks), 'attack')}" if attacks else f"; {none} was tried"
    if against is None and returns is not None:
        text = f"No other AUC contradicts it ({tried})."
    elif against is None:
        text = f"Nothing else that was measured contradicts it ({tried})."
    else:
        when = f"after {State.parse(against.attack).in_words}" if against.attack else "without any attack"
        judged = sum(record.n_patients >= MIN_PATIENTS for record in others)
        rank = "the only such number" if judged == 1 else f"the strongest of {judged}"
        text = f"By {Metric.parse(against.metric).of}, {when}, {_measured(against)}; {rank} ({tried})."
        text += " Among so many, one in twenty differs by chance." if judged > 1 else ""
    if returns is not None:
        text += f" What was forgotten comes back: {_moved(returns)}"
    if teacher is None:
        text += " Without the original model it is not known whether these patients ever had a measurable influence."
    return text


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
