from __future__ import annotations

import shutil

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_monai.data import (
    ForgetIds,
    ForgetWhere,
    Source,
    SplitSettings,
    digest_files,
    make_split,
    resolve_duplicates,
    unite_groups,
)
from mu_monai.data.duplicates import original_ids
from mu_monai.errors import InputError
from mu_monai.files import file_sha256
from mu_monai.keys import SUBSETS


def manifest_of(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["case_id", "patient_id", "image", "label"])


# The digest of an image stands before its dot: x.1 and x.2 are copies of each other.
DIGESTS = {f"{content}.{number}": content for content in "xyzvw" for number in range(4)}


def test_without_copies_nothing_changes():
    manifest = manifest_of(("a", "p", "x.1", "n"), ("b", "p", "y.1", "n"))
    resolved = resolve_duplicates(manifest, DIGESTS)
    assert resolved.manifest.equals(manifest)
    assert (resolved.dropped, resolved.together) == ([], [])


def test_an_error_lists_every_set_of_copies():
    manifest = manifest_of(
        ("a", "p", "x.1", "n"),
        ("a", "q", "y.1", "m"),
        ("b", "q", "z.1", "n"),
        ("c", "q", "z.2", "n"),
        ("d", "r", "v.1", "n"),
    )
    with pytest.raises(InputError) as caught:
        resolve_duplicates(manifest, DIGESTS)
    assert len(caught.value.problems) == 2
    assert "same content: 'b' (z.1), 'c' (z.2); keep one, or" in caught.value.problems[0]
    assert "same id: 'a' (x.1, n), 'a' (y.1, m)" in caught.value.problems[1]


def test_an_unknown_policy_is_refused():
    with pytest.raises(InputError, match="--on-duplicates 'keep' is unknown; choose 'error', 'drop', 'together'"):
        resolve_duplicates(manifest_of(("a", "p", "x.1", "n")), DIGESTS, "keep")


def test_drop_keeps_one_and_none_where_labels_disagree():
    manifest = manifest_of(
        ("b", "q", "x.2", "n"),
        ("a", "p", "x.1", "n"),
        ("c", "p", "y.1", "n"),
        ("d", "q", "y.2", "m"),
        ("e", "r", "z.1", "n"),
    )
    resolved = resolve_duplicates(manifest, DIGESTS, "drop")
    assert resolved.manifest["case_id"].tolist() == ["a", "e"]
    assert resolved.dropped == ["b", "c", "d"]


def test_masks_are_compared_by_content():
    manifest = manifest_of(
        ("a", "p", "x.1", "v.1"), ("b", "q", "x.2", "v.2"), ("c", "p", "y.1", "v.1"), ("d", "q", "y.2", "w.1")
    )
    assert resolve_duplicates(manifest, DIGESTS, "drop").manifest["case_id"].tolist() == ["a"]


def test_drop_that_leaves_nothing_is_refused():
    with pytest.raises(InputError, match="drop leaves no case"):
        resolve_duplicates(manifest_of(("a", "p", "x.1", "n"), ("a", "p", "x.1", "m")), DIGESTS, "drop")


def test_together_renames_rows_that_share_an_id():
    manifest = manifest_of(
        ("a", "p", "x.2", "n"), ("a", "p", "x.1", "m"), ("b", "q", "x.3", "n"), ("c", "q", "y.1", "n")
    )
    resolved = resolve_duplicates(manifest, DIGESTS, "together")
    assert resolved.manifest["case_id"].tolist() == ["a~2", "a~1", "b", "c"]
    assert resolved.together == [["a~1", "a~2", "b"]]
    assert resolved.renamed == {"a": ["a~1", "a~2"]}


def test_a_new_name_that_is_taken_is_refused():
    manifest = manifest_of(("a", "p", "x.1", "n"), ("a", "p", "x.2", "m"), ("a~1", "q", "y.1", "n"))
    with pytest.raises(InputError, match="'a~1' is needed to tell copies apart"):
        resolve_duplicates(manifest, DIGESTS, "together")


def test_groups_are_united_through_others():
    groups, cases = pd.Series(["p", "q", "r", "s", "q"], name="patient_id"), pd.Series(list("abcde"))
    united = unite_groups(groups, cases, [["a", "b"], ["c", "e"]])
    assert united.tolist() == ["p + q + r"] * 3 + ["s", "p + q + r"]
    assert united.name == "patient_id"


rows = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.sampled_from("pqr"), st.sampled_from(sorted(DIGESTS)), st.sampled_from("mn")
    ),
    min_size=1,
    max_size=12,
)


@given(rows)
def test_what_is_kept_and_dropped_makes_the_whole(content):
    manifest = manifest_of(*content)
    try:
        resolved = resolve_duplicates(manifest, DIGESTS, "drop")
    except InputError:
        return
    assert sorted([*resolved.manifest["case_id"], *resolved.dropped]) == sorted(manifest["case_id"])
    assert not resolved.manifest["case_id"].duplicated().any()
    assert not resolved.manifest["image"].map(DIGESTS).duplicated().any()


@given(rows)
def test_together_keeps_every_row_under_its_own_id(content):
    resolved = resolve_duplicates(manifest_of(*content), DIGESTS, "together")
    assert len(resolved.manifest) == len(content)
    assert not resolved.manifest["case_id"].duplicated().any()


def test_digests_are_those_of_the_files(make_manifest):
    images = make_manifest()["image"]
    digests, damaged = digest_files([*images, images[0]])
    assert not damaged
    assert len(digests) == 20
    assert digests[images[3]] == file_sha256(images[3])


@pytest.fixture
def with_copy(make_manifest):
    """Case c00_0 of patient p00 is also c09_1 of patient p09, with the same mask."""
    manifest = make_manifest()
    for column in ("image", "label"):
        shutil.copyfile(manifest[column][0], manifest[column][19])
    return Source(manifest=manifest, path="somewhere", layout="manifest")


def test_a_split_refuses_copies_unless_told(with_copy):
    with pytest.raises(InputError, match=r"same content: 'c00_0' .*'c09_1' "):
        make_split(with_copy)


def test_a_split_keeps_copies_in_one_subset(with_copy):
    for seed in range(10):
        split = make_split(with_copy, SplitSettings(on_duplicates="together", seed=seed))
        places = {case["case_id"]: name for name in SUBSETS for case in split[name]}
        assert places["c00_0"] == places["c00_1"] == places["c09_0"] == places["c09_1"]
    assert split["provenance"]["duplicates"]["together"] == [["c00_0", "c09_1"]]


def test_forgetting_one_of_two_patients_with_a_copy_is_refused(with_copy):
    with pytest.raises(InputError, match=r"'p00 \+ p09' .* forgotten only in part: 'c00_0', 'c00_1' but not 'c09_0'"):
        make_split(with_copy, SplitSettings(on_duplicates="together", forget=ForgetIds(("p00",))))


def test_a_split_drops_copies_and_says_so(with_copy):
    split = make_split(with_copy, SplitSettings(on_duplicates="drop"))
    assert split["provenance"]["duplicates"] == {"policy": "drop", "dropped": ["c09_1"], "together": []}
    assert sum(len(split[name]) for name in SUBSETS) == 19
    assert with_copy.manifest["image"][19] not in split["provenance"]["sha256"]


@pytest.mark.parametrize(
    "selector", [ForgetIds(("p09",)), ForgetWhere("patient_id == 'p09'"), ForgetIds(("c09_0", "c09_1"))]
)
def test_dropping_the_copy_of_a_case_to_forget_does_not_keep_its_image(with_copy, selector):
    with pytest.raises(
        InputError,
        match=r"forgotten only in part: 'c09_1' \(patient 'p09'\) but not 'c00_0' \(patient 'p00'\); add the other",
    ):
        make_split(with_copy, SplitSettings(on_duplicates="drop", forget=selector))


@pytest.mark.parametrize(
    "selector",
    [
        ForgetIds(("p00", "p09")),
        ForgetIds(("c00_0", "c00_1", "c09_0", "c09_1")),
        ForgetWhere("patient_id in ['p00', 'p09']"),
    ],
)
def test_copies_that_are_all_named_can_be_dropped_and_forgotten(with_copy, selector):
    split = make_split(with_copy, SplitSettings(on_duplicates="drop", forget=selector))
    assert [case["case_id"] for case in split["forget"]] == ["c00_0", "c00_1", "c09_0"]


def test_a_patient_whose_only_image_was_dropped_can_be_named(with_copy):
    with_copy.manifest.loc[19, "patient_id"] = "z"
    settings = SplitSettings(on_duplicates="drop", forget=ForgetIds(("p00", "z")))
    assert [case["case_id"] for case in make_split(with_copy, settings)["forget"]] == ["c00_0", "c00_1"]
    with pytest.raises(InputError, match=r"'c09_1' \(patient 'z'\) but not 'c00_0' \(patient 'p00'\)"):
        make_split(with_copy, SplitSettings(on_duplicates="drop", forget=ForgetIds(("z",))))


def test_copies_of_one_id_in_two_patients_are_forgotten_whole(make_manifest):
    manifest = make_manifest()
    manifest.loc[[0, 19], "case_id"] = "twice"
    manifest.loc[19, "label"] = manifest["label"][0]
    source = Source(manifest=manifest, path="somewhere", layout="manifest")
    with pytest.raises(InputError, match=r"'twice' \(patient 'p09'\) but not 'twice' \(patient 'p00'\)"):
        make_split(source, SplitSettings(on_duplicates="drop", forget=ForgetIds(("p09",))))


def test_forgetting_a_case_that_was_dropped_with_all_its_copies_is_refused(with_copy):
    shutil.copyfile(with_copy.manifest["label"][5], with_copy.manifest["label"][19])
    with pytest.raises(InputError, match="'c09_1' to forget was dropped, since its copies have other labels"):
        make_split(with_copy, SplitSettings(on_duplicates="drop", forget=ForgetIds(("c09_1",))))


def test_original_ids_are_found_only_where_a_case_was_renamed():
    assert original_ids([["a~1", "a~2", "b"], ["c~1", "d"], ["e", "e~1", "e~2"]]) == {"a": ["a~1", "a~2"]}


def test_a_patient_whose_id_a_renamed_case_had_is_forgotten_too(make_manifest):
    manifest = make_manifest()
    manifest.loc[[0, 1], "case_id"] = "p05"
    source = Source(manifest=manifest, path="somewhere", layout="manifest")
    split = make_split(source, SplitSettings(on_duplicates="together", forget=ForgetIds(("p05",))))
    assert {case["patient_id"] for case in split["forget"]} == {"p00", "p05"}


def test_an_id_that_occurs_twice_can_still_be_forgotten(make_manifest):
    manifest = make_manifest()
    manifest.loc[[0, 1], "case_id"] = "twice"
    source = Source(manifest=manifest, path="somewhere", layout="manifest")
    split = make_split(source, SplitSettings(on_duplicates="together", forget=ForgetIds(("twice",))))
    assert [case["case_id"] for case in split["forget"]] == ["twice~1", "twice~2"]


@pytest.fixture
def isic9(real_data):
    table = pd.read_csv(real_data / "isic9" / "metadata.csv", dtype=str)
    manifest = pd.DataFrame(
        {
            "case_id": table["image_id"],
            "patient_id": table["lesion_id"].fillna(table["image_id"]),
            "image": [str(real_data / "isic9" / file) for file in table["file"]],
            "label": table["diagnosis"],
            "source": table["source"],
            "folder": table["folder"],
        }
    )
    return Source(manifest=manifest, path="isic9", layout="manifest")


def test_real_copies_are_all_reported(isic9):
    with pytest.raises(InputError) as caught:
        make_split(isic9)
    problems = caught.value.problems
    assert len(problems) == 159
    assert sum("same id and content" in problem for problem in problems) == 155
    assert sum("/Test/" in problem and "/Train/" in problem for problem in problems) == 18
    assert "'ISIC_0010512'" in "".join(problems)


def test_real_copies_can_be_dropped(isic9):
    split = make_split(isic9, SplitSettings(on_duplicates="drop"))
    assert len(split["provenance"]["duplicates"]["dropped"]) == 2 * 155 + 4
    assert sum(len(split[name]) for name in SUBSETS) == 2359 - 314


def test_real_copies_can_stay_together(isic9):
    settings = SplitSettings(on_duplicates="together", forget=ForgetWhere("source == 'vidir_molemax'"))
    split = make_split(isic9, settings)
    places = {case["case_id"]: name for name in SUBSETS for case in split[name]}
    assert len(places) == 2359
    together = split["provenance"]["duplicates"]["together"]
    assert len(together) == 159
    assert all(len({places[case] for case in copies}) == 1 for copies in together)
    labels = {case["case_id"]: case["label"] for name in SUBSETS for case in split[name]}
    assert labels["ISIC_0010512~1"] != labels["ISIC_0010512~2"]
