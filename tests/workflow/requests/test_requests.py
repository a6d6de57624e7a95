"""What a ledger does with requests: who can ask, which version answers, and who comes back."""

import json
import os
import shutil
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import torch

from mu_monai import workflow
from mu_monai.data import phantom_split, read_split
from mu_monai.errors import InputError
from mu_monai.files import file_sha256
from mu_monai.keys import FORGET, RETAIN, TEST, VALIDATION
from mu_monai.record import read_ledger
from mu_monai.runs import read_record, write_record
from mu_monai.runs.record import OfMethod
from mu_monai.workflow import ForgetChoice, RequestOptions
from mu_monai.workflow.requests import answering
from mu_monai.workflow.requests.opened import evidence_of
from mu_monai.workflow.requests.refusing import ledger_problems

TODAY = date.today()


def told(folder):
    return (folder / "ledger.jsonl").read_bytes()


def failed(checks):
    return {check.name: check.detail for check in checks if check.failed}


def test_a_request_names_nobody_and_has_a_deadline(ledger, people):
    text = told(ledger).decode()
    assert not [name for names in people.values() for name in names if name in text]
    entered = workflow.add_request(ledger, ids=people[RETAIN][2:3], requester="letter 7", deadline=TODAY.isoformat())
    assert (entered.number, len(entered.patients), len(entered.cases)) == (2, 1, 1)
    assert "letter" not in told(ledger).decode()
    table, said = workflow.request_status(ledger)
    assert list(table["deadline"]) == [(TODAY + timedelta(days=30)).isoformat(), TODAY.isoformat()]
    assert list(table["state"]) == ["waiting", "waiting"]
    assert "version 1 is in use" in said
    assert read_ledger(ledger).head in said
    late, _ = workflow.request_status(ledger, today=TODAY + timedelta(days=1))
    assert list(late["state"]) == ["waiting", "waiting, late"]
    assert list(late["left"]) == [29, -1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ids": ["nobody"]}, "id 'nobody' to forget is neither a patient_id nor a case_id"),
        ({}, "say whom to forget, in one way: --forget-ids FILE, --forget-id ID or --forget-where CONDITION"),
        ({"ids": ["a"], "forget": ForgetChoice(where="device == 'a'")}, "say whom to forget, in one way"),
        ({"forget": ForgetChoice(where="device == 'z'")}, "matches no case"),
        ({"ids": ["a"], "deadline": "2020-01-01"}, "the deadline 2020-01-01 has passed"),
        ({"ids": ["a"], "received": "2999-01-01"}, "--received 2999-01-01 is still to come"),
        ({"received": "yesterday", "deadline": "31.1."}, "3 problems.*'yesterday' is not a day.*'31.1.'.*say whom"),
        ({"ids": ["a"], "received": "2020-01-01"}, "the deadline 2020-01-31 has passed"),
    ],
)
def test_a_request_that_cannot_be_entered_leaves_the_ledger_as_it_was(ledger, options, said):
    before = told(ledger)
    with pytest.raises(InputError, match=f"(?s){said}"):
        workflow.add_request(ledger, **options)
    assert told(ledger) == before


def test_who_was_not_trained_on_or_asked_already_is_refused_by_name(ledger, people, routes):
    for name in (VALIDATION, TEST):
        with pytest.raises(
            InputError, match=f"to forget is in '{name}': the model was not trained on it, so its weights"
        ):
            workflow.add_request(ledger, ids=people[name][:1])
    first, second, third, *_ = people[RETAIN]
    with pytest.raises(
        InputError, match=f"(?s)2 problems.*'{first}' is in request 1 already, which waits until"
    ) as caught:
        workflow.add_request(ledger, ids=[first, second, third])
    assert third not in str(caught.value)
    workflow.answer_requests(ledger)
    with pytest.raises(InputError, match="is in request 1 already, which version 2 answered; take it off the list"):
        workflow.add_request(ledger, ids=[second, third])
    assert list(read_ledger(ledger).requests) == [1]
    assert workflow.add_request(ledger, ids=[third]).number == 2
    with pytest.raises(InputError, match="leave nobody to train on"):
        workflow.add_request(ledger, ids=[*people[RETAIN][3:], *people[FORGET]])


def test_a_condition_takes_those_who_did_not_ask_yet(ledger, people, images):
    devices = {row["patient_id"]: row["device"] for row in read_split(images).rows[RETAIN]}
    device = devices[people[RETAIN][0]]
    others = [name for name in people[RETAIN][2:] if devices[name] == device]
    asked = workflow.add_request(ledger, forget=ForgetChoice(where=f"device == '{device}'"))
    assert len(asked.patients) >= len(others) > 0
    with pytest.raises(InputError, match="everybody whom the condition finds was asked for before"):
        workflow.add_request(ledger, forget=ForgetChoice(where=f"device == '{device}'"))


def test_a_ledger_is_begun_once_with_one_model(tmp_path, teacher, made_run, people):
    folder, victim = tmp_path / "ledger", people[RETAIN][:1]
    with pytest.raises(InputError, match="holds no ledger yet; give the run folder of the model"):
        workflow.add_request(folder, ids=victim)
    with pytest.raises(InputError, match="is neither a patient_id"):
        workflow.add_request(folder, run=teacher, ids=["nobody"])
    assert not folder.exists()
    workflow.add_request(folder, run=teacher, ids=victim)
    workflow.add_request(folder, run=teacher, ids=people[RETAIN][1:2])
    with pytest.raises(InputError, match=r"began with another model, .*teacher'; leave out --run"):
        workflow.add_request(folder, run=made_run(tmp_path / "runs" / "other", seed=9), ids=victim)
    with pytest.raises(InputError, match=r"(?s)2 problems.*LEDGER .*#1' cannot be used.*holds no ledger yet"):
        workflow.add_request(tmp_path / "#1", ids=victim)
    with pytest.raises(InputError, match="is not a run folder"):
        workflow.add_request(tmp_path / "second", run=tmp_path, ids=victim)


def test_a_ledger_is_not_begun_with_a_request_that_is_refused(tmp_path, teacher, made_run, people, images):
    folder, (first, second, *_) = tmp_path / "ledger", people[RETAIN]
    other = images.with_name("other.json")
    shutil.copy(images, other)
    other.write_text(other.read_text() + "\n")
    with pytest.raises(InputError, match=r"the split '.*other.json' that .* is gone or another one"):
        workflow.add_request(folder, run=teacher, ids=[first], split=other)
    content = json.loads(images.read_text())
    place = next(i for i, row in enumerate(content[RETAIN]) if row["patient_id"] == second)
    content[FORGET].append(content[RETAIN].pop(place))
    other.write_text(json.dumps(content))
    student = made_run(tmp_path / "runs" / "student", split=other, role="student")
    with pytest.raises(InputError, match=f"'{second}' was forgotten before the ledger began, in its first version"):
        workflow.add_request(folder, run=student, ids=[first, second])
    scores = teacher / "scores.csv"
    scores.write_text(scores.read_text() + "x\n")
    with pytest.raises(InputError, match=r"scores.csv"):
        workflow.add_request(folder, run=teacher, ids=[first])
    other.unlink()
    assert not folder.exists()


def test_waiting_requests_are_answered_at_once_and_the_earlier_ones_stay_forgotten(ledger, people, routes, monkeypatch):
    read = []
    monkeypatch.setattr(answering, "evidence_of", lambda *given: read.append(given[1].number) or evidence_of(*given))
    victims = people[RETAIN]
    workflow.add_request(ledger, ids=victims[2:3])
    answer = workflow.answer_requests(ledger)
    assert (answer.version.number, answer.requests, answer.route, answer.share) == (2, (1, 2), "rewind", 0.1)
    assert [each.patients for each in answer.membership] == [2, 1]
    assert all(0 <= each.auc <= 1 and 0 <= each.before <= 1 for each in answer.membership)
    assert read_split(ledger / "version-2.json").patients(FORGET) == set(victims[:3])
    assert set(people[FORGET]) < read_split(ledger / "version-2.json").patients(RETAIN)  # nobody asked for these yet
    workflow.add_request(ledger, ids=people[FORGET][:1])
    read.clear()
    answer = workflow.answer_requests(ledger)
    assert read == [3, 1, 2]  # once each, also with several requests
    assert read_split(ledger / "version-3.json").patients(FORGET) == {*victims[:3], people[FORGET][0]}
    assert [check.request for check in answer.audit] == [1, 2]
    assert answer.came_back == []
    assert not failed(workflow.verify_requests(ledger))
    table, _ = workflow.request_status(ledger)
    assert list(table["version"]) == [2, 2, 3]
    assert set(table["state"]) == {"answered"}
    assert "nobody came back" in workflow.answer_summary(ledger, answer)[-1]
    with pytest.raises(InputError, match="no request is waiting in"):
        workflow.answer_requests(ledger)
    first, *_ = (job for job, _, _ in routes.jobs)
    assert (first.source.folder.name, first.current.folder.name) == ("teacher", "teacher")
    last = routes.jobs[-1][0]
    assert (last.source.folder.name, last.current.folder.name) == ("teacher", "version-2")  # errors do not pile up


def test_a_version_in_which_somebody_came_back_is_refused_and_another_route_taken(ledger, people, routes, tmp_path):
    victims = people[RETAIN]
    workflow.answer_requests(ledger)
    workflow.add_request(ledger, ids=victims[2:3])
    routes.losses = {victims[0]: 0.01, victims[1]: 0.02}
    answer = workflow.answer_requests(ledger)
    assert (answer.version.number, answer.came_back) == (3, [1])
    assert "request 1 came back: AUC 1.00, and 0." in workflow.answer_summary(ledger, answer)[-1]
    assert list(workflow.request_status(ledger)[0]["state"]) == ["answered", "waiting"]
    with pytest.raises(InputError, match=r"is refused by the ledger .*request 1 came back in version 3; answer"):
        workflow.release(ledger / "version-3", out=tmp_path / "released")
    assert "holds request 1" in failed(workflow.verify_requests(ledger, backups=[ledger / "version-3"])).popitem()[1]
    routes.losses = {}
    workflow.add_request(ledger, ids=victims[3:4])  # one more does not bring the refused route back
    answer = workflow.answer_requests(ledger)
    assert (answer.version.number, answer.requests) == (4, (2, 3))
    assert (answer.route, answer.came_back) == ("retraining", [])
    (why,) = (entry.why for entry in read_ledger(ledger).entries if getattr(entry, "version", 0) == 4)
    assert "version 3, made in this way, was refused, since request 1 came back in it" in "; ".join(why)
    assert read_ledger(ledger).current.number == 4


def test_what_was_forgotten_since_is_neither_released_nor_restored(ledger, people, routes, tmp_path, made_run, teacher):
    workflow.answer_requests(ledger)
    workflow.add_request(ledger, ids=people[RETAIN][2:3])
    workflow.answer_requests(ledger)
    with pytest.raises(
        InputError, match=r"is version 2 of the ledger .*patients of request 2, who were forgotten since"
    ):
        workflow.release(ledger / "version-2", out=tmp_path / "released")
    stranger = made_run(tmp_path / "runs" / "elsewhere", seed=7)
    clean = made_run(tmp_path / "runs" / "clean", seed=8, split=ledger / "version-3.json", role="retrained")
    torch.save({"weight": torch.ones(3)}, tmp_path / "loose.pt")
    shutil.copy(teacher / "model.pt", tmp_path / "copy.pt")
    places = [teacher, tmp_path / "copy.pt", ledger / "version-2", ledger / "version-3", stranger, clean]
    checks = workflow.verify_requests(ledger, backups=[*places, tmp_path / "loose.pt", tmp_path / "nothing"])
    status = {check.name: (check.status, check.detail) for check in checks if check.name.startswith("backup")}
    expected = [
        ("FAILED", "it is version 1, which holds request 1, 2: destroy it"),
        ("FAILED", "it is version 1, which holds request 1, 2: destroy it"),
        ("FAILED", "it is version 2, which holds request 2: destroy it"),
        ("ok", "it is version 3, which holds nobody who was forgotten"),
        ("FAILED", "it is not a version of this ledger, and was trained on patients of request 1, 2: destroy it"),
        ("ok", "it is not a version of this ledger, and was trained on nobody who was forgotten"),
        ("not checked", "it is not a version of this ledger, and not a run, so what it was trained on is not known"),
    ]
    assert list(status.values())[:-1] == expected
    assert list(status.values())[-1][0] == "FAILED"


def test_an_approximate_backup_is_never_said_to_hold_nobody(ledger, routes, people, tmp_path, made_run, teacher):
    """It began with a model that saw the forgotten, and no audit of this ledger looked at it."""
    workflow.answer_requests(ledger)
    first, second = read_record(teacher).sha256.weights, read_record(ledger / "version-2").sha256.weights
    split = ledger / "version-2.json"
    content = json.loads(split.read_text())
    nobody = split.with_name("nobody.json")  # the forgotten are not even named
    nobody.write_text(json.dumps({**content, FORGET: []}))
    rollback = OfMethod(name="Rollback", settings={}, target="mu_monai.methods.rollback.Rollback")
    made = {
        "unknown": ({"role": "student", "split": split}, {"starting_weights": "0" * 64}, {}),
        "of the first": ({"role": "student", "split": split}, {"starting_weights": first}, {}),
        "of the second": ({"role": "student", "split": split}, {"starting_weights": second}, {}),
        "exact": ({"role": "student", "split": split}, {"starting_weights": first}, {"method": rollback}),
        "kept": ({"role": "student", "split": nobody}, {"starting_weights": first}, {}),
        "trained on": ({"role": "retrained", "split": split}, {"starting_weights": first}, {}),
        "no trace": ({"role": "student", "split": nobody}, {"starting_weights": None}, {}),
        "clean": ({"role": "student", "split": nobody}, {"starting_weights": second}, {}),
    }
    for seed, (name, (options, digests, others)) in enumerate(made.items(), start=20):
        run = made_run(tmp_path / name, seed=seed, **options)
        record = read_record(run)
        write_record(run, replace(record, sha256=replace(record.sha256, **digests), **others))
    checks = workflow.verify_requests(ledger, backups=[tmp_path / name for name in made])
    found = [(check.status, check.detail) for check in checks if check.name.startswith("backup")]
    alone, elsewhere = "it is not a version of this ledger", "it was unlearned elsewhere, approximately, from"
    unaudited = "and nobody audited it for this ledger"
    assert found == [
        ("not checked", f"{alone}: {elsewhere} a model that was trained on patients of request 1, {unaudited}"),
        ("not checked", f"{alone}: {elsewhere} version 1, which holds request 1, {unaudited}"),
        ("not checked", f"{alone}: {elsewhere} version 2, {unaudited}"),
        ("ok", f"{alone}, and was trained on nobody who was forgotten"),
        ("FAILED", f"{alone}, and was made from version 1, which holds request 1: destroy it"),
        ("FAILED", f"{alone}, and was made from version 1, which holds request 1: destroy it"),
        (
            "not checked",
            f"{alone}; it was trained on nobody who was forgotten, and what the model that it was made from was "
            "trained on is not known",
        ),
        ("ok", f"{alone}, and was trained on nobody who was forgotten"),
    ]


def test_the_first_version_is_not_released_either_where_the_ledger_is_named(
    ledger, routes, people, tmp_path, made_run, teacher
):
    """It lies elsewhere, and was made before there was a ledger."""
    weights = read_ledger(ledger).first.weights
    assert list(ledger_problems(teacher, weights, ledger)) == []
    workflow.answer_requests(ledger)
    assert list(ledger_problems(teacher, weights)) == []
    for place in (ledger, str(ledger)):
        (problem,) = ledger_problems(teacher, weights, place)
        assert "is version 1 of the ledger" in problem
        assert problem.endswith("holds the patients of request 1, who were forgotten since; release version 2")
    with pytest.raises(InputError, match=r"is version 1 of the ledger .* request 1, who were forgotten since"):
        workflow.release(teacher, out=tmp_path / "released", ledger=ledger)
    assert list(ledger_problems(ledger / "version-2", read_ledger(ledger).current.weights, ledger)) == []
    (problem,) = ledger_problems(made_run(tmp_path / "runs" / "other", seed=7), "a1", ledger)
    assert "is not a version of the ledger" in problem
    with pytest.raises(InputError, match=r"holds no ledger.jsonl"):
        list(ledger_problems(teacher, weights, tmp_path / "runs"))


def test_verify_tells_what_was_changed(ledger, routes, people, made_run):
    workflow.answer_requests(ledger)
    head = read_ledger(ledger).head
    workflow.add_request(ledger, ids=people[RETAIN][2:3])
    assert not failed(workflow.verify_requests(ledger, head=head))
    assert "no entry has the digest abc" in failed(workflow.verify_requests(ledger, head="abc"))["head"]
    torch.save({"weight": torch.ones(2)}, ledger / "version-2" / "model.pt")
    (ledger / "evidence" / "version-2.csv").unlink()
    content = json.loads((ledger / "version-2.json").read_text())
    (ledger / "version-2.json").write_text(json.dumps(content))
    found = failed(workflow.verify_requests(ledger))
    assert set(found) == {"version 2", "split of version 2", "scores of version 2"}
    with pytest.raises(InputError, match="is missing, and what came back cannot be told without them"):
        workflow.answer_requests(ledger)
    shutil.rmtree(ledger / "version-2")
    assert {"version 2"} == {c.name for c in workflow.verify_requests(ledger) if c.status == "not checked"}


def test_a_version_that_retains_the_forgotten_is_noticed(ledger, routes, people, made_run, images, monkeypatch):
    """Whoever makes a version by hand, from a split that forgets too few."""
    split = ledger / "version-2.json"
    workflow.answer_requests(ledger)
    lines = (ledger / "ledger.jsonl").read_text()
    shutil.copy(images, split)
    assert "is another one" in failed(workflow.verify_requests(ledger))["split of version 2"]
    monkeypatch.setattr("mu_monai.workflow.requests.checking.split_of", lambda folder, version: split)
    assert "retains patients of request 1, whom" in failed(workflow.verify_requests(ledger))["split of version 2"]
    assert (ledger / "ledger.jsonl").read_text() == lines


def test_an_interrupted_answer_goes_on_with_what_was_begun(ledger, routes, people):
    routes.error = KeyboardInterrupt()
    options = RequestOptions(budget=0.1, settings=["max_epochs=2"])
    with pytest.raises(KeyboardInterrupt):
        workflow.answer_requests(ledger, options=options)
    workflow.add_request(ledger, ids=people[RETAIN][2:3])  # meanwhile
    assert "version 2 was begun and is not finished" in workflow.request_status(ledger)[1]
    assert "version 2 was begun by rewind" in workflow.plan_requests(ledger)[0]
    with pytest.raises(InputError, match="version 2 was begun with another --set; leave it out to go on with it"):
        workflow.answer_requests(ledger, options=RequestOptions(settings=["max_epochs=3"]))
    routes.error = None
    answer = workflow.answer_requests(ledger, options=options)
    assert (answer.version.number, answer.requests) == (2, (1,))
    assert routes.jobs[-1][0].start.settings == ("max_epochs=2",)
    assert read_ledger(ledger).waiting == [2]
    kinds = [json.loads(line)["kind"] for line in told(ledger).splitlines()]
    assert kinds == ["version", "request", "start", "request", "answer"]


def test_a_version_that_is_made_already_is_only_entered(ledger, routes, monkeypatch):
    """Killed after the run was finished, before its answer was written."""
    with monkeypatch.context() as patch:
        patch.setattr("mu_monai.workflow.requests.answering.made_version", stop)
        with pytest.raises(KeyboardInterrupt):
            workflow.answer_requests(ledger)
    assert len(routes.jobs) == 1
    assert workflow.answer_requests(ledger).version.number == 2
    assert len(routes.jobs) == 1


def test_a_folder_that_was_there_is_not_taken_for_the_version(ledger, routes, made_run):
    made_run(ledger / "version-2", role="student", seed=4)
    with pytest.raises(InputError, match="holds a run of another split, which was not made for version 2; move it"):
        workflow.answer_requests(ledger)
    shutil.move(ledger / "version-2", ledger / "other")
    assert workflow.answer_requests(ledger).version.number == 2


def stop(*arguments):
    raise KeyboardInterrupt


def test_what_cannot_be_made_is_told_with_the_two_ways_on(ledger, routes):
    routes.error = InputError("--device cuda:7 cannot be used")
    with pytest.raises(
        InputError, match=r"(?s)cuda:7.*version 2 stays begun: once this is corrected, the same command"
    ):
        workflow.answer_requests(ledger)
    routes.error = None
    answer = workflow.answer_requests(ledger, options=RequestOptions(route="retraining"))
    assert (answer.version.number, answer.route) == (3, "retraining")
    assert read_ledger(ledger).begun is None


def test_where_no_route_is_left_nothing_is_begun_and_nothing_written(ledger, routes):
    before = sorted(ledger.rglob("*"))
    with pytest.raises(InputError, match="shards is not possible: it is not there"):
        workflow.answer_requests(ledger, options=RequestOptions(route="shards"))
    assert sorted(ledger.rglob("*")) == before


def test_a_plan_writes_nothing(ledger, routes):
    before = sorted(path for path in ledger.rglob("*"))
    told_before = told(ledger)
    said = workflow.plan_requests(ledger)
    assert said[0].startswith("request 1, until")
    assert "with an AUC of" in said[0]
    assert said[-2:] == ["route: rewind, approximate", f"risk: {workflow_risk('rewind')}"]
    assert "rollback is not possible: it is not there" in said
    assert sorted(path for path in ledger.rglob("*")) == before
    assert told(ledger) == told_before
    assert routes.jobs[-1][1]  # only a plan
    with pytest.raises(InputError, match="--route magic is not known; use one of rollback, shards, rewind"):
        workflow.plan_requests(ledger, options=RequestOptions(route="magic"))
    with pytest.raises(InputError, match=r"(?s)shards is not possible: it is not there.*no route is left"):
        workflow.plan_requests(ledger, options=RequestOptions(route="shards"))


def workflow_risk(name):
    from mu_monai.workflow.requests.routes import ROUTES

    return ROUTES[name].risk


def test_images_that_are_gone_are_told_before_anything_starts(tmp_path, images, made_run, routes, people):
    home = shutil.copytree(images.parent, tmp_path / "data")
    run, folder = made_run(tmp_path / "runs" / "teacher", split=home / "split.json"), tmp_path / "ledger"
    workflow.add_request(folder, run=run, ids=people[RETAIN][:1])
    for file in home.rglob(f"{people[RETAIN][0]}_*"):
        file.unlink()
    with pytest.raises(InputError, match="does not exist; put it back"):
        workflow.answer_requests(folder)
    workflow.answer_requests(folder, options=RequestOptions(forget_images_gone=True))
    assert routes.jobs[-1][0].start.forget_images_gone


def test_who_the_first_version_forgot_or_never_saw_cannot_be_asked_for(tmp_path, made_run, people, routes):
    folder, victim = tmp_path / "student", people[FORGET][0]
    workflow.add_request(folder, run=made_run(tmp_path / "runs" / "student", role="student"), ids=people[RETAIN][:1])
    with pytest.raises(InputError, match=f"'{victim}' was forgotten before the ledger began, in its first version"):
        workflow.add_request(folder, ids=[victim])
    workflow.answer_requests(folder)
    assert read_split(folder / "version-2.json").patients(FORGET) == {*people[FORGET], people[RETAIN][0]}
    folder = tmp_path / "retrained"
    workflow.add_request(
        folder, run=made_run(tmp_path / "runs" / "retrained", role="retrained"), ids=people[RETAIN][:1]
    )
    with pytest.raises(InputError, match=f"id '{victim}' to forget is neither a patient_id nor a case_id"):
        workflow.add_request(folder, ids=[victim])


def test_another_salt_or_split_is_refused(ledger, people, images, tmp_path):
    salt = ledger / "ledger-salt.txt"
    own = salt.read_text()
    salt.write_text("0" * 64 + "\n")
    with pytest.raises(InputError, match="is not the salt of this ledger, so nobody in it can be recognized"):
        workflow.add_request(ledger, ids=people[RETAIN][2:3])
    salt.write_text(own)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(images.read_text())))
    assert file_sha256(other) != file_sha256(images)
    with pytest.raises(InputError, match="of version 1 is another one; put it back, or say where it is now: --split"):
        workflow.add_request(ledger, ids=people[RETAIN][2:3], split=other)
    shutil.move(ledger, tmp_path / "moved")
    assert workflow.add_request(tmp_path / "moved", ids=people[RETAIN][2:3], split=images).number == 2


def test_a_model_that_is_not_there_is_asked_for(ledger, routes, teacher, made_run):
    shutil.move(teacher, teacher.with_name("away"))
    with pytest.raises(InputError, match="version 1, which is in use, is not there; put it back"):
        workflow.answer_requests(ledger)
    made_run(teacher, seed=5)
    with pytest.raises(InputError, match="is not version 1: its weights are others"):
        workflow.answer_requests(ledger)


def test_once_the_first_version_is_destroyed_the_one_in_use_is_the_source(ledger, routes, teacher, people):
    workflow.answer_requests(ledger)
    shutil.rmtree(teacher)
    workflow.add_request(ledger, ids=people[RETAIN][2:3])
    missing = f"version 1 is not in '{teacher}', so that this starts from version 2, and errors of both add up"
    assert any(said.startswith(missing) for said in workflow.plan_requests(ledger))
    workflow.answer_requests(ledger)
    assert routes.jobs[-1][0].source.folder == ledger / "version-2"
    begun, *_ = (entry for entry in read_ledger(ledger).entries if getattr(entry, "version", None) == 3)
    assert begun.why[0].startswith(missing)
    assert not failed(workflow.verify_requests(ledger))


def test_a_patient_of_whom_one_image_was_asked_for_can_withdraw_the_others(tmp_path, made_run, routes):
    split = Path(phantom_split("lesions", tmp_path / "two", patients=24, images_per_patient=2, size=32, seed=3))
    content = json.loads(split.read_text())
    content["provenance"]["group_by"] = "case_id"
    split.write_text(json.dumps(content))
    patient = content[RETAIN][0]["patient_id"]
    first, second = (row["case_id"] for row in content[RETAIN] if row["patient_id"] == patient)
    ledger = tmp_path / "ledger"
    workflow.add_request(ledger, run=made_run(tmp_path / "runs" / "two", split=split), ids=[first])
    workflow.answer_requests(ledger)
    assert second in {row["case_id"] for row in read_split(ledger / "version-2.json").rows[RETAIN]}
    assert len(workflow.add_request(ledger, ids=[patient]).cases) == 1
    workflow.answer_requests(ledger)
    assert not {first, second} & {row["case_id"] for row in read_split(ledger / "version-3.json").rows[RETAIN]}
    with pytest.raises(InputError, match=f"'{patient}' is in request 2 already, which version 3 answered"):
        workflow.add_request(ledger, ids=[patient])


@pytest.mark.parametrize("left", [None, b""])
def test_no_ledger_is_begun_over_one_that_was_lost(ledger, teacher, people, left):
    head = (ledger / "ledger-head.json").read_bytes()
    (ledger / "ledger.jsonl").unlink()
    if left is not None:
        (ledger / "ledger.jsonl").write_bytes(left)
    for options in ({"run": teacher}, {}):
        with pytest.raises(InputError, match=r"is (gone|empty), and 'ledger-head.json' says that it had entries; put"):
            workflow.add_request(ledger, ids=people[RETAIN][2:3], **options)
    with pytest.raises(InputError, match="says that it had entries"):
        workflow.request_status(ledger)
    assert (ledger / "ledger-head.json").read_bytes() == head


def test_weights_that_only_lie_in_a_run_folder_are_not_its_model(ledger, routes, people, made_run, tmp_path):
    workflow.answer_requests(ledger)
    clean = made_run(tmp_path / "runs" / "clean", seed=8, split=ledger / "version-2.json", role="retrained")
    torch.save({"weight": torch.ones(3)}, clean / "base.pt")
    for file, status in ((clean / "base.pt", "not checked"), (clean / "model.pt", "ok")):
        (found,) = (c for c in workflow.verify_requests(ledger, backups=[file]) if c.name.startswith("backup"))
        assert found.status == status


def test_with_the_same_route_an_interrupted_answer_goes_on(ledger, routes):
    options = RequestOptions(route="retraining")
    routes.error = KeyboardInterrupt()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            workflow.answer_requests(ledger, options=options)
    routes.error = None
    assert workflow.answer_requests(ledger, options=options).version.number == 2
    assert [job.start.version for job, _, _ in routes.jobs] == [2, 2, 2]


@pytest.mark.parametrize(("zone", "state"), [("America/New_York", "answered"), ("UTC", "answered, late")])
def test_the_day_of_an_answer_is_that_of_the_place(ledger, routes, monkeypatch, zone, state):
    workflow.answer_requests(ledger)
    made = read_ledger(ledger)
    night = f"{made.requests[1].deadline}T01:00:00+00:00"
    late = (date.fromisoformat(made.requests[1].deadline) + timedelta(days=1)).isoformat()
    moved = replace(made, times=(*made.times[:-1], night.replace(made.requests[1].deadline, late)))
    monkeypatch.setattr("mu_monai.workflow.requests.listing.read_ledger", lambda folder: moved)
    monkeypatch.setitem(os.environ, "TZ", zone)
    time.tzset()
    try:
        assert workflow.request_status(ledger)[0]["state"].tolist() == [state]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_ledger_can_begin_with_a_split_that_was_moved(tmp_path, images, made_run, people):
    home = shutil.copytree(images.parent, tmp_path / "home")
    run = made_run(tmp_path / "runs" / "teacher", split=home / images.name)
    shutil.move(home, tmp_path / "moved")
    folder, victim = tmp_path / "ledger", people[RETAIN][:1]
    with pytest.raises(InputError, match=r"is gone or another one.*--split FILE"):
        workflow.add_request(folder, run=run, ids=victim)
    workflow.add_request(folder, run=run, ids=victim, split=tmp_path / "moved" / images.name)
    assert workflow.add_request(folder, ids=people[RETAIN][1:2]).number == 2  # it is known from now on


def test_what_was_not_measured_is_not_told_as_a_result(ledger, routes, people):
    workflow.answer_requests(ledger)
    workflow.add_request(ledger, ids=people[RETAIN][2:3])
    answer = workflow.answer_requests(ledger)
    unknown = replace(answer, audit=tuple(replace(check, now=None, then=None) for check in answer.audit))
    said = workflow.answer_summary(ledger, unknown)[-1]
    assert said == "0 of 1 earlier requests were audited again: who came back was not measured"


def test_a_version_that_was_not_entered_is_not_released(ledger, routes, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr("mu_monai.workflow.requests.answering.made_version", stop)
        with pytest.raises(KeyboardInterrupt):
            workflow.answer_requests(ledger)
    with pytest.raises(InputError, match=r"version-2' is not entered in the ledger .*mu-monai request run"):
        workflow.release(ledger / "version-2", out=tmp_path / "released")


def test_a_day_beyond_the_calendar_is_a_day_to_come(ledger, people):
    with pytest.raises(InputError, match="9999-12-31 is still to come"):
        workflow.add_request(ledger, ids=people[RETAIN][2:3], received="9999-12-31")
