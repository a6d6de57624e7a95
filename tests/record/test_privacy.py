"""Nothing that people named leaves the house, and no number of cases."""

import pandas as pd
import pytest

from mu_monai.record import Identifiers, id_problems, signable

SALT = b"a salt"
KNOWN = ["isic", "erase-to-retain", "two-phase", "retain", "forget", "int8", "all"]
IDS = Identifiers(pd.DataFrame({"patient_id": ["PAT005", "anna"], "case_id": ["PAT005_a", "b-3000"]}), SALT)


@pytest.mark.parametrize(
    ("typed", "signed"),
    [
        (
            "/opt/anna/mu-monai unlearn isic --teacher runs/anna/ --preset two-phase --resume",
            "mu-monai unlearn isic --teacher <teacher> --preset two-phase --resume",
        ),
        ("mu-monai unlearn isic --forget-ids forget-PAT005.txt", "mu-monai unlearn isic --forget-ids <forget-ids>"),
        ("mu-monai train isic --split=/a/Mueller.json --out=b", "mu-monai train isic --split=<split> --out=<out>"),
        ("mu-monai train bundles/anna --set seed=3", "mu-monai train <argument> --set <set>"),
        ("mu-monai train isic --subsets retain,forget", "mu-monai train isic --subsets retain,forget"),
        ("mu-monai train isic --subsets retain,anna", "mu-monai train isic --subsets <subsets>"),
        (
            "mu-monai audit runs/2026 --attacks int8 --shadows 16 --seed 7 --reference 2026",
            "mu-monai audit <argument> --attacks int8 --shadows 16 --seed <seed> --reference <reference>",
        ),
        ("mu-monai audit x --shadows PAT005", "mu-monai audit <argument> --shadows <shadows>"),
        ("mu-monai train isic --pat005 x --PAT=1 -x 3", "mu-monai train isic <option> <argument> <option>=<argument> "),
        ("/usr/lib/monai/bundle/__main__.py run --config_file anna.json", "monai.bundle run <option> <argument>"),
        ("/home/anna/script.py PAT005", "<program> <argument>"),
        ("mu-monai train 'not closed", "<command>"),
        ("", "<command>"),
    ],
)
def test_commands_show_options_and_the_programs_own_names(typed, signed):
    found = signable({"audit": {"command": typed}}, IDS, KNOWN)["audit"]["command"]
    assert found.startswith(signed) if signed.endswith(" ") else found == signed


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        ("'runs/Eva Mueller/x' is gone", "<path> is gone"),
        ("the split 'for Mueller.json' and \"Mueller.nii.gz\"", "the split <path> and <path>"),
        ("see /home/eva/x.png, ~/eva/y and ../eva/z", "see <path>, <path> and <path>"),
        ("see eva/b/x.nii.gz or for-mueller.json.", "see <path> or <path>."),
        (r"see C:\Users\eva\x.png", "see <path>"),
        ("'/data/withdrawn by Anna Mueller/teacher' is gone", "<path> is gone"),
        ("'/data/O'Brien/x' is the teacher's", "<path> is the teacher's"),
        ("see /data/withdrawn by Anna Mueller/teacher, not 2/3", "see <path>, not 2/3"),
        ("see runs/anna-mueller/teacher, not 1/2/3", "see <path>, not 1/2/3"),
        (r"see anna\mueller\teacher", "see <path>"),
        (
            "THE BASE WAS ITSELF TRAINED ON 5 OF THE FORGOTTEN IMAGES",
            "THE BASE WAS ITSELF TRAINED ON <n> OF THE FORGOTTEN IMAGES",
        ),
        ("layers model.1.conv, at 0.5 (no 'class')", "layers model.1.conv, at 0.5 (no 'class')"),
        ("the teacher's and/or the student's 2/3, 0.5/1.5", "the teacher's and/or the student's 2/3, 0.5/1.5"),
        ("from 5 retained cases, where 1,200 forget cases", "from <n> retained cases, where <n> forget cases"),
        ("2 of 3 images and 4 patients", "2 of <n> images and 4 patients"),
    ],
)
def test_sentences_hold_no_path_and_no_number_of_cases(text, signed):
    assert signable({"warnings": [text], "seed": 3}, IDS) == {"warnings": [signed], "seed": 3}


@pytest.mark.parametrize(
    ("name", "value", "signed"),
    [
        ("milestones", "/data/withdrawn by Anna Mueller/teacher/milestones", "<path>"),
        ("weights", "withdrawn-anna-mueller", "<path>"),
        ("weights", {"entropy": 1.0}, {"entropy": 1.0}),
        ("shards", r"D:\Anna Mueller", "<path>"),
        ("places", ["a/b", "int8", 3], ["<path>", "int8", 3]),
        ("feature_layer", "model.1.conv", "model.1.conv"),
        ("milestones", None, None),
        ("by", {"where": "for Anna/x"}, {"where": "<path>"}),
    ],
)
def test_settings_hold_no_path(name, value, signed):
    found = signable({"method": {"settings": {name: value}}}, IDS, KNOWN)
    assert found == {"method": {"settings": {name: signed}}}


@pytest.mark.parametrize(
    ("preset", "signed"),
    [
        ("two-phase", "two-phase"),
        ("two-phase, changed", "two-phase, changed"),
        ("for-mueller", "<preset>"),
        (None, None),
    ],
)
def test_a_preset_of_somebodys_own_is_not_named(preset, signed):
    assert signable({"preset": preset}, IDS, KNOWN) == {"preset": signed}


@pytest.mark.parametrize("field", ["note", "name", "preset", "detail"])
@pytest.mark.parametrize("text", ["forget-PAT005", "pat005", "runs/pat_005.json", "Anna", "B-3000.png", "x_b3000_y"])
def test_ids_in_longer_names_are_hidden(field, text):
    found = signable({"method": {"settings": {field: text}}, field: [text]}, IDS)
    shown = str(found).lower()
    assert not any(name in shown for name in ("pat005", "pat_005", "anna", "3000"))
    assert list(id_problems(found, IDS)) == []


@pytest.mark.parametrize("text", ["isic", "erase-to-retain"])
def test_the_programs_own_names_stay(text):
    ids = Identifiers(pd.DataFrame({"patient_id": ["isic"], "case_id": ["retain"]}), SALT)
    assert signable({"bundle": {"name": text}}, ids, KNOWN) == {"bundle": {"name": text}}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"records": [{"metric": "f1[pat005]"}]}, "records.0.metric"),
        ({"forget_classes": ["x", "B-3000"]}, "forget_classes.1"),
        ({"runs": {"forget-pat005": {}}}, "runs (a name in it)"),
        ({"method": {"settings": {"weights": {"by": {"anna": 1}}}}}, "method.settings.weights.by (a name in it)"),
        ({"release_search": {"files": {"PAT-005.json": "a" * 64}}}, "release_search.files (a name in it)"),
    ],
)
def test_what_cannot_be_replaced_is_refused_by_its_field_and_not_by_the_id(content, field):
    (problem,) = id_problems(signable(content, IDS), IDS)
    assert problem.startswith(f"the record's field '{field}' holds the id")
    assert "005" not in problem.partition(field)[2]


@pytest.mark.parametrize("name", ["1", "01", "12", "case", "loss", "seed", "2026", "0.5", "a", "—", "hd95"])
def test_ids_that_are_words_and_numbers_do_not_make_signing_impossible(name):
    ids = Identifiers(pd.DataFrame({"patient_id": [name], "case_id": [f"{name}_0"]}), SALT)
    own = {
        "created": "2026-05-01T12:01:01+00:00",
        "versions": {"torch": "0.5.12"},
        "seed": 1,
        "records": [{"metric": "loss", "subset": "test", "value": 0.5}, {"metric": "dice[1]"}],
        "weights": {"student": "ab12" * 16},
    }
    content = own | {"checks": [{"detail": f"SHA-256 {'2026' * 16}: 0.5 of 1.01"}]}
    found = signable(content, ids)
    assert list(id_problems(found, ids)) == []
    assert {key: found[key] for key in own} == own
    assert found["checks"][0]["detail"].startswith(f"SHA-256 {'2026' * 16}")
