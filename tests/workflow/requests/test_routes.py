"""Which route is possible, and one ledger from the first request to the release, trained for real."""

import json
import shutil
from dataclasses import replace

import pytest

from mu_monai import workflow
from mu_monai.data import read_split
from mu_monai.errors import InputError
from mu_monai.keys import FORGET, RETAIN
from mu_monai.record import read_ledger
from mu_monai.runs import read_record, write_record
from mu_monai.runs.record import Cost
from mu_monai.workflow import RequestOptions
from mu_monai.workflow.requests.routes import ROUTES

QUICK = ["--set", "max_epochs=1", "--set", "epoch_length=3", "--quiet", "--device", "cpu"]


@pytest.fixture
def asked(tmp_path, teachers, phantom_splits):
    """A ledger of a trained teacher, which kept a milestone, with a request."""
    victim = min(read_split(phantom_splits["isic"]).patients(RETAIN))
    workflow.add_request(tmp_path / "ledger", run=teachers["isic"], ids=[victim])
    return tmp_path / "ledger"


def route_of(ledger, **options):
    """The route that is chosen; what it would take is not measured."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ROUTES:
            patch.setitem(ROUTES, name, type(ROUTES[name])(**{**vars(ROUTES[name]), "make": lambda *job: None}))
        said = workflow.plan_requests(ledger, options=RequestOptions(**options))
    return next(line for line in said if line.startswith("route: ")).split()[1].strip(","), said


def test_milestones_are_better_than_a_calibrated_method_and_that_better_than_training_anew(asked, tmp_path, teachers):
    assert route_of(asked)[0] == "rewind"
    bare = shutil.copytree(teachers["isic"], tmp_path / "bare")
    shutil.rmtree(bare / "milestones")
    content = json.loads((bare / "run.json").read_text())
    victim = min(read_split(content["split"]["file"]).patients(RETAIN))
    workflow.add_request(tmp_path / "second", run=bare, ids=[victim])
    name, said = route_of(tmp_path / "second")
    assert name == "calibrated-erase-to-retain"
    assert "rewind is not possible: " in " ".join(said)
    name, said = route_of(tmp_path / "second", forget_images_gone=True)
    assert name == "retraining"
    assert "calibrated-erase-to-retain is not possible: it needs the images of the forgotten, which are gone" in said
    name, said = route_of(asked, route="retraining")
    assert (name, said[1]) == ("retraining", "it was chosen with --route")
    with pytest.raises(InputError, match="retraining is not possible: --budget is a share of a training, and this is"):
        route_of(asked, route="retraining", budget=0.1)
    with pytest.raises(InputError, match="no models of a cross-validation are known; name their folder with --folds"):
        route_of(asked, route="rollback")
    with pytest.raises(InputError, match="it takes no --set; the model was not trained in shards"):
        route_of(asked, route="shards", settings=["max_epochs=2"])


def test_the_plan_of_a_training_anew_says_what_it_takes_or_that_it_is_not_known(tmp_path, teachers, caplog):
    caplog.set_level("INFO", logger="mu_monai")
    run = shutil.copytree(teachers["isic"], tmp_path / "run")
    record = read_record(run)
    victim, options = min(read_split(record.split.file).patients(RETAIN)), RequestOptions(route="retraining")
    workflow.add_request(tmp_path / "ledger", run=run, ids=[victim])
    workflow.plan_requests(tmp_path / "ledger", options=options)
    assert f"what the first training took: {record.cost.passes} sample passes" in caplog.text
    write_record(run, replace(record, cost=Cost()))
    workflow.plan_requests(tmp_path / "ledger", options=options)
    assert "what the first training took: how many sample passes that is, its run does not say" in caplog.text


def test_a_training_anew_that_was_killed_before_its_scores_is_scored(asked, monkeypatch):
    options = RequestOptions(route="retraining", device="cpu", quiet=True)

    def stopped(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mu_monai.workflow.requests.answering.made_version", stopped)
        with pytest.raises(KeyboardInterrupt):
            workflow.answer_requests(asked, options=options)
    before = (asked / "version-2" / "scores.csv").read_bytes()
    (asked / "version-2" / "scores.csv").unlink()
    assert workflow.answer_requests(asked, options=options).version.number == 2
    assert (asked / "version-2" / "scores.csv").read_bytes() == before


def test_from_the_first_request_to_the_release(mu_monai, teachers, phantom_splits, tmp_path, caplog):
    first, second, *_ = sorted(read_split(phantom_splits["isic"]).patients(RETAIN))
    ledger, ids = tmp_path / "ledger", tmp_path / "withdrawn.txt"
    ids.write_text(f"{first}\n")
    code, out, _ = mu_monai("request", "add", ledger, "--run", teachers["isic"], "--forget-ids", ids)
    assert (code, out.split(",")[0]) == (0, "request 1: patients: 1")
    code, out, _ = mu_monai("request", "run", ledger, "--plan", *QUICK)
    assert code == 0
    assert "route: rewind, approximate" in out
    assert "of the teacher's training" in caplog.text
    code, out, _ = mu_monai("request", "run", ledger, *QUICK)
    assert (code, out.splitlines()[0].partition(",")[0]) == (0, "version 2 answers request 1 by rewind")
    assert mu_monai("request", "add", ledger, "--forget-id", second, "--requester", "letter 7")[0] == 0
    shutil.copytree(teachers["isic"], ledger / "version-3-training")
    code, _, err = mu_monai("request", "run", ledger, "--route", "retraining", "--quiet", "--device", "cpu")
    assert (code, "is not a training without those who version 3 forgets; move it away" in err) == (2, True)
    shutil.rmtree(ledger / "version-3-training")
    code, out, _ = mu_monai("request", "run", ledger, "--quiet", "--device", "cpu")
    assert (code, out.splitlines()[-1]) == (0, "1 of 1 earlier requests were audited again; of these, nobody came back")
    assert read_split(ledger / "version-3.json").patients(FORGET) == {first, second}
    record, training = read_record(ledger / "version-3"), read_record(ledger / "version-3-training")
    assert (record.role, record.method.name, training.role) == ("student", "Retraining", "retrained")
    assert record.sha256.weights == training.sha256.weights
    assert record.cost.passes == training.cost.passes
    assert record.seconds > training.seconds > 0
    assert record.cpu_seconds > training.cpu_seconds
    assert read_ledger(ledger).answered[2].share == pytest.approx(record.cost.share)
    code, out, _ = mu_monai("request", "status", ledger)
    assert code == 0
    assert [line.split()[6:9] for line in out.splitlines()[1:3]] == [
        ["answered", "2", "rewind"],
        ["answered", "3", "retraining"],
    ]
    assert mu_monai("request", "verify", ledger)[0] == 0
    code, out, _ = mu_monai("request", "verify", ledger, "--backup", teachers["isic"])
    assert code == 1
    assert "it is version 1, which holds request 1, 2: destroy it" in out
    code, _, err = mu_monai("release", ledger / "version-2", "--out", tmp_path / "released")
    assert code == 2
    assert "holds the patients of request 2, who were forgotten since; release version 3" in err
    code, _, err = mu_monai("release", ledger / "version-3", "--out", tmp_path / "released")
    assert code == 0, err
    assert "trained anew on the retained cases alone" in (
        tmp_path / "released" / "bundle" / "docs" / "README.md"
    ).read_text().replace("\n", " ")


def test_ctrl_c_is_answered_by_the_same_command(mu_monai, asked, monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "answer_requests", stopped)
    code, _, err = mu_monai("request", "run", asked)
    assert code == 130
    assert "interrupted; the same command continues a run from its last finished epoch" in err
