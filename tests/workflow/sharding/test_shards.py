"""Forgetting that is exact by design: the bits, what interrupts it, and what is refused."""

import json
import math
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mu_monai import workflow
from mu_monai.adapters.averaging import shard_average
from mu_monai.data import open_split, write_split
from mu_monai.data.shards import expected_requests, only
from mu_monai.engine import RunFolder
from mu_monai.errors import InputError
from mu_monai.files import file_sha256
from mu_monai.keys import FORGET, RETAIN, TEST, VALIDATION
from mu_monai.methods.shard_refit import base_warning
from mu_monai.runs import RunRecord, file_digests, read_record, write_record
from mu_monai.runs.shards import adapter_folders, read_shards, shard_folder
from mu_monai.workflow.sharding.training import seen_by


def weights(run):
    return torch.load(run / "model.pt", weights_only=True)


def same(one, other):
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without(split, patients, file):
    """The split as if these patients had never been there."""
    opened = open_split(split)
    parts = {
        name: [case for case in opened.located[name] if case["patient_id"] not in patients]
        for name in (RETAIN, VALIDATION, TEST)
    }
    return write_split(file, only(opened, parts))


@pytest.mark.parametrize("kind", ["masks", "volumes", "classes"])
def test_forgetting_gives_the_model_of_a_training_without_them_bit_for_bit(
    kind, sharded, private, refit, train, request_for, patients_of, tmp_path
):
    run = sharded(kind)
    held = patients_of(run)
    name, victim = next((name, people[0]) for name, people in held.items() if len(people) > 1)
    new = refit(kind, request_for(private(kind), victim))
    never = train(kind, tmp_path / "never", without(private(kind), {victim}, tmp_path / "without.json"))
    assert same(new, never)
    assert not same(new, run)
    assert {shard.name for shard in read_shards(new).shards if shard.fitted} == {name}
    assert [shard.adapter for shard in read_shards(new).shards] == [
        shard.adapter for shard in read_shards(never).shards
    ]
    record = read_record(new)
    assert (record.verb, record.role, record.warnings) == ("unlearn", "student", ())
    assert all(check.passed for check in record.checks)
    whole = sum(shard.passes for shard in read_shards(run).shards)
    assert record.cost.share == pytest.approx(record.cost.passes / whole)
    assert 0 < record.cost.share < 1
    assert read_record(run).cost.passes == whole
    trained = {shard.name: read_record(shard_folder(new, shard)) for shard in read_shards(new).shards}
    assert record.seconds > trained[name].seconds > 0
    assert read_record(run).seconds > sum(training.seconds for training in trained.values()) - trained[name].seconds
    assert record.measurements["shards"] == {"shards": len(held), "refit": 1, "forgotten_in_base": 0}


def test_removing_somebody_moves_nobody_else(sharded, private, refit, request_for, patients_of):
    before = patients_of(sharded("masks"))
    victim = before[max(before, key=lambda name: len(before[name]))][0]
    after = patients_of(refit("masks", request_for(private("masks"), victim)))
    assert after == {name: [each for each in people if each != victim] for name, people in before.items()}


def test_requests_follow_one_another_and_an_empty_shard_is_dropped(
    sharded, private, refit, train, request_for, patients_of, tmp_path
):
    held = patients_of(sharded("masks"))
    small = min(held, key=lambda name: len(held[name]))
    first, rest = held[small][0], held[small][1:]
    other = next(people[0] for name, people in held.items() if name != small)
    one = request_for(private("masks"), first)
    new = refit("masks", one)
    two = request_for(one, *rest, other, name="second")
    last = refit("masks", two, "last", teacher=new)
    gone = {first, *rest, other}
    never = train("masks", tmp_path / "never", without(private("masks"), gone, tmp_path / "without.json"))
    assert same(last, never)
    assert small not in patients_of(last)
    assert not gone & {person for people in patients_of(last).values() for person in people}
    with pytest.raises(InputError, match="taken out by earlier requests, so there is nothing to do"):
        refit("masks", two, "again", teacher=last)
    with pytest.raises(InputError, match="is to be retained, but an earlier request took it out; make the split"):
        refit("masks", request_for(private("masks"), other, name="third"), "again", teacher=new)


def test_an_interrupted_training_and_an_interrupted_refit_come_to_the_same_bits(
    sharded, private, refit, train, request_for, patients_of, tmp_path, monkeypatch
):
    held = patients_of(sharded("masks"))
    victims = [people[0] for people in held.values() if len(people) > 1]
    request = request_for(private("masks"), *victims)
    for place, make in {
        tmp_path / "train": lambda **resume: train("masks", tmp_path / "train", **resume),
        tmp_path / "refit": lambda **resume: refit("masks", request, "refit", **resume),
    }.items():
        with monkeypatch.context() as patch:
            stop_in_epoch(patch, 4)  # the first of the second shard
            with pytest.raises(KeyboardInterrupt):
                make()
        assert [shard.adapter is None for shard in read_shards(place).shards if shard.fitted].count(False) == 1
        with pytest.raises(InputError, match="exists; give another one, remove it, or continue it with --resume"):
            make()
        make(resume=True)
    assert same(tmp_path / "train", sharded("masks"))
    assert same(tmp_path / "refit", refit("masks", request))
    with pytest.raises(InputError, match="the run is finished"):
        train("masks", tmp_path / "train", resume=True)


def stop_in_epoch(patch, number):
    """Interrupt after so many epochs of all shards, when the last one's checkpoint is written."""
    epochs, finish = [], RunFolder._epoch

    def epoch(self, engine):
        finish(self, engine)
        epochs.append(1)
        if len(epochs) == number - 1:
            raise KeyboardInterrupt

    patch.setattr(RunFolder, "_epoch", epoch)


def test_a_run_is_resumed_with_what_it_was_started_with(train, request_for, private, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_in_epoch(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train("masks", tmp_path / "run")
    with pytest.raises(InputError, match="config id 'max_epochs' was 2 and is now 3"):
        train("masks", tmp_path / "run", resume=True, settings=["max_epochs=3", "learning_rate=0.01"])
    with pytest.raises(InputError, match=r"the number of the shards was 3 when .* was started, and is now 4"):
        train("masks", tmp_path / "run", resume=True, shards=4)
    with pytest.raises(InputError, match="holds no run of shards to resume"):
        train("masks", tmp_path / "other", resume=True)
    torch.save({"weight": torch.ones(2)}, tmp_path / "run" / "base.pt")
    with pytest.raises(InputError, match=r"the base '.*' is not that of the shards"):
        train("masks", tmp_path / "run", resume=True)


def test_what_is_not_what_it_was_is_refused(sharded, private, refit, request_for, patients_of, tmp_path):
    run = shutil.copytree(sharded("masks"), tmp_path / "run")
    held = patients_of(run)
    name = next(iter(held))
    request = request_for(private("masks"), held[name][0])
    table, checks = workflow.shards(run)
    assert [check.status for check in checks] == ["ok"] * (len(held) + 2)
    assert table["share"].sum() == pytest.approx(1, abs=0.01)
    adapter = run / "shards" / name / "adapter" / "adapter_model.safetensors"
    flip(adapter)
    with pytest.raises(InputError, match=r"adapter_model.safetensors' is not the file that the run wrote"):
        refit("masks", request, teacher=run)
    record = json.loads((run / "run.json").read_text())
    sign(run, record)  # whoever changed it also changed the record of the run
    with pytest.raises(InputError, match=f"the adapters of shard '{name}' .* are not those of its training"):
        refit("masks", request, teacher=run)
    _, checks = workflow.shards(run)
    assert {check.name: check.status for check in checks}[f"shard '{name}'"] == "FAILED"
    assert checks[-1].status == "not checked"
    flip(adapter)
    torch.save({name: value + 1 for name, value in weights(run).items()}, run / "base.pt")
    sign(run, record)
    with pytest.raises(InputError, match=r"the base .* is not that of the shards"):
        refit("masks", request, teacher=run)
    with pytest.raises(InputError, match=r"the base .* is not that of the shards"):
        shard_average(torch.nn.Identity(), run)
    content = (run / "shards.json").read_text()
    (run / "shards.json").write_text(content.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match="was changed after it was written"):
        refit("masks", request, teacher=run)
    assert not (tmp_path / "new").exists()


def flip(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def sign(run, record):
    write_record(run, RunRecord.from_json(record | {"files": file_digests(run)}))


def test_requests_that_cannot_be_answered(sharded, private, refit, request_for, patients_of, teachers, phantom_splits):
    run, split = sharded("masks"), open_split(private("masks"))
    with pytest.raises(InputError, match="is to be forgotten, but no shard was trained on it") as error:
        refit("masks", phantom_splits["isic"])
    assert "is in no subset of the split, but shard" in str(error.value)
    victim = next(iter(patients_of(run).values()))[0]
    cases = split.located
    moved = {RETAIN: cases[RETAIN][1:], FORGET: [], VALIDATION: [*cases[VALIDATION], cases[RETAIN][0]]}
    forgotten = next(case for case in moved[RETAIN] if case["patient_id"] != cases[RETAIN][0]["patient_id"])
    moved |= {FORGET: [forgotten], RETAIN: [case for case in moved[RETAIN] if case is not forgotten]}
    wrong = write_split(split.path.with_name("wrong.json"), only(split, moved))
    with pytest.raises(InputError, match=r"is in validation of the split, but shard .* was trained on it"):
        refit("masks", wrong)
    request = request_for(private("masks"), victim)
    with pytest.raises(InputError, match=r"has no shards.json: its model was not trained in shards"):
        refit("masks", request, teacher=teachers["isic"])
    with pytest.raises(InputError, match="an average of shards, and a model that is trained in one piece is not"):
        workflow.compare("isic", split=request, teacher=run, out=split.path.with_name("compared"))


def test_the_plan_says_what_would_be_trained_again(sharded, private, refit, request_for, patients_of, tmp_path, caplog):
    name, people = next(iter(patients_of(sharded("masks")).items()))
    caplog.set_level("INFO", logger="mu_monai")
    refit("masks", request_for(private("masks"), people[0]), plan=True)
    assert f"1 of 3 shards are trained again ({name}): at most" in caplog.text
    assert not (tmp_path / "new").exists()


def test_a_base_that_saw_the_forgotten_is_said_loudly(phantom_splits, teachers, tmp_path, caplog):
    run = workflow.train_shards(
        "isic",
        split=phantom_splits["isic"],
        base=teachers["isic"],
        out=tmp_path / "run",
        shards=2,
        settings=["max_epochs=1"],
        quiet=True,
    )
    assert "THE BASE WAS ITSELF TRAINED ON CASES OF THIS SPLIT (" in caplog.text
    new = workflow.unlearn_exactly("isic", split=phantom_splits["isic"], teacher=run, out=tmp_path / "new", quiet=True)
    (warning,) = read_record(new).warnings
    number = len(open_split(phantom_splits["isic"]).rows[FORGET])
    assert f"THE BASE WAS ITSELF TRAINED ON {number} OF THE FORGOTTEN IMAGES" in warning
    assert read_record(new).measurements["shards"]["forgotten_in_base"] == number
    bare = shutil.copy(teachers["isic"] / "model.pt", tmp_path / "bare.pt")
    assert seen_by(bare, open_split(phantom_splits["isic"])) == (False, ())


def test_a_base_that_has_a_base_of_its_own_may_have_seen_anybody(sharded, private, phantom_splits):
    split = open_split(private("masks"))
    assert seen_by(sharded("masks"), open_split(phantom_splits["isic"])) == (False, ())  # which its own base saw
    known, saw = seen_by(sharded("masks"), split)
    assert (known, saw) == (False, tuple(sorted(split.digests(RETAIN).values())))
    shards = read_shards(sharded("masks"))
    forgotten = replace(shards, base_known=False, base_saw=saw, removed=saw[:2])
    assert "THE BASE WAS ITSELF TRAINED ON 2 OF THE FORGOTTEN IMAGES" in base_warning(forgotten)
    unknown = base_warning(replace(forgotten, removed=()))
    assert "or it was itself trained in shards on a base: forgetting is exact for the adapters only" in unknown


def test_before_training_it_says_what_is_known_of_the_base_and_what_requests_will_take(
    teachers, private, train, tmp_path, caplog
):
    caplog.set_level("INFO", logger="mu_monai")
    base = shutil.copytree(teachers["isic"], tmp_path / "base")
    record = json.loads((base / "run.json").read_text())
    sign(base, record | {"split": record["split"] | {"file": str(private("masks"))}})  # not the one it was trained on
    run = train("masks", tmp_path / "run", base=base, settings=["max_epochs=1"])
    said, shards = caplog.text.partition("(1 of 3)")[0], read_shards(run).shards
    assert not read_shards(run).base_known
    assert "what the base was trained on is not known, since it is not a run, or the split of its run is gone" in said
    steps, people = [shard.steps for shard in shards], [shard.patients for shard in shards]
    adapters = load_file(adapter_folders(run, shards)[0] / "adapter_model.safetensors")
    size = 4 * sum(value.numel() for value in adapters.values())
    stored = f"adapters take {size / 1e6:.2f} MB each, {3 * size / 1e6:.1f} MB in all, and the base "
    assert f"3 shards of {min(people)} to {max(people)} patients, {sum(steps)} steps in all; {stored}" in said
    for shard in shards:
        alone = f"{shard.patients} patients, {shard.cases} cases, {shard.steps} steps"
        assert f"shard '{shard.name}': {alone}" in said
    share = sum(map(math.prod, zip(people, steps, strict=True))) / (sum(people) * sum(steps))
    assert f"a request of one patient will take {100 * share:.1f} % of all shards' training on average" in said
    assert f"after about {expected_requests(people):.0f} such requests every shard was trained again once" in said


def test_a_column_decides(private, train, tmp_path, patients_of):
    split = open_split(private("masks"))
    cases = split.located[RETAIN]
    sites = {case["patient_id"]: "A & B" if number % 2 else "c" for number, case in enumerate(cases)}
    parts = {
        RETAIN: [{**case, "site": sites[case["patient_id"]]} for case in cases],
        VALIDATION: split.located[VALIDATION],
        TEST: split.located[TEST],
    }
    file = write_split(tmp_path / "sites.json", only(split, parts))
    run = train("masks", tmp_path / "run", file, shards=None, shard_by="site", settings=["max_epochs=1"])
    held = patients_of(run)
    assert held == {name: sorted(p for p, site in sites.items() if site == name) for name in ("A & B", "c")}
    assert (run / "shards" / "c").is_dir()
    with pytest.raises(InputError, match=r"--shard-by stie is not a column of .*; did you mean 'site'?"):
        train("masks", tmp_path / "other", file, shard_by="stie")
    parts[RETAIN][0].pop("site")
    gap = write_split(tmp_path / "gap.json", only(split, parts))
    with pytest.raises(InputError, match="has no site, which --shard-by needs"):
        train("masks", tmp_path / "other", gap, shard_by="site")


def test_options_that_make_no_sense_are_all_said_at_once(train, private, tmp_path):
    with pytest.raises(InputError) as error:
        train("masks", tmp_path / "run", shards=0, base=None)
    assert "training in shards needs --base" in str(error.value)
    assert "--shards 0 is not allowed" in str(error.value)
    with pytest.raises(InputError, match="say how many with --shards, or by which column with --shard-by"):
        train("masks", tmp_path / "run", shards=None)
    with pytest.raises(InputError, match="network#bn_mode=train cannot be averaged over shards"):
        train("masks", tmp_path / "run", settings=["network#bn_mode=train"])
    with pytest.raises(InputError, match="'network#rank' is not an id"):
        train("masks", tmp_path / "run", settings=["network#rank=4"])
    with pytest.raises(InputError, match="--exact needs --teacher"):
        workflow.unlearn_exactly("isic", split=private("masks"), teacher=None, out=tmp_path / "new")


def test_the_new_run_is_a_run_like_any_other(sharded, private, refit, request_for, patients_of, train, tmp_path):
    """Audited, reported, released and merged."""
    victim = next(people[0] for people in patients_of(sharded("masks")).values() if len(people) > 1)
    request = request_for(private("masks"), victim)
    new = refit("masks", request)
    never = train("masks", tmp_path / "never", request, subsets=[RETAIN])
    options = workflow.AuditOptions(references=[never], n_resamples=10, distances=False, quiet=True)
    workflow.audit(new, options=options)
    workflow.report([never, new], out=tmp_path / "report")
    released = workflow.release(new, out=tmp_path / "released")
    assert not list(released.rglob("shards*"))
    assert "exact for the adapters of the shards" in (released / "bundle" / "docs" / "README.md").read_text(
        encoding="utf-8"
    )
    merged = workflow.merge(new, out=tmp_path / "merged.pt")
    assert all(torch.equal(value, weights(new)[name]) for name, value in torch.load(merged, weights_only=True).items())
    scores = pd.read_csv(new / "scores.csv")
    assert set(scores["model"]) == {"teacher", "student"}


def test_the_config_of_a_shard_is_data_even_if_all_digests_fit(
    sharded, private, refit, request_for, patients_of, tmp_path
):
    run = shutil.copytree(sharded("masks"), tmp_path / "run")
    name, people = next(iter(patients_of(run).items()))
    training = run / "shards" / name
    config = json.loads((training / "config.json").read_text())
    (training / "config.json").write_text(json.dumps(config | {"batch_size": "$open('tripwire', 'w')"}))
    record = json.loads((training / "run.json").read_text())
    record["sha256"]["config"] = file_sha256(training / "config.json")
    sign(training, record)
    sign(run, json.loads((run / "run.json").read_text()))
    request = request_for(private("masks"), people[0])
    with pytest.raises(InputError, match=r"batch_size = .*open.*the config of a run is taken as data"):
        refit("masks", request, teacher=run)
    other = shutil.copytree(sharded("masks"), tmp_path / "other")
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"optimizer#weight_decay": 0.5}))
    with pytest.raises(InputError, match=r"config id 'optimizer' was .* and is now"):
        refit("masks", request, teacher=other, overlays=[str(overlay)])


def test_a_ledger_answers_by_training_the_shards_of_the_version_in_use(sharded, patients_of, tmp_path):
    held = patients_of(sharded("masks"))
    victims = [people[0] for people in held.values() if len(people) > 1][:2]
    ledger = tmp_path / "ledger"
    for number, victim in enumerate(victims, start=2):
        workflow.add_request(ledger, run=sharded("masks"), ids=[victim])
        answer = workflow.answer_requests(ledger, options=workflow.RequestOptions(quiet=True))
        assert (answer.version.number, answer.route, answer.came_back) == (number, "shards", [])
        assert sum(shard.fitted for shard in read_shards(ledger / f"version-{number}").shards) == 1
    assert not {*victims} & {name for people in patients_of(ledger / "version-3").values() for name in people}
    assert not [check for check in workflow.verify_requests(ledger) if check.failed]
