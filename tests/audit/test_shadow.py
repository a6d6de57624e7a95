"""LiRA and U-LiRA records of made models: leaky, clean, and unlearned in a way that can be recognized."""

import numpy as np
import pandas as pd
import pytest

from mu_monai.audit import shadow_notes, shadow_records
from mu_monai.errors import InputError

PEOPLE = {f"p{n}": "forget" if n < 40 else "test" for n in range(100)}
EASE = dict(zip(PEOPLE, np.random.default_rng(0).normal(0, 3, len(PEOPLE)), strict=True))


def table(model, shift, subsets, rng, images=2):
    """Answers of one model: by `shift` surer on those it was trained on, or unlearned."""
    return pd.DataFrame(
        {
            **{"model": model, "subset": subset, "patient_id": patient, "case_id": f"{patient}.{image}"},
            "logit_confidence": EASE[patient] + shift * (subset == "forget") + rng.normal(0, 0.7),
        }
        for patient, subset in subsets.items()
        for image in range(images)
    )


def pool(n_shadows, trained=2.0, unlearned=None, seed=1):
    rng, tables = np.random.default_rng(seed), []
    for number in range(n_shadows):
        if number % 2 == 0:
            inside = set(rng.permutation(list(PEOPLE))[:50])
        subsets = {p: "forget" if (p in inside) == (number % 2 == 0) else "test" for p in PEOPLE}
        tables.append(table("teacher", trained, subsets, rng).assign(shadow=number))
        if unlearned is not None:
            tables.append(table("student", unlearned, subsets, rng).assign(shadow=number))
    return pd.concat(tables, ignore_index=True)


def scores(**shifts):
    rng = np.random.default_rng(7)
    return pd.concat([table(model, shift, PEOPLE, rng) for model, shift in shifts.items()], ignore_index=True)


def found(attacked, shadows):
    records = shadow_records(attacked, shadows, n_resamples=200)
    return {(record.model, record.metric): record for record in records}


def test_a_leaky_and_a_clean_model_are_told_apart():
    records = found(scores(teacher=2.0, retrained=0.0), pool(16))
    assert set(records) == {("teacher", "auc[lira]"), ("retrained", "auc[lira]")}
    teacher, retrained = records["teacher", "auc[lira]"], records["retrained", "auc[lira]"]
    assert teacher.value > 0.9
    assert retrained.low < 0.5 < retrained.high
    assert teacher.gap_low > 0
    assert (teacher.n_patients, teacher.n_cases) == (40, 80)


def test_unlearning_that_overshoots_is_found_by_u_lira():
    attacked = scores(teacher=2.0, student=-2.0)
    records = found(attacked, pool(16, unlearned=-2.0))
    assert records["student", "auc[lira]"].value < 0.3  # less like a trained one than a patient never seen
    assert records["student", "auc[u-lira]"].value > 0.9
    assert ("teacher", "auc[u-lira]") not in records


def test_unlearning_that_arrives_leaves_nothing_to_find():
    record = found(scores(student=0.0), pool(16, unlearned=0.0))["student", "auc[u-lira]"]
    assert record.low < 0.5 < record.high
    assert record.ideal == 0.5


def test_the_number_of_shadow_models_is_said():
    notes = shadow_notes(scores(student=0.0), pool(6, unlearned=0.0))
    assert "6 shadow models" in notes[0]
    assert "at least 3 were trained on it and 3 were not" in notes[0]
    assert "weaker" in notes[0]
    assert "6 shadow models that each unlearned 50 patients at once; the student unlearned 40" in notes[1]
    assert len(shadow_notes(scores(student=0.0), pool(4))) == 1


def test_numbers_and_text_as_ids_are_the_same_patients():
    attacked, shadows = scores(teacher=2.0), pool(4)
    numbers = {patient: int(patient[1:]) for patient in PEOPLE}
    renamed = (
        attacked.assign(patient_id=attacked["patient_id"].map(numbers)),
        shadows.assign(patient_id=shadows["patient_id"].map(numbers).astype(str)),
    )
    assert found(*renamed)["teacher", "auc[lira]"].value > 0.8


def test_what_cannot_be_compared_is_refused():
    attacked = scores(teacher=2.0)
    with pytest.raises(InputError, match=r"3 trained shadow models are too few: .* use at least --shadows 4"):
        shadow_records(attacked, pool(3))
    with pytest.raises(
        InputError, match="the scores of the attacked models lack logit_confidence; score the runs again"
    ):
        shadow_records(attacked.drop(columns="logit_confidence"), pool(4))
    with pytest.raises(InputError, match=r"1 patients, such as 'p3', .*every trained shadow model.*--pool"):
        shadow_records(attacked, (shadows := pool(4))[shadows["patient_id"] != "p3"])
    lopsided = pool(4).assign(subset=lambda rows: rows["subset"].mask(rows["patient_id"] == "p3", "test"))
    with pytest.raises(InputError, match="fewer than 2 trained shadow models"):
        shadow_records(attacked, lopsided)
