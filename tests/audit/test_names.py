"""Whatever patients, cases and classes are called, every number of the audit is the same."""

import math
from dataclasses import asdict
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mu_monai.audit import (
    attack_records,
    closeness_records,
    klom_records,
    membership_notes,
    membership_records,
    patient_table,
    shadow_records,
    subgroup_table,
    utility_records,
)
from mu_monai.errors import InputError
from mu_monai.metrics import choice, klom
from mu_monai.runs import RunRecord, add_files, write_record
from mu_monai.runs.scores import read_scores
from mu_monai.workflow import summary

ODD = ["NA", "null", "None", "nan", "N/A", "01", "1", "1.0", "1e5", "-1", "True", "=1+1", "a,b", '"', "007", "7"]
DRAWS = {"n_resamples": 5, "seed": 0}
SUBSETS = ("retain", "forget", "validation", "test")


def made(classes: bool) -> pd.DataFrame:
    """Two patients with two cases each in every subset, under three models; names are places."""
    rows = [
        {"model": model, "subset": subset, "patient": 4 * place + case // 2, "case": 4 * place + case}
        for model in ("teacher", "retrained", "student")
        for place, subset in enumerate(SUBSETS)
        for case in range(4)
    ]
    table = pd.DataFrame(rows)
    value = np.random.default_rng(0).uniform(0.1, 0.9, len(table))
    table = table.assign(loss=1 - value, confidence=value, logit_confidence=4 * value)
    if not classes:
        return table.assign(bce=value, dice=value, iou=value / 2)
    names = np.array(["NA", "01", "1"])
    true = names[table["case"] % 3]
    predicted = names[(10 * value).astype(int) % 3]
    table = table.assign(label=true, predicted=predicted, accuracy=(true == predicted).astype(float))
    return table.assign(cross_entropy=value, true_probability=value)


def named(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The table with patients and cases called by names in the order of their places."""
    ids = {column: table[place].map(dict(enumerate(names))) for column, place in KEYS.items()}
    return table.drop(columns=list(KEYS.values())).assign(**ids)


KEYS = {"patient_id": "patient", "case_id": "case"}
PLAIN = [f"n{place:02d}" for place in range(16)]
NAMES = st.sampled_from(ODD) | st.text(st.characters(blacklist_categories=("C",)), min_size=1, max_size=4)


def numbers(scores: pd.DataFrame) -> list[object]:
    """All that the audit makes of a score table, names left out."""
    after = scores[scores["model"] != "teacher"].assign(attack="int8", stage=0, loss=scores["loss"] / 2)
    attacked = pd.concat([scores.assign(attack="", stage=0), after])
    ensembles = [scores.assign(logit_confidence=scores["logit_confidence"] * factor) for factor in (1, 2, 3)]
    found = [
        *utility_records(scores, **DRAWS),
        *membership_records(scores, **DRAWS),
        *closeness_records(scores, **DRAWS),
        *attack_records(attacked, **DRAWS),
        *klom_records(klom(ensembles, ensembles), **DRAWS),
        *shadow_records(scores, shadows_of(scores), **DRAWS),
    ]
    device = pd.DataFrame({"case_id": scores["case_id"].unique()}).assign(device=lambda t: ["NA", "01"] * (len(t) // 2))
    return [
        *[tuple(asdict(record).values()) for record in found],
        *subgroup_table(scores, device, **DRAWS).itertuples(index=False, name=None),
        *patient_table(scores).drop(columns="patient_id").itertuples(index=False, name=None),
        tuple(asdict(choice(scores)).values()),
        tuple(membership_notes(scores)),
    ]


@cache
def plain_numbers(classes: bool) -> list[object]:
    return numbers(named(made(classes), PLAIN))


def shadows_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Four models, of which two were trained on the forgotten patients and two on the unseen ones."""
    other = {"forget": "test", "test": "forget"}
    attacked = scores[(scores["model"] == "teacher") & scores["subset"].isin(other)]
    halves = (attacked, attacked.assign(subset=attacked["subset"].map(other)))
    return pd.concat([halves[n % 2].assign(shadow=n, loss=attacked["loss"] * (n + 1)) for n in range(4)])


def same(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or one == other


@pytest.mark.parametrize("classes", [False, True])
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=len(PLAIN), max_size=len(PLAIN), unique=True))
@example(ODD)
def test_no_number_depends_on_names(tmp_path, classes, names):
    table = made(classes)
    named(table, sorted(names)).to_csv(tmp_path / "scores.csv", index=False)
    read = read_scores(tmp_path / "scores.csv")
    assert read["patient_id"].nunique() == 8
    expected, found = plain_numbers(classes), numbers(read)
    assert len(expected) == len(found)
    assert [pair for pair in zip(expected, found, strict=True) if not same(*pair)] == []


def test_a_summary_is_of_all_patients_whatever_they_are_called(tmp_path):
    table = named(made(classes=True), sorted(ODD))
    write_record(tmp_path, RunRecord.from_json({"status": "finished", "role": "student"}))
    table.to_csv(tmp_path / "scores.csv", index=False)
    add_files(tmp_path, "scores.csv")
    odd = summary(tmp_path)
    named(made(classes=True), PLAIN).to_csv(tmp_path / "scores.csv", index=False)
    add_files(tmp_path, "scores.csv")
    assert summary(tmp_path) == odd
    (tmp_path / "scores.csv").write_text("model,subset\n")
    add_files(tmp_path, "scores.csv")
    with pytest.raises(InputError, match="has no column 'patient_id'"):
        summary(tmp_path)
