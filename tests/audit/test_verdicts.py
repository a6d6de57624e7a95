"""Verdicts: every edge of every rule, exactly one label for any numbers, and nothing matched in silence."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.audit import Record, verdict
from mu_monai.audit.verdicts import CANNOT_TELL, LABELS, MATCHED, NO_BASELINE, OVER, RULES, SHALLOW, UNDER
from mu_monai.errors import InputError


def make_record(gap, low, high, *, model="student", n_patients=40, retrained=0.5, **changes) -> Record:
    """An AUC by its gap to the retrained model's."""
    ends = {"value": retrained + gap, "low": retrained + low, "high": retrained + high}
    gaps = {"reference": "retrained/forget", "gap": gap, "gap_low": low, "gap_high": high, "ideal": retrained}
    of = {"model": model, "metric": "auc[loss]", "subset": "forget", "n_patients": n_patients, "n_cases": n_patients}
    return Record(**(of | ends | gaps | changes))


def without_reference(record: Record) -> Record:
    """The same where there is no retrained model."""
    return replace(record, reference="", gap=math.nan, gap_low=math.nan, gap_high=math.nan)


TEACHER = make_record(0.4, 0.3, 0.5, model="teacher")


def judge(*records, n_unseen=100, **settings):
    return verdict([TEACHER, *records], n_unseen=n_unseen, **settings)


@pytest.mark.parametrize(
    ("gap", "low", "high", "label"),
    [
        (0.0, -0.05, 0.05, MATCHED),  # the ends may lie on the tolerance
        (0.03, 0.01, 0.05, MATCHED),  # apart from 0, and too little to matter
        (-0.03, -0.05, -0.01, MATCHED),
        (0.0, 0.0, 0.0, MATCHED),
        (0.04, 0.01, 0.051, CANNOT_TELL),  # apart from 0, and not known to be beyond the tolerance
        (0.051, 0.001, 0.1, UNDER),  # below the tolerance at its lower end alone
        (0.2, 0.1, 0.3, UNDER),
        (0.051, 0.0, 0.1, CANNOT_TELL),  # reaches 0
        (0.05, 0.001, 0.1, CANNOT_TELL),  # on the tolerance
        (-0.051, -0.1, -0.001, OVER),
        (-0.2, -0.3, -0.1, OVER),
        (-0.051, -0.1, 0.0, CANNOT_TELL),
        (-0.04, -0.051, -0.01, CANNOT_TELL),
        (0.0, -0.06, 0.04, CANNOT_TELL),
        (0.0, -0.2, 0.2, CANNOT_TELL),
        (0.06, -0.01, 0.05, CANNOT_TELL),  # an estimate outside of its interval is not matched by it
    ],
)
def test_every_edge(gap, low, high, label):
    found = judge(make_record(gap, low, high))
    assert found.label == label
    assert found.rule
    assert found.evidence[0].model == "student"
    assert (found.needed_patients is not None) == (label == CANNOT_TELL and high - low > 0.1)


GAPS = st.floats(-0.5, 0.5)


@given(gap=GAPS, below=st.floats(0, 0.5), above=st.floats(0, 0.5), shift=st.floats(0, 0.5))
def test_exactly_one_label_and_monotone_in_the_gap(gap, below, above, shift):
    side = {OVER: -1, CANNOT_TELL: 0, MATCHED: 0, UNDER: 1}
    first, second = (judge(make_record(g, g - below, g + above)) for g in (gap, gap + shift))
    assert first.label in LABELS
    assert side[first.label] <= side[second.label]


@given(gap=GAPS, low=GAPS, high=GAPS)
def test_swapping_the_sides_swaps_the_labels(gap, low, high):
    low, high = sorted((low, high))
    swapped = {UNDER: OVER, OVER: UNDER}
    label = judge(make_record(gap, low, high)).label
    assert judge(make_record(-gap, -high, -low)).label == swapped.get(label, label)


@given(gap=GAPS, half=st.floats(0, 0.5), wider=st.floats(0.05, 0.4))
def test_a_larger_tolerance_never_takes_matched_away(gap, half, wider):
    record = make_record(gap, gap - half, gap + half)
    if judge(record).label == MATCHED:
        assert judge(record, tolerance=wider).label == MATCHED


@pytest.mark.parametrize(("low", "label"), [(-0.1, NO_BASELINE), (0.0, NO_BASELINE), (0.001, MATCHED)])
def test_without_influence_of_the_patients_on_the_original_nothing_is_attested(low, label):
    teacher = make_record(0.06, low, 0.2, model="teacher")
    found = verdict([teacher, make_record(0.0, -0.01, 0.01)], n_unseen=100)
    assert found.label == label
    assert ("nothing can be attested" in found.sentence) == (label == NO_BASELINE)


def test_no_baseline_still_tells_that_the_student_is_far_off():
    teacher = make_record(0.0, -0.1, 0.1, model="teacher")
    found = verdict([teacher, make_record(-0.3, -0.4, -0.2)], n_unseen=100)
    assert found.label == NO_BASELINE
    assert "the AUC is 0.200, \N{MINUS SIGN}0.300" in found.but
    assert "the only such number (0 other signals; no attack on the released model was tried)." in found.but


@pytest.mark.parametrize(
    ("gap", "low", "high", "needed"),
    [
        (0.04, 0.0, 0.12, 27),  # 12 (0.06 / 0.04)^2: as large as it seems
        (0.01, -0.06, 0.06, 27),  # 12 (0.06 / 0.04)^2: to be left out beyond 0.05
        (0.05, 0.0, 0.06, 13),  # nearly told: one more at least
        (0.0, -0.05, 0.05, None),
        (-0.2, -0.3, -0.1, None),
    ],
)
def test_no_baseline_tells_whether_too_few_patients_are_the_reason(gap, low, high, needed):
    teacher = make_record(gap, low, high, model="teacher", n_patients=12)
    found = verdict([teacher, make_record(0.1, -0.1, 0.2, n_patients=12)], n_unseen=100)
    assert (found.label, found.needed_patients) == (NO_BASELINE, needed)
    assert (f"cannot be excluded: to tell takes about {needed} forgotten patients" in found.sentence) == bool(needed)
    assert "By the student's loss, the AUC is 0.600, +0.100" in found.sentence


def test_without_a_teacher_it_says_what_is_not_known():
    found = verdict([make_record(0.0, -0.01, 0.01)], n_unseen=100)
    assert found.label == MATCHED
    assert "not known whether these patients ever had" in found.but


def test_without_a_retrained_model_the_reference_is_one_half():
    record = without_reference(make_record(0.0, -0.02, 0.03))
    found = verdict([without_reference(TEACHER), record], n_unseen=100)
    assert found.label == MATCHED
    assert "0.5, where unseen patients are" in found.sentence


@pytest.mark.parametrize("n_patients", [1, 2, 9])
def test_few_patients_never_decide(n_patients):
    found = judge(make_record(0.4, 0.4, 0.4, n_patients=n_patients))
    assert found.label == CANNOT_TELL
    assert found.needed_patients == 129  # (1.96 / (0.05 sqrt(12)))^2 = 128.05
    assert "about 129 forgotten patients" in found.sentence


def test_of_one_patient_it_tells_the_rank():
    record = make_record(0.47, math.nan, math.nan, n_patients=1)
    assert "lower than that of 97 % of the unseen patients" in judge(record).sentence


def test_few_unseen_patients_never_decide():
    found = judge(make_record(0.4, 0.4, 0.4), n_unseen=9)
    assert found.label == CANNOT_TELL
    assert "9 unseen patients are too few" in found.sentence


def test_how_many_patients_follows_from_the_width():
    found = judge(make_record(0.0, -0.1, 0.1, n_patients=30))
    assert found.needed_patients == 120  # half as wide takes four times as many
    assert "About 120 forgotten patients" in found.sentence


def test_at_the_edge_of_the_tolerance_more_patients_are_no_promise():
    found = judge(make_record(0.04, 0.01, 0.07))
    assert (found.label, found.needed_patients) == (CANNOT_TELL, None)
    assert "at the edge" in found.sentence


MATCH = make_record(0.0, -0.01, 0.01)


def test_the_strongest_contradiction_is_named():
    mild = make_record(0.1, 0.05, 0.15, metric="auc[bce]")
    strong = make_record(0.2, 0.1, 0.3, attack="retain-finetuning")
    unsure = make_record(0.3, -0.1, 0.5, metric="auc[dice]")
    before = make_record(0.4, 0.3, 0.5, attack="relearning@0")  # no attack yet
    found = judge(MATCH, mild, strong, unsure, before)
    assert found.label == MATCHED
    assert found.evidence == (MATCH, TEACHER, strong)
    assert found.but.startswith("By loss, after retain-finetuning, the AUC is 0.700, +0.200 (+0.100 to +0.300)")
    assert "the strongest of 3 (2 other signals and 1 attack). Among so many, one in twenty" in found.but


def rebound(value, retrained, attack="retain-finetuning[lr=0.001]", **changes):
    """How far an attack moved the student's AUC, and the retrained model's."""
    gap = value - retrained
    ends = {"low": value - 0.02, "high": value + 0.02, "gap_low": gap - 0.03, "gap_high": gap + 0.03}
    numbers = {"metric": "rebound", "value": value, "gap": gap, "ideal": retrained, "attack": attack}
    return replace(MATCH, **(numbers | ends | changes))


@pytest.mark.parametrize(
    ("value", "retrained", "label"),
    [
        (0.2, 0.0, SHALLOW),
        (0.07, 0.01, SHALLOW),
        (0.05, 0.0, MATCHED),  # on the tolerance
        (0.2, 0.18, MATCHED),  # what both gain is generalization
        (0.02, -0.2, SHALLOW),
        (-0.01, -0.2, MATCHED),  # it does not come back
        (0.0, 0.3, MATCHED),
    ],
)
def test_forgetting_that_does_not_last_is_shallow(value, retrained, label):
    found = judge(MATCH, rebound(value, retrained))
    assert found.label == label
    assert (rebound(value, retrained) in found.evidence) == (label == SHALLOW)


def test_an_attack_on_few_patients_decides_nothing():
    """Relearning is tested on the forgotten patients that the attacker does not have."""
    assert judge(MATCH, rebound(0.2, 0.0, n_patients=9)).label == MATCHED
    assert judge(MATCH, rebound(0.2, 0.0, n_patients=10)).label == SHALLOW


def test_the_worst_attack_counts_and_is_named():
    mild, strong = rebound(0.1, 0.0, "int4"), rebound(0.25, 0.05, "relearning[lr=0.001]@5")
    high = rebound(0.3, 0.25)  # the retrained model moves nearly as much
    found = judge(MATCH, mild, strong, high)
    assert found.label == SHALLOW
    assert found.evidence == (MATCH, TEACHER, strong)
    assert "that does not last: the AUC is 0.500" in found.sentence
    assert (
        "after relearning@5 (learning rate 0.001) it is higher by +0.250, the retrained model's by +0.050: a diff"
        in (found.sentence)
    )
    assert found.sentence.endswith("a difference of +0.200 (+0.170 to +0.230).")
    assert found.rule.endswith("brings it up by more than 0.05 beyond what it adds to the retrained model's")
    assert found.needed_patients is None


@pytest.mark.parametrize(
    "move",
    [
        rebound(0.3, 0.0, "relearning[lr=0.001]@0"),  # before the attack
        rebound(0.3, 0.0, "adapter-removal"),  # of the folder, not of the model
        rebound(0.3, 0.0, model="retrained"),
    ],
)
def test_what_is_no_attack_on_the_released_model_makes_nothing_shallow(move):
    assert judge(MATCH, move).label == MATCHED


@pytest.mark.parametrize(
    ("main", "label"),
    [
        (make_record(0.2, 0.1, 0.3), UNDER),
        (make_record(-0.2, -0.3, -0.1), OVER),
        (replace(MATCH, n_patients=9), CANNOT_TELL),
    ],
)
def test_what_is_bad_anyway_and_what_is_about_too_few_is_not_called_shallow(main, label):
    assert judge(main, rebound(0.3, 0.0)).label == label


@pytest.mark.parametrize(
    ("move", "label"),
    [
        (rebound(0.3, 0.0), SHALLOW),
        (rebound(0.07, 0.01), SHALLOW),
        (rebound(0.06, 0.0, gap_low=-0.01), CANNOT_TELL),  # one among many attacks, by chance
        (rebound(0.3, 0.0, gap_low=math.nan), CANNOT_TELL),
        (rebound(0.05, 0.0), CANNOT_TELL),
        (without_reference(rebound(0.3, 0.0)), SHALLOW),
        (without_reference(rebound(0.3, 0.0, low=-0.1)), CANNOT_TELL),
    ],
)
def test_where_the_answers_cannot_be_judged_a_sure_comeback_can(move, label):
    unsure = make_record(0.0, -0.2, 0.2)
    found = judge(unsure, move)
    assert (found.label, found.needed_patients is None) == (label, label == SHALLOW)
    assert found.sentence.startswith("Whatever the student forgot comes back: the AUC is 0.500") == (label == SHALLOW)
    assert judge(unsure, move, rules=2).label == CANNOT_TELL
    assert verdict([unsure, TEACHER, move], n_unseen=9).label == CANNOT_TELL


def test_where_it_is_the_retrained_model_that_falls_it_is_not_said_that_something_comes_back():
    told = "nder attack the forgotten patients stand out more than with the retrained model: "
    unsure, falls = make_record(0.0, -0.2, 0.2), rebound(0.01, -0.06)
    found = judge(unsure, falls)
    assert (found.label, found.sentence.startswith(f"U{told}the AUC is 0.500")) == (SHALLOW, True)
    assert (
        f"U{told}after retain-finetuning (learning rate 0.001) it is higher by +0.010, the retrained model's by "
        in (judge(make_record(0.2, 0.1, 0.3), falls).but)
    )
    assert f"as it should, but u{told}" in judge(MATCH, falls).sentence
    assert told not in judge(unsure, rebound(0.04, -0.03)).sentence


@pytest.mark.parametrize("ends", [(0.2, 0.1, 0.3), (-0.2, -0.3, -0.1)])
def test_what_comes_back_is_said_under_any_label(ends):
    main, back = make_record(*ends), rebound(0.3, 0.0)
    found = judge(main, back, rebound(0.2, 0.0, "int4"))
    assert "comes back: after retain-finetuning (learning rate 0.001) it is higher by +0.300" in found.but
    assert "Nothing else" not in found.but
    assert back in found.evidence
    earlier = judge(main, back, rules=3)
    assert back not in earlier.evidence
    assert earlier.but == "Nothing else that was measured contradicts it (0 other signals; no attack was tried)."
    assert "comes back" not in judge(main, rebound(0.3, 0.0, gap_low=-0.01)).but


def test_without_a_retrained_model_all_that_comes_back_counts_and_it_is_said():
    move = without_reference(rebound(0.1, 0.0))
    found = verdict([without_reference(TEACHER), without_reference(MATCH), move], n_unseen=100)
    assert found.label == SHALLOW
    assert (
        "higher by +0.100 (+0.080 to +0.120). Without a retrained model it is not known how much of that any model "
        "would gain." in found.sentence
    )
    assert found.rule.endswith("beyond 0, without a retrained model to compare")


def test_by_the_rules_of_earlier_versions_nothing_is_shallow():
    earlier, now = (judge(MATCH, rebound(0.3, 0.0), rules=rules) for rules in (1, RULES))
    assert (earlier.label, earlier.rules, now.label, now.rules) == (MATCHED, 1, SHALLOW, RULES)
    assert "that does not last" not in earlier.sentence


@pytest.mark.parametrize("rules", [0, RULES + 1])
def test_unknown_rules_are_refused(rules):
    with pytest.raises(InputError, match=f"rules={rules} are not known"):
        judge(MATCH, rules=rules)


def test_the_same_finding_elsewhere_contradicts_nothing():
    found = judge(make_record(0.2, 0.1, 0.3), make_record(0.3, 0.2, 0.4, metric="auc[bce]"))
    assert found.but.startswith("Nothing else that was judged contradicts it")
    assert found.but.endswith("(1 other signal; no attack on the released model was tried).")


@pytest.mark.parametrize("metric", ["auc[logistic]", "auc[u-lira]"])
def test_what_finds_both_sides_does_not_contradict_one_of_them(metric):
    apart, alike = (make_record(g, g - 0.05, g + 0.05, metric=metric) for g in (0.3, -0.3))
    assert judge(MATCH, apart).evidence[-1] == apart
    assert alike not in judge(MATCH, alike).evidence
    assert apart not in judge(make_record(-0.3, -0.4, -0.2), apart).evidence


def test_the_records_of_other_models_subsets_and_metrics_do_not_count():
    others = [
        make_record(0.3, 0.2, 0.4, model="retrained", metric="auc[bce]"),
        make_record(0.3, 0.2, 0.4, metric="tpr@0.01[loss]"),
        make_record(0.3, 0.2, 0.4, n_patients=5, attack="relearning"),
    ]
    assert judge(MATCH, *others).evidence == (MATCH, TEACHER)


def test_a_ruined_model_is_not_matched_in_silence():
    """A model that answers everything alike cannot tell anybody apart."""
    lost = make_record(-0.3, -0.4, -0.2, metric="dice", subset="retain", reference="retrained/retain", value=0.6)
    less = make_record(-0.1, -0.2, -0.05, metric="dice", subset="test", reference="retrained/test")
    fine = make_record(-0.1, -0.2, -0.01, metric="dice", subset="retain", reference="retrained/retain")
    found = judge(MATCH, less, lost)
    assert found.evidence[-1] == lost
    assert "The model lost what it was to keep: dice on retain is 0.600" in found.but
    assert "lost" not in judge(MATCH, fine, replace(lost, attack="int4")).but


def test_a_loss_that_the_retrained_model_shares_is_seen_against_the_original():
    """The gap to the retrained model is 0, for it is ruined as well."""
    drop = {"metric": "dice_drop", "subset": "test", "reference": "teacher/test", "value": 0.3, "low": 0.2, "high": 0.4}
    lost = replace(make_record(0.0, 0.0, 0.0), **drop)
    found = judge(MATCH, lost)
    assert found.evidence[-1] == lost
    assert "dice on test is lower than the original's by 0.300 (+0.200 to +0.400). A ruined model" in found.but
    for harmless in (replace(lost, low=0.02), replace(lost, subset="retain"), replace(lost, subset="forget")):
        assert "lost" not in judge(MATCH, harmless).but
    assert "lost" not in judge(MATCH, lost, rules=4).but


FEW = make_record(0.5, 0.4, 0.5, n_patients=8, attack="relearning[lr=0.001]")


def test_an_attack_on_too_few_patients_is_told_and_does_not_count_as_harmless():
    found = judge(MATCH, replace(FEW, gap=0.1, value=0.6, attack="relearning[lr=0.001]@5"), FEW)
    assert found.label == MATCHED
    assert found.but == (
        "Nothing else could be judged (0 other signals; no attack on the released model was judged). Besides, "
        "relearning was tested on 8 patients, too few to judge; there the AUC is 1.000."
    )
    signal = make_record(0.0, -0.1, 0.1, metric="auc[bce]")
    but = judge(MATCH, FEW, signal, make_record(0.0, -0.1, 0.1, attack="int8")).but
    assert but.startswith("Nothing else that was judged contradicts it (1 other signal and 1 attack). Besides, relearn")
    earlier = judge(MATCH, FEW, rules=4)
    assert earlier.but == "Nothing else that was measured contradicts it (0 other signals and 1 attack)."


def test_with_few_unseen_patients_nothing_is_judged():
    others = [make_record(0.5, 0.4, 0.5, metric="auc[dice]"), make_record(0.5, 0.4, 0.5, attack="int8")]
    found = judge(MATCH, *others, rebound(0.5, 0.0), n_unseen=2)
    assert found.label == CANNOT_TELL
    assert found.evidence == (MATCH, TEACHER)
    assert found.but == (
        "Nothing else could be judged (0 other signals; no attack on the released model was judged). Besides, 1 other "
        "signal was measured on too few patients to judge; and int8 was tested on 2 unseen patients, too few to judge; "
        "there the AUC is 1.000."
    )


@pytest.mark.parametrize("gap", [0.0, -0.2, 0.2])
def test_an_original_that_answers_worse_shows_that_the_groups_are_not_comparable(gap):
    teacher = without_reference(make_record(-0.195, -0.297, -0.087, model="teacher"))
    main = without_reference(make_record(gap, gap - 0.01, gap + 0.01))
    found = verdict([teacher, main, without_reference(rebound(0.3, 0.0))], n_unseen=100)
    assert (found.label, found.needed_patients) == (CANNOT_TELL, None)
    assert "are not comparable" in found.sentence
    assert "A retrained model is needed" in found.sentence
    assert "the AUC is 0.305, \N{MINUS SIGN}0.195" in found.sentence
    assert verdict([teacher, main], n_unseen=100, rules=4).label == NO_BASELINE
    assert verdict([replace(teacher, high=0.5), main], n_unseen=100).label == NO_BASELINE


@pytest.mark.parametrize("main", [MATCH, make_record(0.2, 0.1, 0.3), make_record(0.0, -0.1, 0.1)])
def test_what_a_gap_to_one_half_assumes_is_said(main):
    alike = "this assumes that forgotten and unseen patients are alike."
    teacher = without_reference(TEACHER)
    assert verdict([teacher, without_reference(main)], n_unseen=100).sentence.endswith(alike)
    assert alike not in verdict([teacher, without_reference(main)], n_unseen=100, rules=4).sentence
    assert alike not in judge(main).sentence


@pytest.mark.parametrize("tolerance", [0, -0.1, 0.5, math.nan])
def test_a_tolerance_that_means_nothing_is_refused(tolerance):
    with pytest.raises(InputError, match="is not allowed; give the largest gap"):
        judge(MATCH, tolerance=tolerance)


def test_without_the_main_number_there_is_no_verdict():
    with pytest.raises(InputError, match=r"the student's auc\[loss\] on forget.*mu-monai evaluate RUN"):
        judge()
