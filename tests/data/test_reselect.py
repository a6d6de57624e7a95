"""Choosing anew whom to forget, after the training."""

import json
import logging
import shutil

import pytest

from mu_monai.data import (
    ForgetFraction,
    ForgetIds,
    ForgetWhere,
    Source,
    SplitSettings,
    load_split,
    make_split,
    open_split,
    phantom_split,
    reselect,
    write_split,
)
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.runs.stamp import told_split


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return phantom_split("lesions", tmp_path_factory.mktemp("phantoms") / "lesions", patients=10, size=32)


@pytest.fixture
def untouched(make_manifest, tmp_path):
    """A split with nobody to forget."""
    source = Source(manifest=make_manifest(), path="somewhere", layout="manifest")
    return write_split(tmp_path / "source" / "split.json", make_split(source, SplitSettings(forget=None)))


@pytest.fixture
def with_copies(make_manifest, tmp_path):
    """Both cases of p00 share the id `twice`, and c03_0 of p03 is a copy of c07_0 of p07."""
    manifest = make_manifest()
    manifest.loc[[0, 1], "case_id"] = "twice"
    for column in ("image", "label"):
        shutil.copyfile(manifest[column][6], manifest[column][14])
    source = Source(manifest=manifest, path="somewhere", layout="manifest")
    settings = SplitSettings(forget=None, validation=0, test=0.1, on_duplicates="together", seed=1)
    path = write_split(tmp_path / "source" / "split.json", make_split(source, settings))
    assert not patients(load_split(path), "test") & {"p00", "p03", "p07"}
    return path


def patients(split, subset):
    return {case["patient_id"] for case in split[subset]}


def test_a_share_of_a_query_is_that_of_the_patients_still_retained(trained, tmp_path):
    before = load_split(trained)
    found = reselect(open_split(trained), ForgetWhere("phantom == 'lesions'", 0.5), seed=1)
    after = load_split(write_split(tmp_path / "request.json", found))
    assert after["test"] == before["test"]
    assert patients(after, "forget") > patients(before, "forget")
    assert len(patients(after, "forget") - patients(before, "forget")) == (len(patients(before, "retain")) + 1) // 2
    assert found["provenance"]["selector"] == {"kind": "where", "value": "phantom == 'lesions'", "share": 0.5}


@pytest.mark.parametrize("kind", ["fraction", "ids", "where"])
def test_validation_and_test_stay_and_those_forgotten_earlier_stay(trained, tmp_path, kind):
    before = load_split(trained)
    wanted = sorted(patients(before, "retain"))[:2]
    selector = {
        "fraction": ForgetFraction(0.5),
        "ids": ForgetIds(tuple(wanted)),
        "where": ForgetWhere(f"patient_id in {wanted}"),
    }[kind]
    after = load_split(write_split(tmp_path / "request.json", reselect(open_split(trained), selector)), verify=True)
    for subset in ("validation", "test"):
        assert after[subset] == before[subset]
    training = patients(before, "retain") | patients(before, "forget")
    assert patients(after, "retain") | patients(after, "forget") == training
    assert not patients(after, "retain") & patients(after, "forget")
    if kind == "fraction":
        drawn = patients(after, "forget") - patients(before, "forget")
        assert len(drawn) == (len(patients(before, "retain")) + 1) // 2
    else:
        assert patients(after, "forget") == patients(before, "forget") | set(wanted)


def test_metadata_and_provenance_come_along(trained, tmp_path):
    wanted = load_split(trained)["retain"][0]["patient_id"]
    path = write_split(tmp_path / "request.json", reselect(open_split(trained), ForgetIds((wanted,)), seed=3))
    old, new = (read_json(file) for file in (trained, path))
    assert set(new["forget"][0]) == set(old["retain"][0])
    assert new["provenance"]["selector"] == {"kind": "ids", "value": [wanted]}
    assert new["provenance"]["chosen_from"]["file"] == str(trained)
    assert new["provenance"]["phantom"] is True
    assert new["provenance"]["counts"]["forget"] == {"patients": 2, "cases": 4}
    assert new["provenance"]["also_forgotten"] == len(old["forget"]) == 2


def test_a_second_request_does_not_take_back_the_first(untouched, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first, second, *_ = sorted(patients(load_split(untouched), "retain"))
    one = write_split(tmp_path / "one.json", reselect(open_split(untouched), ForgetIds((first,))))
    assert read_json(one)["provenance"]["also_forgotten"] == 0
    assert "stay forgotten" not in caplog.text
    two = write_split(tmp_path / "two.json", reselect(open_split(one), ForgetIds((second,))))
    assert patients(load_split(two), "forget") == {first, second}
    assert read_json(two)["provenance"]["also_forgotten"] == 2
    assert f"2 cases that {one} already forgets" in caplog.text
    three = reselect(open_split(two), ForgetFraction(0.5), seed=1)
    assert patients(three, "forget") > {first, second}
    assert three["provenance"]["also_forgotten"] == 4


def test_a_request_can_be_repeated(trained):
    already = patients(load_split(trained), "forget")
    assert patients(reselect(open_split(trained), ForgetIds(tuple(already))), "forget") == already


@pytest.mark.parametrize("subset", ["validation", "test"])
def test_a_patient_that_was_not_trained_on_cannot_be_forgotten(trained, subset):
    patient = load_split(trained)[subset][0]["patient_id"]
    with pytest.raises(InputError, match=rf"to forget is in '{subset}': the model was not trained on it"):
        reselect(open_split(trained), ForgetIds((patient,)))


def test_forgetting_everybody_is_refused(trained):
    with pytest.raises(InputError, match=r"at least 1 .*to retain"):
        reselect(open_split(trained), ForgetWhere("patient_id == patient_id"))


def test_two_requests_that_together_leave_nobody_are_refused(trained):
    rest = tuple(patients(load_split(trained), "retain"))
    with pytest.raises(InputError, match=r"the 2 cases that .*; .* at least 1"):
        reselect(open_split(trained), ForgetIds(rest))


def test_copies_that_were_kept_together_stay_together(with_copies, tmp_path):
    with pytest.raises(InputError, match=r"'p03 \+ p07' .* forgotten only in part"):
        reselect(open_split(with_copies), ForgetIds(("p03",)))
    split = open_split(with_copies)
    for seed in range(5):
        request = write_split(tmp_path / f"{seed}.json", reselect(split, ForgetFraction(0.4), seed=seed))
        load_split(request, verify=True)
        assert len(patients(load_split(request), "forget") & {"p03", "p07"}) != 1
    both = load_split(write_split(tmp_path / "both.json", reselect(open_split(with_copies), ForgetIds(("p03", "p07")))))
    assert patients(both, "forget") == {"p03", "p07"}


@pytest.mark.parametrize("ids", [("twice",), ("twice~1", "twice~2"), ("p00",)])
def test_a_case_that_was_renamed_is_found_by_its_original_id(with_copies, ids):
    after = reselect(open_split(with_copies), ForgetIds(ids))
    assert [case["case_id"] for case in after["forget"]] == ["twice~1", "twice~2"]
    assert after["provenance"]["selector"] == {"kind": "ids", "value": list(ids)}


def without_a_mask(entry):
    del entry["sha256"][next(name for name in entry["sha256"] if not name.startswith("pictures"))]


@pytest.mark.parametrize(
    "change", [lambda entry: entry.pop("sha256"), lambda entry: entry["sha256"].popitem(), without_a_mask]
)
def test_a_split_without_digests_is_refused(untouched, change):
    content = json.loads(untouched.read_text())
    digests = content["provenance"]["sha256"]
    content["provenance"]["sha256"] = dict(sorted(digests.items(), key=lambda item: item[0].startswith("pictures")))
    change(content["provenance"])
    untouched.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"provenance.sha256 of the split file .* digest of .* of 40 files"):
        reselect(open_split(untouched), ForgetFraction(0.5))


@pytest.fixture
def dropped(make_manifest, tmp_path):
    """c03_0 of p03 and c07_0 of p07 are one image, of which the copy of p07 was dropped."""
    manifest = make_manifest()
    for column in ("image", "label"):
        shutil.copyfile(manifest[column][6], manifest[column][14])
    source = Source(manifest=manifest, path="somewhere", layout="manifest")

    def split(seed=1, test=0.1):
        settings = SplitSettings(forget=None, validation=0, test=test, on_duplicates="drop", seed=seed)
        return write_split(tmp_path / "source" / f"split-{seed}.json", make_split(source, settings))

    return split


def test_an_image_that_is_kept_under_another_name_is_not_left_behind(dropped):
    split = open_split(dropped())
    assert split.provenance.kept_for == {"c03_0": ["c07_0", "p07"]}
    for ids in (("p07",), ("c07_0",), ("p07", "c05_0")):
        with pytest.raises(InputError, match=r"has an image that is in the split as case 'c03_0' of patient 'p03'"):
            reselect(split, ForgetIds(ids))
    for ids in (("p07", "p03"), ("c07_0", "p07", "c03_0", "c03_1")):
        found = reselect(split, ForgetIds(ids))
        assert "c03_0" not in {case["case_id"] for case in found["retain"]}
        assert {case["patient_id"] for case in found["forget"]} >= {"p07"}


@pytest.mark.parametrize("forget", [ForgetWhere("patient_id == 'p07'"), ForgetIds(("c07_1",))], ids=str)
def test_an_image_under_another_name_is_not_retained_however_its_owner_is_asked_for(dropped, forget):
    with pytest.raises(InputError, match=r"case 'c07_1' of patient 'p07' is forgotten, whose image .* case 'c03_0'"):
        reselect(open_split(dropped()), forget)
    both = reselect(open_split(dropped()), ForgetWhere("patient_id in ['p03', 'p07']"))
    assert {case["case_id"] for case in both["forget"]} == {"c03_0", "c03_1", "c07_1"}


def test_who_has_an_image_under_another_name_is_drawn_with_it(dropped):
    drawn = [reselect(open_split(dropped()), ForgetFraction(0.3), seed=seed)["forget"] for seed in range(12)]
    names = [{case["patient_id"] for case in cases} & {"p03", "p07"} for cases in drawn]
    assert {len(found) for found in names} == {0, 2}


def test_what_a_condition_finds_in_validation_and_test_is_said(dropped, caplog):
    split = open_split(dropped(test=0.4))
    held = sorted(split.patients("test"))
    reselect(split, ForgetWhere(f"patient_id in {[held[0], *sorted(split.patients('retain') - {'p03', 'p07'})[:1]]}"))
    assert "also finds 2 cases, such as " in caplog.text
    assert "that the model was not trained on: they stay in validation and test" in caplog.text


def test_two_patients_of_one_image_are_in_one_subset(dropped):
    for seed in range(12):
        content = read_json(dropped(seed, test=0.4))
        both = [{case["patient_id"] for case in content[name]} & {"p03", "p07"} for name in ("retain", "test")]
        assert {"p03", "p07"} in both


@pytest.mark.parametrize(
    "forget", [ForgetIds(("p05",)), ForgetWhere("patient_id == 'p05'"), ForgetFraction(0.2)], ids=str
)
def test_a_split_that_does_not_say_whose_copies_were_dropped_warns(dropped, caplog, forget):
    path = dropped()
    content = read_json(path)
    del content["provenance"]["kept_for"]
    path.write_text(json.dumps(content))
    reselect(open_split(path), forget)
    assert f"copies were dropped from '{path}' (1), which does not say of whom" in caplog.text


def test_names_of_dropped_copies_stay_in_the_split(dropped):
    assert "kept_for" not in told_split(dropped()).provenance


@pytest.mark.parametrize("policy", ["drop", "together"])
def test_a_copy_of_what_was_trained_on_is_not_unseen(make_manifest, policy):
    manifest = make_manifest()
    for column in ("image", "label"):
        shutil.copyfile(manifest[column][19], manifest[column][0])
    held = frozenset(manifest["case_id"][:6])
    source = Source(manifest=manifest, path="somewhere", layout="bundle", held_out=held)
    with pytest.raises(InputError, match="'c00_0', which the bundle held out, is a copy of 'c09_1'"):
        make_split(source, SplitSettings(forget=None, on_duplicates=policy))
