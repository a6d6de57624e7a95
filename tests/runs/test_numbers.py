"""The names of numbers are read as they were built, whatever a class, layer or signal is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.runs.numbers import AUC, AUC_OF_ALL, AUC_OF_LOSS, TPR, Group, Metric, State, at_worst_rate, worst_rates

QUANTITIES = st.sampled_from(["dice", "auc", "tpr", "hd95", "cka_to_teacher", "dice_drop", "f1", "weight_distance"])
OF = st.none() | st.text() | st.sampled_from(["", "a [b] c", "[", "]", "x@5", "left/right", "]@0.1[", "a\nb", "NA"])
RATES = st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True, allow_subnormal=False)
ATTACKS = st.sampled_from(["relearning", "int8", "adapter-removal", "retain-finetuning"])


@given(st.builds(Metric, QUANTITIES, OF, RATES))
def test_a_metric_is_read_as_it_was_built(metric):
    assert Metric.parse(str(metric)) == metric


@given(st.builds(State, ATTACKS, st.none() | st.integers(0, 10**6), RATES))
def test_a_state_is_read_as_it_was_built(state):
    assert State.parse(str(state)) == state


@given(st.builds(Group, st.sampled_from(["teacher", "retrained", "student"]), st.sampled_from(["", "forget", "test"])))
def test_a_reference_is_read_as_it_was_built(group):
    assert Group.parse(str(group)) == group


@given(st.text())
def test_any_text_has_a_name_and_stays_the_same(text):
    assert str(Metric.parse(text).quantity) in text
    assert str(State.parse(text)).replace("@", "").strip("0123456789") == text.replace("@", "").strip("0123456789")
    assert str(Group.parse(text)) in (text, text.removesuffix("/"))


@pytest.mark.parametrize(
    ("text", "quantity", "of", "rate"),
    [
        ("dice", "dice", None, None),
        ("auc[loss]", AUC, "loss", None),
        ("tpr@0.001[u-lira]", TPR, "u-lira", 0.001),
        ("dice[a [b] c]", "dice", "a [b] c", None),
        ("dice[x@5]", "dice", "x@5", None),
        ("cka_to_teacher[model.1/conv]", "cka_to_teacher", "model.1/conv", None),
        ("f1[]", "f1", "", None),
        ("auc[loss", "auc[loss", None, None),
        ("tpr@much", "tpr@much", None, None),
    ],
)
def test_names_as_they_stand_in_files(text, quantity, of, rate):
    assert Metric.parse(text) == Metric(quantity, of, rate)
    assert str(Metric.parse(text)) == text


def test_names_that_files_hold_stay_what_they_are():
    assert (AUC_OF_LOSS, AUC_OF_ALL) == ("auc[loss]", "auc[logistic]")
    assert [str(Metric(TPR, "loss", rate)) for rate in (0.01, 0.001)] == ["tpr@0.01[loss]", "tpr@0.001[loss]"]
    assert (str(State("relearning", 0)), str(Group("teacher"))) == ("relearning@0", "teacher")
    assert State.parse("relearning@0").step == 0
    assert State.parse("@5") == State("@5")
    assert State.parse("relearning[lr=1e-05]@5") == State("relearning", 5, 1e-5)
    assert State.parse("relearning[lr=much]") == State("relearning[lr=much]")


def rebound(attack, value, ideal=0.0, model="student"):
    return {"model": model, "metric": "rebound", "attack": attack, "value": value, "ideal": ideal}


def test_the_worst_rate_is_that_of_the_largest_move_beyond_the_retrained_models_after_any_step():
    found = [
        rebound("relearning[lr=1e-05]", 0.1),
        rebound("relearning[lr=0.001]", 0.3, ideal=0.3),  # the retrained model moves as much
        rebound("relearning[lr=0.0001]@5", 0.2, ideal=0.05),
        rebound("relearning[lr=0.0001]", 0.0),
        rebound("relearning[lr=0.1]", 0.9, model="retrained"),
        rebound("retain-finetuning", 0.1),  # by an earlier version, at a single rate
    ]
    worst = worst_rates(found)
    assert worst == {"relearning": 1e-4, "retain-finetuning": None}
    shown = [record["attack"] for record in found if at_worst_rate(record["attack"], worst)]
    assert shown == ["relearning[lr=0.0001]@5", "relearning[lr=0.0001]", "retain-finetuning"]
    assert all(at_worst_rate(name, worst) for name in ("", "int8", "linear-probe"))


def test_a_rate_that_raises_the_student_is_worse_than_one_that_only_lowers_the_retrained_model():
    found = [rebound("relearning[lr=0.001]", -0.02, ideal=-0.2), rebound("relearning[lr=0.0001]", 0.07)]
    assert worst_rates(found) == {"relearning": 1e-4}
    assert worst_rates(found[:1]) == {"relearning": 1e-3}
    before = rebound("relearning[lr=0.001]@0", 0.5)  # before the attack
    assert worst_rates([before, *found]) == {"relearning": 1e-4}
