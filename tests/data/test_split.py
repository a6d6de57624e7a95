from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mu_monai.data import ForgetFraction, ForgetIds, ForgetWhere, Source, SplitSettings, make_split, split_manifest
from mu_monai.errors import InputError
from mu_monai.keys import SUBSETS


def table(sizes: list[int]) -> pd.DataFrame:
    patients = [f"p{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return pd.DataFrame({"case_id": [f"c{number}" for number in range(len(patients))], "patient_id": patients})


def source_of(manifest: pd.DataFrame) -> Source:
    return Source(manifest=manifest, path="somewhere", layout="manifest")


patients = st.lists(st.integers(1, 4), min_size=8, max_size=60)
seeds = st.integers(0, 2**32)
shares = st.floats(0, 0.35)


@given(patients, seeds, shares, shares, st.floats(0.01, 0.5))
def test_patients_stay_whole_and_every_case_lands_once(sizes, seed, validation, test, fraction):
    manifest = table(sizes)
    split = split_manifest(manifest, forget=ForgetFraction(fraction), validation=validation, test=test, seed=seed)
    assert split["case_id"].tolist() == manifest["case_id"].tolist()
    assert split["subset"].isin(SUBSETS).all()
    assert (split.groupby("patient_id")["subset"].nunique() == 1).all()


@given(patients, seeds, shares, shares, st.floats(0.01, 0.5))
def test_shares_are_kept_within_rounding(sizes, seed, validation, test, fraction):
    split = split_manifest(table(sizes), forget=ForgetFraction(fraction), validation=validation, test=test, seed=seed)
    count = split.groupby("subset")["patient_id"].nunique().reindex(SUBSETS, fill_value=0)
    for name, share in (("validation", validation), ("test", test)):
        assert abs(count[name] - share * len(sizes)) <= 0.5 or count[name] == 1
        assert (count[name] == 0) == (share == 0)
    training = count["retain"] + count["forget"]
    assert abs(count["forget"] - fraction * training) <= 0.5 or count["forget"] == 1
    assert count["retain"] >= 1


@given(patients, seeds, st.randoms())
def test_the_order_of_rows_does_not_matter(sizes, seed, random):
    manifest = table(sizes)
    rows = list(range(len(manifest)))
    random.shuffle(rows)
    straight = split_manifest(manifest, seed=seed).set_index("case_id")["subset"]
    shuffled = split_manifest(manifest.iloc[rows], seed=seed).set_index("case_id")["subset"]
    assert straight.to_dict() == shuffled.to_dict()


@given(patients, seeds, st.data())
def test_chosen_patients_are_forgotten_and_nobody_else(sizes, seed, data):
    manifest = table(sizes)
    chosen = data.draw(st.sets(st.sampled_from(sorted(set(manifest["patient_id"]))), min_size=1, max_size=3))
    split = split_manifest(manifest, forget=ForgetIds(tuple(chosen)), seed=seed)
    assert set(split["patient_id"][split["subset"] == "forget"]) == chosen


@settings(max_examples=10)
@given(seeds)
def test_the_test_patients_do_not_depend_on_the_fraction(seed):
    few, many = (split_manifest(table([1] * 30), forget=ForgetFraction(share), seed=seed) for share in (0.1, 0.5))
    assert few["case_id"][few["subset"] == "test"].tolist() == many["case_id"][many["subset"] == "test"].tolist()


def test_seeds_give_different_splits():
    first, second = (split_manifest(table([1] * 50), seed=seed)["subset"].tolist() for seed in (0, 1))
    assert first != second


def test_case_ids_of_whole_patients_select_them(make_manifest):
    split = split_manifest(make_manifest(), forget=ForgetIds((" c03_0", "c03_1", "p05")))
    assert set(split["patient_id"][split["subset"] == "forget"]) == {"p03", "p05"}


def test_a_part_of_a_patient_is_refused_with_the_way_out(make_manifest):
    with pytest.raises(InputError, match=r"'p03' .* in part: 'c03_0' but not 'c03_1'; .*--group-by case_id"):
        split_manifest(make_manifest(), forget=ForgetIds(("c03_0",)))
    split = split_manifest(make_manifest(), forget=ForgetIds(("c03_0",)), group_by="case_id")
    assert split["case_id"][split["subset"] == "forget"].tolist() == ["c03_0"]


def test_a_query_for_a_part_of_patients_names_all_of_them(make_manifest):
    with pytest.raises(InputError) as caught:
        split_manifest(make_manifest(), forget=ForgetWhere("case_id in ['c03_0', 'c04_1']"))
    assert len(caught.value.problems) == 2


def test_unknown_ids_are_all_named(make_manifest):
    with pytest.raises(InputError) as caught:
        split_manifest(make_manifest(), forget=ForgetIds(("p3", "nobody")))
    assert "'p3' to forget is neither a patient_id nor a case_id; did you mean" in caught.value.problems[0]
    assert "'nobody'" in caught.value.problems[1]


def test_unknown_ids_of_a_large_manifest_are_answered_with_examples():
    with pytest.raises(InputError, match=r"'x' to forget is .*there are 'c0', 'c1', 'c10'"):
        split_manifest(table([1] * 600), forget=ForgetIds(("x",)))


def test_a_query_selects_by_metadata(make_manifest):
    split = split_manifest(make_manifest(), forget=ForgetWhere("device == 'b' and age < 60"))
    assert set(split["patient_id"][split["subset"] == "forget"]) == {"p00", "p01"}


def test_a_query_treats_missing_values_as_no_match(make_manifest):
    manifest = make_manifest()
    manifest["age"] = manifest["age"].astype("Int64").mask(manifest["patient_id"] == "p05")
    split = split_manifest(manifest, forget=ForgetWhere("age < 52"))
    assert set(split["patient_id"][split["subset"] == "forget"]) == {"p00", "p01"}


def subsets_of(manifest, forget, **settings):
    split = split_manifest(manifest, forget=forget, **settings)
    return {name: set(rows["patient_id"]) for name, rows in split.groupby("subset")}


@pytest.mark.parametrize(("share", "forgotten"), [(0.01, 1), (0.25, 3), (0.5, 6), (0.75, 9)])
def test_a_share_of_a_query_is_that_of_the_patients_in_training(share, forgotten):
    manifest = table([2] * 40).assign(diagnosis=["nevus"] * 40 + ["melanoma"] * 40)
    where = ForgetWhere("diagnosis == 'nevus'", share)
    found = subsets_of(manifest, where)
    nevus = set(manifest["patient_id"][:40])
    assert found["forget"] <= nevus
    assert len(found["forget"]) == forgotten
    assert len(nevus & (found["retain"] | found["forget"])) == 12
    assert found["validation"] & nevus
    assert found["test"] & nevus  # unseen cases of the class
    assert found == subsets_of(manifest.sample(frac=1, random_state=3), where)


def test_shares_share_their_test_patients_and_larger_ones_hold_smaller_ones():
    manifest = table([1] * 60).assign(device=["a", "b"] * 30)
    small, large, fraction = (
        subsets_of(manifest, forget, seed=2)
        for forget in (ForgetWhere("device == 'a'", 0.25), ForgetWhere("device == 'a'", 0.75), ForgetFraction(0.1))
    )
    assert small["test"] == large["test"] == fraction["test"]
    assert small["validation"] == large["validation"]
    assert small["forget"] < large["forget"]
    assert small["forget"] != subsets_of(manifest, ForgetWhere("device == 'a'", 0.25), seed=3)["forget"]


def test_a_share_needs_patients_in_training_whole_ones_and_some_that_stay(make_manifest):
    manifest = make_manifest()
    held_out = subsets_of(manifest, ForgetFraction(0.1))["test"]
    with pytest.raises(InputError, match=r"share 0.5 has nobody to take from: all 2 groups .* another --seed"):
        split_manifest(manifest, forget=ForgetWhere(f"patient_id in {sorted(held_out)}", 0.5))
    with pytest.raises(InputError, match="in part: 'c03_0' but not 'c03_1'"):
        split_manifest(manifest, forget=ForgetWhere("case_id == 'c03_0'", 0.5))
    with pytest.raises(InputError, match=r"too few for .*at least 1 to retain"):
        split_manifest(manifest.query("patient_id < 'p03'"), forget=ForgetWhere("age > 0", 0.9), test=0.4)


@pytest.mark.parametrize("value", [0, 1, -0.1, math.nan])
def test_shares_of_a_query_out_of_range_are_refused(value):
    with pytest.raises(InputError, match=r"--forget-fraction-of .* is not in \(0, 1\); 0.5 forgets half"):
        ForgetWhere("age > 60", value)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("devise == 'a'", "'devise' in .* is not a column; did you mean 'device'"),
        ("device == 'c'", "matches no case; device has the values 'b', 'a'"),
        ("age > 99", "matches no case; age has the values 50, 51, .*59"),
        ("1 == 2", "cannot be evaluated|matches no case|is not true or false"),
        ("device ==", "cannot be evaluated"),
        ("age + 1", "is not true or false for each row"),
        ("@pd.io", "is not a column|cannot be evaluated"),
        ("device == @secret", "is not a column|cannot be evaluated"),
    ],
)
def test_queries_that_cannot_be_answered(make_manifest, query, expected):
    secret = "a"  # noqa: F841 - what '@secret' must not reach
    with pytest.raises(InputError, match=expected):
        split_manifest(make_manifest(), forget=ForgetWhere(query))


@pytest.mark.parametrize("value", [0, 1, -0.1, math.nan, math.inf])
def test_fractions_out_of_range_are_refused(value):
    with pytest.raises(InputError, match=r"forget fraction .* is not in \(0, 1\)"):
        ForgetFraction(value)


def test_an_empty_list_of_ids_is_refused():
    with pytest.raises(InputError, match="list of ids to forget is empty"):
        ForgetIds(())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"validation": -0.1}, r"validation share -0.1 is not in \[0, 1\)"),
        ({"test": 1.0}, r"test share 1.0 is not in \[0, 1\)"),
        ({"test": math.nan}, r"test share nan is not in \[0, 1\)"),
        ({"validation": 0.5, "test": 0.5}, "validation 0.5 \\+ test 0.5 leave nothing to train on"),
        ({"seed": -1}, "seed -1 is negative"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, expected):
    with pytest.raises(InputError, match=expected):
        SplitSettings(**arguments)
    with pytest.raises(InputError, match=expected):
        split_manifest(table([1] * 10), **arguments)


@pytest.mark.parametrize(
    ("sizes", "arguments"),
    [
        ([1, 1, 1], {}),
        ([1] * 10, {"validation": 0.45, "test": 0.45}),
        ([1] * 5, {"forget": ForgetIds(("p0", "p1", "p2"))}),
        ([1] * 3, {"forget": ForgetIds(("p0", "p1", "p2")), "validation": 0, "test": 0}),
    ],
)
def test_too_few_patients_are_refused(sizes, arguments):
    with pytest.raises(InputError, match=r"groups by patient_id are too few for .* and at least 1 to retain"):
        split_manifest(table(sizes), **arguments)


def test_an_unknown_or_incomplete_group_column_is_refused(make_manifest):
    with pytest.raises(InputError, match="group_by 'patient' is not a column; did you mean 'patient_id'"):
        split_manifest(make_manifest(), group_by="patient")
    with pytest.raises(InputError, match="row 2: site is empty"):
        split_manifest(make_manifest().assign(site=["x", None] + ["y"] * 18), group_by="site")


def test_validation_and_test_may_be_empty(make_manifest):
    split = split_manifest(make_manifest(), validation=0, test=0)
    assert set(split["subset"]) == {"retain", "forget"}


def test_a_split_tells_everything_about_itself(make_manifest):
    manifest = make_manifest()
    split = make_split(source_of(manifest), SplitSettings(forget=ForgetIds(("p03",)), seed=4))
    provenance = split["provenance"]
    assert {"forget", "retain", "validation", "test", "provenance"} == set(split)
    assert provenance["selector"] == {"kind": "ids", "value": ["p03"]}
    assert provenance["counts"]["forget"] == {"patients": 1, "cases": 2}
    assert sum(count["cases"] for count in provenance["counts"].values()) == 20
    assert set(provenance["sha256"]) == {*manifest["image"], *manifest["label"]}
    assert provenance["duplicates"] == {"policy": "error", "dropped": [], "together": []}
    assert (provenance["phantom"], provenance["seed"], provenance["group_by"]) == (False, 4, "patient_id")
    assert split["forget"][0] == {**manifest[manifest["case_id"] == "c03_0"].to_dict("records")[0]}


def test_a_split_is_the_same_whatever_the_order_of_rows(make_manifest):
    manifest = make_manifest()
    shuffled = manifest.sample(frac=1, random_state=1)
    straight, other = (json.dumps(make_split(source_of(rows)), sort_keys=True) for rows in (manifest, shuffled))
    assert json.loads(straight) == json.loads(other)


def test_missing_metadata_becomes_null(make_manifest):
    manifest = make_manifest().assign(score=np.nan, when=pd.Timestamp("2020-01-01"), ratio=np.inf)
    manifest.loc[0, "age"] = np.nan
    text = json.dumps(make_split(source_of(manifest)), allow_nan=False)
    cases = {case["case_id"]: case for name in SUBSETS for case in json.loads(text)[name]}
    assert cases["c00_0"]["age"] is None
    assert cases["c00_1"]["score"] is None
    assert cases["c00_1"]["ratio"] is None
    assert cases["c00_1"]["when"].startswith("2020-01-01")


def test_near_duplicates_are_said_and_recorded_or_refused(make_manifest, caplog):
    manifest = make_manifest()
    with Image.open(manifest["image"][0]) as image:
        image.resize((36, 30)).save(manifest["image"][19])  # of another patient
    chosen = ForgetIds(("p00",))
    near = make_split(source_of(manifest), SplitSettings(forget=chosen))["provenance"]["near_duplicates"]
    assert [(pair["forget"], pair["other"]) for pair in near] == [("c00_0", "c09_1")]
    assert near[0]["subset"] in {"retain", "validation", "test"}
    assert "'c00_0' to forget looks like 'c09_1'" in caplog.text
    with pytest.raises(InputError, match=r"'c00_0' to forget looks like 'c09_1' in .* of 256 bits differ"):
        make_split(source_of(manifest), SplitSettings(forget=chosen, strict=True))


def test_ids_that_are_numbers_become_text_and_the_index_does_not_matter(make_manifest):
    manifest = make_manifest().assign(case_id=range(100, 120), patient_id=[number // 2 for number in range(20)])
    manifest.index = [0] * 20
    split = make_split(source_of(manifest), SplitSettings(forget=ForgetIds(("3",))))
    assert [(case["case_id"], case["patient_id"]) for case in split["forget"]] == [("106", "3"), ("107", "3")]


def test_an_id_that_is_a_patient_and_a_case_of_another_is_refused(make_manifest):
    manifest = make_manifest()
    manifest.loc[2, "case_id"] = "p05"
    with pytest.raises(
        InputError, match=r"'p05' to forget is a patient and also a case of patient 'p01'; .*patient_id =="
    ):
        split_manifest(manifest, forget=ForgetIds(("p05",)))
    split = split_manifest(manifest, forget=ForgetWhere("patient_id == 'p05'"))
    assert set(split["patient_id"][split["subset"] == "forget"]) == {"p05"}


def classified(make_manifest, labels):
    manifest = make_manifest(len(labels), 1)
    return source_of(manifest.assign(label=labels, diagnosis=labels))


def test_a_split_tells_its_classes_in_the_order_of_their_names(make_manifest):
    assert make_split(source_of(make_manifest()))["provenance"]["classes"] is None
    source = classified(make_manifest, ["nevus", "melanoma"] * 5)
    assert make_split(source)["provenance"]["classes"] == ["melanoma", "nevus"]


def test_a_class_that_validation_or_test_lacks_is_said(make_manifest, caplog):
    source = classified(make_manifest, ["nevus", "melanoma", *["keratosis"] * 8])
    split = make_split(source, SplitSettings(forget=ForgetWhere("diagnosis != 'keratosis'")))
    assert sorted(case["label"] for case in split["forget"]) == ["melanoma", "nevus"]
    for subset in ("validation", "test"):
        assert f"{subset} has no case of 'melanoma', 'nevus'" in caplog.text
    caplog.clear()
    make_split(source, SplitSettings(forget=ForgetFraction(0.5), validation=0, test=0))
    assert not caplog.text


def test_a_class_of_a_patient_who_has_others_is_forgotten_by_case(make_manifest):
    source = classified(make_manifest, ["nevus", "melanoma"] * 5)
    source.manifest.loc[[0, 1], "patient_id"] = "both"
    forget = ForgetWhere("diagnosis == 'nevus'")
    with pytest.raises(InputError, match="'both' would be forgotten only in part: 'c00_0' but not 'c01_0'"):
        make_split(source, SplitSettings(forget=forget))
    split = make_split(source, SplitSettings(forget=forget, group_by="case_id"))
    assert {case["label"] for case in split["forget"]} == {"nevus"}
    assert {case["label"] for name in SUBSETS if name != "forget" for case in split[name]} == {"melanoma"}


@pytest.mark.parametrize(("column", "phantom"), [("no", False), ("lesions", True)])
def test_only_what_was_drawn_here_is_a_phantom(make_manifest, column, phantom):
    split = make_split(source_of(make_manifest().assign(phantom=column)), SplitSettings(forget=None))
    assert split["provenance"]["phantom"] is phantom
    mixed = make_manifest().assign(phantom=["lesions", None] * 10)
    assert make_split(source_of(mixed), SplitSettings(forget=None))["provenance"]["phantom"] is False
