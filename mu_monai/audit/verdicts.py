"""The verdict of the audit, by stated rules: does the student treat the forgotten patients as it should?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mu_monai.audit.attacks import excess
from mu_monai.audit.records import Record
from mu_monai.audit.subgroups import MARGIN
from mu_monai.audit.verdict_sentences import (
    CANNOT_TELL,
    CHANCE,
    JUDGED_SINCE,
    MATCHED,
    MIN_PATIENTS,
    NO_BASELINE,
    OVER,
    RETURNS_SINCE,
    SHALLOW,
    UNDER,
    assumed,
    contradictions,
    damage,
    gap_of,
    is_to_retrained,
    sentence_of,
    shallow_sentence,
    signed,
    unlike_sentence,
    what_of,
)
from mu_monai.errors import InputError
from mu_monai.keys import FORGET, RETAIN, STUDENT, TEACHER, TEST
from mu_monai.runs.numbers import AUC, AUC_OF_LOSS, DROP, LOGISTIC, REBOUND, U_LIRA, Metric, State
from mu_monai.runs.scores import LEADING_METRICS

LABELS = (UNDER, MATCHED, SHALLOW, OVER, NO_BASELINE, CANNOT_TELL)
RULES = 5  # the version of the rules
SHALLOW_SINCE = 2  # by those of version 1, no verdict is SHALLOW, and by those of version 2 only what would be MATCHED
WIDENED_SINCE = 5  # numbers that were audited by earlier ones have intervals that are too narrow for few patients
TOLERANCE = 0.05
_TWO_SIDED = (LOGISTIC, U_LIRA)  # near 1 for patients that stand out on either side
_DROPS = tuple(f"{metric}{DROP}" for metric in LEADING_METRICS)
_NOT_KNOWN = "Without the original model it is not known whether these patients ever had a measurable influence."
_OF_THE_FOLDER = "adapter-removal"  # about what the run folder gives away, not about the released model
_UNLIKE = "the interval of the teacher's gap is below 0, and there is not a retrained model to compare with"
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
        but: other measurements that contradict the label, that none does or that none could be judged, and whether the
            model lost what it was to keep; never empty.
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
    | CANNOT TELL | without a retrained model, the teacher's gap has h < 0: the two groups are not comparable |
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
    count.

    Without a retrained model the gap is to 0.5, which assumes that forgotten and unseen patients are alike, and the
    sentence says so. Where the original itself answers the forgotten patients worse than unseen ones, they are not: it
    takes a retrained model to tell, and not more patients.

    The number of patients that would be needed follows from the width of the interval, which shrinks roughly with one
    over the square root of their number if unseen patients increase in proportion: n ((h - l) / 2m)^2, valid if the
    true gap is 0. With too few patients for an interval it is (1.96 / (m sqrt(12)))^2, since the rank of an unseen
    patient among others is uniform.

    NO BASELINE can mean that there are too few patients. If the teacher's h is above m, an influence up to h is not
    excluded, and n ((h - l) / 2d)^2 patients with d = max(g, m - g) would show an influence of size g or exclude one
    beyond m. Here g, l and h are all the teacher's.

    Under any other label, the worst attack whose difference has an interval above 0 is named in `but`. If Dice or
    accuracy on retained or unseen cases has a gap whose whole interval lies below -0.02, `but` says so: a model that
    gives every case the same answer would match. On unseen cases the gap to the original counts as well, since a
    retrained model that lost as much would hide it.

    Any other AUC of the student, by another signal or after an attack, is judged by the same rules, if at least 10
    forgotten and 10 unseen patients were tested; `but` tells those that were not judged, and their AUC. The one with
    the largest gap that is UNDER- or OVER-FORGOTTEN and contradicts the label is named in `but`, with how many were
    judged: the intervals are not corrected for multiple comparisons, and one in 20 misses its reference by chance. A
    logistic regression and U-LiRA find patients that stand out on either side, so they never contradict UNDER- or
    OVER-FORGOTTEN, and a low AUC of theirs contradicts nothing. Removing the adapters is left out: it restores the
    original wherever the run folder is available.

    Args:
        records: the utility and membership records of all models, and those after attacks.
        n_unseen: how many patients `test` has.
        tolerance: the largest gap of the AUC that counts as no gap, in (0, 0.5).
        rules: the version of the rules, 1 to 5; audits that name none are by version 1, which has no SHALLOW, by
            version 2 it only takes the place of MATCHED, and by version 3 nothing that comes back is named elsewhere.
            By version 4 what was tested on too few patients counts as what contradicts nothing, groups are always
            comparable, and the original is not looked at for what was lost.

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
    if not 0 < tolerance < CHANCE:
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
    label, rule = _decide(main, teacher, n_unseen, tolerance, rules)
    before, judgeable = label, _judgeable(records, n_unseen, rules)
    settled = rule == _UNLIKE or min(main.n_patients, n_unseen) < MIN_PATIENTS
    back = max(() if settled else _moves(judgeable, tolerance, label, rules), key=excess, default=None)
    if back is not None:
        label, rule = SHALLOW, f"{rule}, and an attack brings it up by more than {tolerance:g} beyond {what_of(back)}"
    others = _others(records, main, label)
    judged = [record for record in others if record in judgeable]
    against = _strongest(judged, label, tolerance)
    told = rules >= RETURNS_SINCE and back is None
    returns = max(_sure(judgeable, tolerance) if told else (), key=excess, default=None)
    cost = _cost(records, rules)
    needed = _needed(main, teacher, label, rule, tolerance)
    if back is not None:
        sentence = shallow_sentence(main, back, before)
    elif rule == _UNLIKE and teacher is not None:
        sentence = unlike_sentence(main, teacher)
    else:
        sentence = sentence_of(label, main, teacher, n_unseen, tolerance, needed)
    evidence = [record for record in (main, teacher, back, against, returns, cost) if record is not None]
    against_it = contradictions(others, judged, against, returns, n_unseen, rules)
    but = (against_it, "" if teacher is not None else _NOT_KNOWN, damage(cost))
    return Verdict(
        label=label,
        rule=rule,
        sentence=sentence + ("" if rule == _UNLIKE else assumed(main, rules)),
        evidence=tuple(dict.fromkeys(evidence)),
        needed_patients=needed,
        but=" ".join(filter(None, but)),
        rules=rules,
    )


def _judgeable(records: Sequence[Record], n_unseen: int, rules: int) -> list[Record]:
    """The records that are evidence: those of enough patients."""
    if rules >= JUDGED_SINCE and n_unseen < MIN_PATIENTS:
        return []
    return [record for record in records if record.n_patients >= MIN_PATIENTS]


def _others(records: Sequence[Record], main: Record, label: str) -> list[Record]:
    """The AUCs of the student that could contradict a label."""
    return [
        record
        for record in records
        if _is_evidence(record)
        and record.attack != _OF_THE_FOLDER
        and State.parse(record.attack).step != 0  # before the attack, on the patients that the attacker does not have
        and (record is not main or label == NO_BASELINE)
    ]


def _find(records: Sequence[Record], model: str) -> Record | None:
    candidates = [record for record in records if record.metric == AUC_OF_LOSS and _is_evidence(record, model)]
    return next((record for record in candidates if not record.attack), None)


def _is_evidence(record: Record, model: str = STUDENT) -> bool:
    return record.model == model and record.subset == FORGET and Metric.parse(record.metric).quantity == AUC


def _decide(main: Record, teacher: Record | None, n_unseen: int, tolerance: float, rules: int) -> tuple[str, str]:
    for n_patients, which in ((main.n_patients, "forgotten"), (n_unseen, "unseen")):
        if n_patients < MIN_PATIENTS:
            return CANNOT_TELL, f"fewer than {MIN_PATIENTS} {which} patients"
    if teacher is not None and rules >= JUDGED_SINCE and not is_to_retrained(teacher) and gap_of(teacher)[2] < 0:
        return CANNOT_TELL, _UNLIKE
    if teacher is not None and not gap_of(teacher)[1] > 0:
        return NO_BASELINE, "the interval of the teacher's gap is not above 0"
    return _by_gap(main, tolerance)


def _by_gap(record: Record, tolerance: float) -> tuple[str, str]:
    gap, low, high = gap_of(record)
    if max(abs(gap), abs(low), abs(high)) <= tolerance:
        return MATCHED, f"the whole 95 % interval of the gap lies within \N{PLUS-MINUS SIGN}{tolerance:g}"
    if low > 0 and gap > tolerance:
        return UNDER, f"the 95 % interval of the gap is above 0, and the gap above {tolerance:g}"
    if high < 0 and gap < -tolerance:
        return OVER, f"the 95 % interval of the gap is below 0, and the gap below {signed(-tolerance)}"
    return CANNOT_TELL, (
        f"the 95 % interval of the gap leaves \N{PLUS-MINUS SIGN}{tolerance:g}, and does not show a gap beyond it"
    )


def _strongest(judged: Sequence[Record], label: str, tolerance: float) -> Record | None:
    """The record with the largest gap that contradicts the label."""
    apart = [record for record in judged if _contradicts(record, label, tolerance)]
    return max(apart, key=lambda record: abs(gap_of(record)[0]), default=None)


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
            and excess(record) > tolerance
        ):
            yield record


def _sure(records: Sequence[Record], tolerance: float) -> Iterator[Record]:
    """Those whose interval is above 0."""
    found = _rebounds(records, tolerance)
    return (record for record in found if (record.gap_low if is_to_retrained(record) else record.low) > 0)


def _cost(records: Sequence[Record], rules: int) -> Record | None:
    """The largest loss, interval included, on cases that were to be kept: a ruined model matches anything.

    On unseen cases it is also sought against the original: a retrained model that is ruined as well hides it.
    """
    kept = [
        record
        for record in records
        if record.model == STUDENT and record.subset in (RETAIN, TEST) and not record.attack
    ]
    lost = {record: record.gap for record in kept if record.metric in LEADING_METRICS and record.gap_high < -MARGIN}
    if rules >= JUDGED_SINCE:
        drops = [record for record in kept if record.subset == TEST and record.metric in _DROPS and record.low > MARGIN]
        lost |= {record: -record.value for record in drops}
    return min(lost, key=lambda record: lost[record], default=None)


def _needed(main: Record, teacher: Record | None, label: str, rule: str, tolerance: float) -> int | None:
    """How many forgotten patients it would take to decide; None if it is decided, or if more would not help."""
    if label == NO_BASELINE and teacher is not None:
        return _needed_for_baseline(teacher, tolerance)
    if label != CANNOT_TELL or rule == _UNLIKE:
        return None
    _, low, high = gap_of(main)
    half = (high - low) / 2
    if main.n_patients < MIN_PATIENTS:
        return math.ceil((_UNIFORM / tolerance) ** 2)
    return math.ceil(main.n_patients * (half / tolerance) ** 2) if half > tolerance else None


def _needed_for_baseline(teacher: Record, tolerance: float) -> int | None:
    """How many patients would show the teacher's apparent influence, or exclude one beyond the tolerance."""
    gap, low, high = gap_of(teacher)
    if not high > tolerance:
        return None
    apart = max(gap, tolerance - gap)
    return max(teacher.n_patients + 1, math.ceil(teacher.n_patients * ((high - low) / 2 / apart) ** 2))
