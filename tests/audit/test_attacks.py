"""Records of attacks, against numbers worked out by hand."""

import dataclasses
import math
import re

import pandas as pd
import pytest

from mu_monai.audit import attack_records, attack_sentences
from mu_monai.errors import InputError

UNSEEN = [0.3, 0.4, 0.5, 0.6]


def table(attack, model, forget, test=UNSEEN, stage=0, known=None, **columns):
    """One case per patient."""
    parts = {"forget": forget, "test": test} if known is None else {"known": known}
    rows = [
        {"attack": attack, "stage": stage, "model": model, "subset": subset, "patient_id": f"{subset}-{number}"}
        | {"case_id": f"{subset}-{number}-0", "loss": loss, "dice": 1 - loss}
        for subset, losses in parts.items()
        for number, loss in enumerate(losses)
    ]
    return pd.DataFrame(rows).assign(**columns)


def records(*tables):
    found = attack_records(pd.concat(tables, ignore_index=True), n_resamples=200)
    return {(record.attack, record.model, record.metric, record.subset): record for record in found}


@pytest.fixture
def attacked():
    """The student's forgotten patients all come back; the retrained model's do not."""
    hidden, back = [0.35, 0.45, 0.55, 0.65], [0.01, 0.02, 0.03, 0.04]
    return [
        table("", "student", hidden),
        table("", "retrained", hidden),
        table("int4", "student", back),
        table("int4", "retrained", hidden),
    ]


def test_the_auc_after_an_attack_and_the_rebound(attacked):
    found = records(*attacked)
    before = (4 * 0 + 3 + 2 + 1 + 0) / 16  # pairs in which the forgotten patient has the lower loss
    auc, rebound = found["int4", "student", "auc[loss]", "forget"], found["int4", "student", "rebound", "forget"]
    assert (auc.value, auc.ideal, auc.reference) == (1.0, before, "retrained/forget")
    assert (rebound.value, rebound.ideal, rebound.gap) == (1 - before, 0.0, 1 - before)
    assert rebound.low <= rebound.value <= rebound.high
    assert (rebound.n_patients, rebound.n_cases) == (4, 4)
    clean = found["int4", "retrained", "rebound", "forget"]
    assert (clean.value, clean.low, clean.high, clean.ideal, clean.reference) == (0, 0, 0, 0, "")
    assert math.isnan(clean.gap)


def test_without_a_retrained_model_the_rebound_should_be_none(attacked):
    found = records(attacked[0], attacked[2])
    rebound = found["int4", "student", "rebound", "forget"]
    assert (rebound.ideal, rebound.reference) == (0.0, "")
    assert found["int4", "student", "auc[loss]", "forget"].ideal == 0.5


def test_the_interval_is_over_patients():
    one = [table(name, "student", [0.2], [0.3, 0.4]) for name in ("", "int4")]
    rebound = records(*one)["int4", "student", "rebound", "forget"]
    assert rebound.n_patients == 1
    assert math.isnan(rebound.low)


def test_what_the_attack_costs(attacked):
    found = records(*attacked)
    dice = found["int4", "student", "dice", "forget"]
    assert (dice.value, dice.ideal) == (pytest.approx(0.975), pytest.approx(0.5))
    assert dice.gap == pytest.approx(0.475)
    assert found["int4", "retrained", "dice", "test"].value == pytest.approx(0.55)
    classes = [part.assign(accuracy=1.0).drop(columns="dice") for part in attacked]
    assert ("int4", "student", "accuracy", "test") in records(*classes)


def test_before_and_after_are_compared_on_the_patients_that_the_attacker_did_not_have():
    before = table("", "student", [0.01, 0.35, 0.45])
    after = table("relearning", "student", [0.35, 0.45], stage=5)
    after.loc[after["subset"] == "forget", "patient_id"] = ["forget-1", "forget-2"]
    after.loc[after["subset"] == "forget", "case_id"] = ["forget-1-0", "forget-2-0"]
    assert records(before, after)["relearning", "student", "rebound", "forget"].value == 0


def test_the_states_on_the_way_have_their_step_in_their_name(attacked):
    stages = [table("relearning", "student", [0.1, 0.2], stage=stage) for stage in (0, 5, 40)]
    names = {attack for attack, _, metric, _ in records(attacked[0], *stages) if metric == "auc[loss]"}
    assert names == {"relearning@0", "relearning@5", "relearning"}
    rebounds = {attack for attack, _, metric, _ in records(attacked[0], *stages) if metric == "rebound"}
    assert rebounds == names


def test_only_the_states_that_an_attack_broke_are_left_out(attacked):
    """The student breaks at the end, the retrained model already at step 20."""
    gone, back = [math.nan] * 4, [0.01, 0.02, 0.03, 0.04]
    stages = {5: (back, UNSEEN), 20: (back, gone), 40: (gone, gone)}
    parts = [
        table("relearning[lr=0.1]", model, losses, stage=stage)
        for stage, both in stages.items()
        for model, losses in zip(("student", "retrained"), both, strict=True)
    ]
    found = records(*attacked[:2], *parts)
    assert {attack for attack, *_ in found} == {"relearning[lr=0.1]@5", "relearning[lr=0.1]@20"}
    early, late = (found[f"relearning[lr=0.1]@{step}", "student", "rebound", "forget"] for step in (5, 20))
    assert (early.reference, late.reference) == ("retrained/forget", "")
    assert late.value == early.value == 0.625
    (sentence,) = attack_sentences(list(found.values()))
    assert sentence.startswith(
        "after relearning@20 (learning rate 0.1) the student's AUC on forgotten patients is 1.00"
    )


def relearning(student, retrained, teacher=1.0):
    """Losses on the known cases after 0, 1, 2 ... steps."""
    whole = [table("", model, UNSEEN) for model in ("teacher", "student", "retrained")]
    ends = [table("relearning", model, UNSEEN, stage=9) for model in ("student", "retrained")]
    curves = [
        table("relearning", model, (), stage=step, known=[loss - 0.1, loss + 0.1])
        for model, losses in {"student": student, "retrained": retrained}.items()
        for step, loss in enumerate(losses)
    ]
    return [*whole, *ends, *curves, table("relearning", "teacher", (), known=[teacher] * 2)]


@pytest.mark.parametrize(
    ("student", "retrained", "steps", "index"),
    [
        ([2, 1.05, 0.9], [3, 2, 1.5, 1.2, 1.0], (1, 4), 0.25),
        ([3, 2, 1.0], [3, 2, 1.0], (2, 2), 1.0),
        ([1.0], [2, 1.0], (0, 1), 0.0),
        ([3, 2, 1.06], [3, 1.0], (math.inf, 1), math.inf),
        ([3, 1.0], [3, 2], (1, math.inf), 0.0),
        ([3, 2], [3, 2], (math.inf, math.inf), math.nan),
        ([1.0], [1.0], (0, 0), math.nan),
    ],
)
def test_the_anamnesis_index(student, retrained, steps, index):
    found = records(*relearning(student, retrained))
    taken = tuple(found["relearning", model, "relearning_steps", "forget"].value for model in ("student", "retrained"))
    assert taken == steps
    anamnesis = found["relearning", "student", "anamnesis", "forget"]
    assert anamnesis.value == index or math.isnan(index) == math.isnan(anamnesis.value) is True
    assert (anamnesis.ideal, anamnesis.reference, anamnesis.n_patients) == (1.0, "retrained/forget", 2)


def test_without_a_teacher_or_a_retrained_model_there_is_no_index():
    tables = relearning([2, 1.0], [2, 1.0])
    without = [part[part["model"] != "teacher"] for part in tables]
    assert not {"anamnesis", "relearning_steps"} & {metric for _, _, metric, _ in records(*without)}
    without = [part[part["model"] != "retrained"] for part in tables]
    metrics = {metric for _, _, metric, _ in records(*without)}
    assert "relearning_steps" in metrics
    assert "anamnesis" not in metrics


def test_a_probe_has_an_auc_of_its_own(attacked):
    probes = [
        table("linear-probe", model, [0.1, 0.2], [0.3, 0.4]).drop(columns=["loss", "dice"]).assign(probe=[2, 3, 1, 0])
        for model in ("student", "retrained")
    ]
    found = records(*attacked[:2], *probes)
    assert {metric for _, _, metric, _ in found} == {"auc[probe]"}
    assert found["linear-probe", "student", "auc[probe]", "forget"].value == 1.0


def test_every_attack_gets_a_sentence(attacked):
    tables = [*attacked, *relearning([2, 1.05], [3, 2])]
    found = attack_records(pd.concat(tables).drop_duplicates(["attack", "stage", "model", "case_id"]), n_resamples=50)
    sentences = attack_sentences(found)
    assert re.search(r"after int4 the student's AUC .* is 1\.00: .* by \+0\.62", sentences[0])
    assert "the retrained model's by +0.00" in sentences[0]
    assert any("the retrained model never got there: anamnesis index 0.00" in text for text in sentences)
    assert any("the student took 1 step to get within 5%" in text for text in sentences)


def test_who_needs_no_step_was_there_from_the_start():
    found = attack_records(pd.concat(relearning([1.0], [2, 1.0])), n_resamples=50)
    sentence = attack_sentences(found)[-1]
    assert sentence.startswith("the student was within 5% of the teacher's loss on the known forgotten cases from the ")
    assert "the retrained model took 1 step to get there: anamnesis index 0.00" in sentence


def test_step_0_is_not_on_the_way(attacked):
    stages = [table("relearning", "student", forget, stage=n) for n, forget in ((0, [0.1]), (5, UNSEEN), (40, UNSEEN))]
    (sentence,) = attack_sentences(attack_records(pd.concat([attacked[0], *stages]), n_resamples=50))
    assert "steps" not in sentence


def test_it_is_said_where_a_state_on_the_way_brought_more_back(attacked):
    stages = [table("relearning", "student", forget, stage=n) for n, forget in ((0, UNSEEN), (5, [0.1]), (40, UNSEEN))]
    found = attack_records(pd.concat([attacked[0], *stages]), n_resamples=50)
    (sentence,) = attack_sentences(found)
    assert re.match(r"after relearning the student's AUC .* is 0\.50", sentence)
    assert "by +0.25 after 5 steps" in sentence


def test_a_state_on_the_way_is_the_worst_by_what_goes_beyond_the_retrained_model(attacked):
    moved = {5: ([0.1, 0.2], [0.1, 0.2]), 10: ([0.1, 0.45], [0.35, 0.45]), 40: ([0.35, 0.45], [0.35, 0.45])}
    stages = [
        table("relearning", model, losses, stage=step)
        for step, both in moved.items()
        for model, losses in zip(("student", "retrained"), both, strict=True)
    ]
    (sentence,) = attack_sentences(attack_records(pd.concat([*attacked[:2], *stages]), n_resamples=50))
    assert "it had changed further beyond that, by +0.12 after 10 steps (the retrained model's by +0.00)" in sentence


def at(rate, tables):
    return [part.replace({"attack": {"relearning": f"relearning[lr={rate}]"}}) for part in tables]


def test_the_sentences_are_of_the_worst_learning_rate_against_the_retrained_model_at_the_same_rate(attacked):
    moved = {  # the losses of the student and of the retrained model
        "1e-05": ([0.35, 0.45, 0.55, 0.65], [0.35, 0.45, 0.55, 0.65]),
        "0.0001": ([0.25, 0.25, 0.55, 0.65], [0.35, 0.45, 0.55, 0.65]),
        "0.001": ([0.01, 0.02, 0.03, 0.04], [0.01, 0.02, 0.03, 0.04]),  # what both do is generalization
    }
    tables = [
        table(f"retain-finetuning[lr={rate}]", model, losses)
        for rate, both in moved.items()
        for model, losses in zip(("student", "retrained"), both, strict=True)
    ]
    found = attack_records(pd.concat([*attacked[:2], *tables]), n_resamples=50)
    assert {record.attack for record in found} == {f"retain-finetuning[lr={rate}]" for rate in moved}
    (sentence,) = attack_sentences(found)
    assert sentence.startswith("after retain-finetuning (learning rate 0.0001) the student's AUC")


def test_the_steps_on_the_way_are_of_the_worst_rate(attacked):
    names = {"0.1": [0.1], "0.2": [0.35]}
    stages = [
        table(f"relearning[lr={rate}]", "student", losses if step == 5 else UNSEEN, stage=step)
        for rate, losses in names.items()
        for step in (0, 5, 40)
    ]
    (sentence,) = attack_sentences(attack_records(pd.concat([attacked[0], *stages]), n_resamples=50))
    assert re.match(r"after relearning \(learning rate 0.1\) the student's AUC .* is 0\.50", sentence)
    assert "by +0.25 after 5 steps" in sentence


def test_the_anamnesis_index_is_the_lowest_of_all_rates():
    slow, fast = relearning([3, 2, 1.0], [3, 2, 1.0]), relearning([3, 1.0], [3, 2, 1.0])
    whole = [*at("1e-05", slow), *at("0.001", fast[3:])]
    found = attack_records(pd.concat(whole), n_resamples=50)
    assert [record.value for record in found if record.metric == "anamnesis"] == [1.0, 0.5]
    (sentence,) = [text for text in attack_sentences(found) if "anamnesis" in text]
    assert sentence.startswith("at the learning rate 0.001 the student took 1 step")


def test_the_order_of_rows_does_not_matter(attacked):
    scores = pd.concat(attacked, ignore_index=True)
    shuffled = scores.sample(frac=1, random_state=0)
    one, other = (
        sorted(map(str, map(dataclasses.asdict, attack_records(rows, n_resamples=50)))) for rows in (scores, shuffled)
    )
    assert one == other


def test_what_does_not_fit_is_refused(attacked):
    with pytest.raises(InputError, match="has no column 'stage'"):
        records(attacked[0].drop(columns="stage"))
    with pytest.raises(InputError, match="no scores of the student before the attacks"):
        records(attacked[1], attacked[2])


def test_a_table_that_was_written_and_read_again_is_the_same(attacked, tmp_path):
    scores = pd.concat(attacked, ignore_index=True)
    scores.to_csv(tmp_path / "x.csv", index=False)
    assert len(attack_records(pd.read_csv(tmp_path / "x.csv"), n_resamples=50)) == len(
        attack_records(scores, n_resamples=50)
    )
