"""Folds: which model never saw a patient, and going back to it."""

import html
import shutil

import pytest
import torch

from mu_monai import workflow
from mu_monai.data import open_split, phantom_split, write_split
from mu_monai.data.shards import only
from mu_monai.errors import InputError
from mu_monai.files import write_json
from mu_monai.keys import CASE_ID, FORGET, RETAIN, TEST, VALIDATION
from mu_monai.methods.rollback import NOT_COVERED
from mu_monai.runs import read_record


@pytest.fixture(scope="module")
def folds(tmp_path_factory, private, tiny_settings):
    out = tmp_path_factory.mktemp("folds") / "folds"
    workflow.train_folds("isic", split=private("masks"), folds=2, out=out, settings=tiny_settings, quiet=True)
    return out


@pytest.fixture(scope="module")
def tiny_settings():
    return ["network_def#channels=[4, 8]", "network_def#strides=[2]", "image_size=[32, 32]", "max_epochs=4"]


def patients(folds, number, subset):
    return open_split(folds / f"fold-{number}.json").patients(subset)


def test_every_patient_is_held_out_in_one_fold_and_the_test_set_in_none(folds, private):
    split = open_split(private("masks"))
    held = [patients(folds, number, VALIDATION) - split.patients(VALIDATION) for number in (0, 1)]
    assert held[0] | held[1] == split.patients(RETAIN)
    assert not held[0] & held[1]
    assert patients(folds, 0, RETAIN) == held[1]
    assert all(read_record(folds / f"fold-{number}").role == "teacher" for number in (0, 1))
    assert all(read_record(folds / f"fold-{number}").sha256.split for number in (0, 1))


def test_who_is_to_be_forgotten_is_in_no_fold_of_retained_patients(request_for, private, tiny_settings, tmp_path):
    everybody = open_split(private("masks")).patients(RETAIN)
    victim, *others = sorted(everybody)
    out, split = tmp_path / "folds", request_for(private("masks"), victim)
    given = {"split": split, "folds": 2, "out": out, "settings": tiny_settings, "quiet": True}
    workflow.train_folds("isic", **given, subsets=[RETAIN])
    for number in (0, 1):
        assert victim not in open_split(out / f"fold-{number}.json").table["patient_id"].tolist()
        record = read_record(out / f"fold-{number}")
        assert (record.role, record.subsets) == ("retrained", (RETAIN,))
    assert patients(out, 0, RETAIN) | patients(out, 1, RETAIN) == {*others}
    with pytest.raises(InputError, match=r"or with other --subsets \(fold-0.json, fold-1.json would be different\)"):
        workflow.train_folds("isic", **given, resume=True)


@pytest.fixture
def resumed(folds, private, tiny_settings):
    def resume(out=folds, **options):
        given = {"split": private("masks"), "folds": 2, "settings": tiny_settings} | options
        return workflow.train_folds("isic", **given, out=out, resume=True, quiet=True)

    return resume


def files_of(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock"}


def test_finished_folds_are_kept(folds, resumed):
    before = files_of(folds)
    assert resumed() == [folds / "fold-0", folds / "fold-1"]
    assert files_of(folds) == before


def test_another_cross_validation_in_the_same_folder_is_refused_before_anything_is_written(
    folds, resumed, tiny_settings, tmp_path
):
    before = files_of(folds)
    other = "was begun with another split, seed or number of folds than --folds 2 of"
    with pytest.raises(InputError, match=r"than --folds 3 .*fold-0.json, fold-1.json would be different\); resume"):
        resumed(folds=3)
    with pytest.raises(InputError, match=other):
        resumed(settings=[*tiny_settings, "seed=1"])
    with pytest.raises(InputError, match=other):
        resumed(split=phantom_split("lesions", tmp_path, patients=10, images_per_patient=1, size=32, seed=4))
    with pytest.raises(InputError, match=r"config id 'max_epochs' was 4 and is now 5; resume with the same"):
        resumed(settings=[*tiny_settings, "max_epochs=5"])
    assert files_of(folds) == before
    begun = shutil.copytree(folds, tmp_path / "begun")
    shutil.rmtree(begun / "fold-0")
    shutil.rmtree(begun / "fold-1")
    (begun / "fold-0.json").unlink()
    with pytest.raises(InputError, match=r"\(fold-1.json would be different\)"):
        resumed(out=begun, folds=3)
    assert not (begun / "fold-0.json").exists()


def test_the_fold_that_never_saw_them_becomes_a_run_like_any_other(folds, private, request_for, tmp_path, caplog):
    caplog.set_level("INFO", logger="mu_monai")
    held = sorted(patients(folds, 1, VALIDATION) - open_split(private("masks")).patients(VALIDATION))
    request = request_for(private("masks"), held[0])
    run = workflow.rollback(folds, split=request, out=tmp_path / "run", quiet=True)
    assert "fold-1 never saw the 1 patient to forget" in caplog.text
    ours, theirs = (torch.load(place / "model.pt", weights_only=True) for place in (run, folds / "fold-1"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    record = read_record(run)
    assert (record.role, record.method.name, record.cost.passes) == ("student", "Rollback", 0)
    assert record.warnings == (NOT_COVERED,)
    assert record.teacher == str(folds / "fold-0" / "model.pt")
    assert all(check.passed for check in record.checks)
    workflow.audit(run, options=workflow.AuditOptions(n_resamples=10, distances=False, quiet=True))
    workflow.report([run], out=tmp_path / "report")
    assert NOT_COVERED in html.unescape((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    released = workflow.release(run, out=tmp_path / "released")
    about = (released / "bundle" / "docs" / "README.md").read_text(encoding="utf-8")
    assert "exact for the weights, and not for what was decided by looking at the cases that were held out" in about
    assert not [path for path in released.rglob("*") if "fold-" in path.name]
    trained = workflow.rollback(folds, split=request, out=tmp_path / "trained", budget=1, quiet=True)
    record = read_record(trained)
    assert 0 < record.cost.passes <= read_record(folds / "fold-1").cost.passes
    assert record.sha256.weights != read_record(run).sha256.weights
    workflow.rollback(folds, split=request, out=tmp_path / "plan", plan=True)
    assert "the run would take no training: its weights are there" in caplog.text.splitlines()[-2]
    workflow.rollback(folds, split=request, out=tmp_path / "plan", budget=0.5, plan=True)
    passes = int(0.5 * read_record(folds / "fold-1").cost.passes)
    assert f"at most {passes} sample passes (50.0 % of the fold's own training)" in caplog.text.splitlines()[-2]
    assert NOT_COVERED in caplog.text.splitlines()[-1]
    assert not (tmp_path / "plan").exists()


def test_without_a_clean_fold_it_says_who_stands_in_the_way(folds, private, request_for, tmp_path, phantom_splits):
    own = open_split(private("masks")).patients(VALIDATION)
    held = [sorted(patients(folds, number, VALIDATION) - own) for number in (0, 1)]
    request = request_for(private("masks"), held[0][0], *held[1][:2])
    with pytest.raises(InputError) as error:
        workflow.rollback(folds, split=request, out=tmp_path / "run")
    assert f"fold-1 was trained on patients to forget: {held[0][0]}" in error.value.problems
    assert f"fold-0 was trained on patients to forget: {', '.join(held[1][:2])}" in error.value.problems
    assert "no single fold is clean; next best is fold-1, with the fewest of them (1)" in str(error.value)
    with pytest.raises(InputError, match="is to be forgotten, but no fold was trained on it; leave it out"):
        workflow.rollback(folds, split=phantom_splits["isic"], out=tmp_path / "run")


def test_what_is_not_one_cross_validation_is_refused(folds, private, request_for, teachers, tmp_path, tiny_settings):
    with pytest.raises(InputError, match="holds 0 runs called fold-0"):
        workflow.rollback(tmp_path, split=private("masks"), out=tmp_path / "run")
    with pytest.raises(InputError, match=r"fold-0' is one run, and going back needs all folds .*; give the folder"):
        workflow.rollback(folds / "fold-0", split=private("masks"), out=tmp_path / "run")
    held = sorted(patients(folds, 1, VALIDATION) - open_split(private("masks")).patients(VALIDATION))
    copies = shutil.copytree(folds, tmp_path / "copies")
    for place in ("fold-2", "fold-2.json"):
        source = copies / place.replace("2", "1")
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copies / place)
    with pytest.raises(InputError, match="is held out in fold-1, fold-2: the folds overlap"):
        workflow.rollback(copies, split=request_for(private("masks"), held[0]), out=tmp_path / "run")
    shutil.copy(copies / "fold-0.json", copies / "fold-1.json")
    with pytest.raises(InputError, match=r"fold-1.json' is not the split that .* was trained with"):
        workflow.rollback(copies, split=request_for(private("masks"), held[0]), out=tmp_path / "run")
    train = {"split": private("masks"), "out": tmp_path / "new", "settings": tiny_settings}
    with pytest.raises(InputError, match="--folds 1 is not allowed; use at least 2"):
        workflow.train_folds("isic", **train, folds=1)
    with pytest.raises(InputError, match=r"fold . of 40 holds nobody"):
        workflow.train_folds("isic", **train, folds=40)
    with pytest.raises(InputError, match="exists; give another one, remove it, or continue it with --resume"):
        workflow.train_folds("isic", **train | {"out": folds}, folds=2)
    with pytest.raises(InputError, match="--subsets test cannot be trained on; use retain or forget"):
        workflow.train_folds("isic", **train, folds=2, subsets=["test"])


def test_the_folds_of_nnunet_answer_the_question_and_no_more(private, request_for, tmp_path, caplog):
    caplog.set_level("INFO", logger="mu_monai")
    split = open_split(private("masks"))
    ids = [case[CASE_ID] for case in split.rows[RETAIN]]
    request = request_for(private("masks"), split.rows[RETAIN][0]["patient_id"])
    forgotten = {case[CASE_ID] for case in open_split(request).rows[FORGET]}
    parts = [{"train": [*set(ids) - forgotten], "val": [*forgotten]}, {"train": [*forgotten], "val": ids[-2:]}]
    write_json(tmp_path / "splits_final.json", parts)
    for place in (tmp_path, tmp_path / "splits_final.json"):
        workflow.rollback(place, split=request, out=tmp_path / "run", plan=True)
        assert "fold 0 never saw the 1 patient to forget" in caplog.text
        assert "as for checkpoint_best.pth, but not for checkpoint_final.pth" in caplog.text
        assert "would take" not in caplog.text
        caplog.clear()
    with pytest.raises(InputError, match="fold 0 never saw the forgotten, but its network cannot be built here"):
        workflow.rollback(tmp_path, split=request, out=tmp_path / "run")
    both = [{"train": ids[:-1], "val": ids[-1:]}, {"train": ids[:-2], "val": ids[-2:-1]}]
    write_json(tmp_path / "splits_final.json", both)
    with pytest.raises(InputError, match=r"unlearn these from it with what trained it, or retrain"):
        workflow.rollback(tmp_path, split=request, out=tmp_path / "run", plan=True)
    parts[0]["train"] += [*forgotten]
    write_json(tmp_path / "splits_final.json", parts)
    with pytest.raises(InputError, match="both trains on and validates"):
        workflow.rollback(tmp_path, split=request, out=tmp_path / "run", plan=True)


@pytest.fixture
def told(private, request_for, tmp_path, caplog):
    """What a plan says of folds that were trained elsewhere, for the patient of the first of some cases."""
    caplog.set_level("INFO", logger="mu_monai")
    split = open_split(private("masks"))
    request = request_for(private("masks"), split.rows[RETAIN][0]["patient_id"])
    forgotten = [case[CASE_ID] for case in open_split(request).rows[FORGET]]

    def tell(place):
        caplog.clear()
        workflow.rollback(place, split=request, out=tmp_path / "run", plan=True)
        return caplog.text

    others = [case[CASE_ID] for case in split.rows[RETAIN] if case[CASE_ID] not in forgotten]
    return tell, forgotten, others


def test_results_of_nnunet_tell_it_if_all_folds_validated(told, tmp_path):
    tell, forgotten, others = told
    held = {0: others[::2], 1: others[1::2] + forgotten}
    write_json(tmp_path / "dataset.json", {"numTraining": len(others + forgotten), "file_ending": ".nii.gz"})
    for fold, cases in held.items():
        place = tmp_path / f"fold_{fold}" / "validation"
        place.mkdir(parents=True)
        for name in [*(f"{case}.nii.gz" for case in cases), "summary.json", f"{cases[0]}.npz"]:
            (place / name).touch()
    (tmp_path / "fold_all" / "validation").mkdir(parents=True)
    assert "fold 1 never saw the 1 patient to forget" in tell(tmp_path)
    (tmp_path / "fold_1" / "validation" / f"{others[0]}.nii.gz").touch()
    with pytest.raises(InputError, match=f"1 cases .* were validated by several folds, such as '{others[0]}'"):
        tell(tmp_path)
    shutil.rmtree(tmp_path / "fold_0")
    with pytest.raises(InputError, match=r"the folds 1 in .* validated \d+ cases of \d+, .*; give splits_final.json"):
        tell(tmp_path)


def test_a_datalist_of_auto3dseg_tells_it_and_ids_that_nobody_knows_are_said(told, tmp_path):
    tell, forgotten, others = told
    file = tmp_path / "folds.json"
    entries = [{"image": f"imagesTr/{case}.nii.gz", "label": "a.nii.gz", "fold": 1} for case in forgotten]
    entries += [{"image": [f"imagesTr/{case}.nii.gz"], "fold": number % 3} for number, case in enumerate(others)]
    write_json(file, {"training": entries, "testing": []})
    text = tell(file)
    assert "fold 1 never saw the 1 patient to forget" in text
    assert "as Auto3DSeg keeps the best one of each model" in text
    write_json(file, {"training": [entry for entry in entries if entry["fold"] != 1] + [{"image": "b.nii", "fold": 1}]})
    with pytest.raises(InputError, match="no fold was trained on it under this id; correct it if it has another one"):
        tell(file)
    wrong = [{"image": 1, "fold": 0}, {"image": "b.nii.gz", "fold": "0"}, {"image": "c/b.nii.gz", "fold": 0}]
    write_json(file, {"training": wrong})
    with pytest.raises(InputError) as error:
        tell(file)
    assert [problem.split(": ", 1)[1] for problem in error.value.problems[:2]] == [
        "'image' is not the name of a file, or a list of names",
        "fold '0' is not a whole number",
    ]
    assert "'b' is in two folds" in error.value.problems[2]
    write_json(file, {"training": [{"image": "b.nii.gz", "fold": 0}, {"image": "c.nii.gz"}]})
    with pytest.raises(InputError, match="has no two folds: its entries need a 'fold'"):
        tell(file)


def test_a_ledger_goes_back_to_a_fold_and_answers_twice_with_it(folds, private, tiny_settings, tmp_path):
    """The same weights: whoever was held out with the first request is forgotten already."""
    whole = workflow.train("isic", split=private("masks"), out=tmp_path / "whole", settings=tiny_settings, quiet=True)
    first, second, *_ = sorted(patients(folds, 1, VALIDATION) - open_split(private("masks")).patients(VALIDATION))
    ledger, options = tmp_path / "ledger", workflow.RequestOptions(folds=folds, quiet=True)
    answers = []
    for name in (first, second):
        workflow.add_request(ledger, run=whole, ids=[name])
        answers.append(workflow.answer_requests(ledger, options=options))
    assert [(answer.route, answer.share, answer.came_back) for answer in answers] == [("rollback", 0.0, [])] * 2
    assert answers[0].version.weights == answers[1].version.weights == read_record(folds / "fold-1").sha256.weights
    checks = workflow.verify_requests(ledger, backups=[folds / "fold-0", folds / "fold-1", whole])
    assert [check.name for check in checks if check.failed] == [f"backup '{folds / 'fold-0'}'", f"backup '{whole}'"]
    wrong = tmp_path / "wrong"
    workflow.add_request(wrong, run=folds / "fold-0", ids=[first])
    said = workflow.plan_requests(wrong, options=options)
    assert "rollback is not possible: fold-1 was trained on cases that the split holds out" in " ".join(said)


def test_a_fold_that_knows_more_than_the_split_retains_is_not_gone_back_to(folds, private, request_for, tmp_path):
    """Whom a later split no longer has, or holds out, the model of the fold would still know."""
    split = open_split(private("masks"))
    held, *_ = sorted(patients(folds, 1, VALIDATION) - split.patients(VALIDATION))
    known, other, *_ = sorted(patients(folds, 1, RETAIN))
    cases = split.located
    fewer = {**cases, RETAIN: [case for case in cases[RETAIN] if case["patient_id"] != known]}
    moved = [case for case in fewer[RETAIN] if case["patient_id"] == other]
    fewer = {**fewer, RETAIN: [case for case in fewer[RETAIN] if case not in moved], TEST: [*cases[TEST], *moved]}
    request = request_for(write_split(tmp_path / "fewer.json", only(split, fewer)), held)
    with pytest.raises(InputError) as error:
        workflow.rollback(folds, split=request, out=tmp_path / "run")
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        f"fold-1 was trained on cases that the split holds out (such as '{moved[0][CASE_ID]}', 1 in all)",
        "fold-1 was trained on images that the split does not have (such as that with the SHA-256 "
        f"{next(split.digests(RETAIN)[case[CASE_ID]] for case in cases[RETAIN] if case['patient_id'] == known)}, "
        "1 in all)",
    ]
    assert not (tmp_path / "run").exists()
