"""Whatever is damaged in a record that is signed again gives a line with FAILED, and never a traceback."""

import copy
import json
import shutil
from dataclasses import asdict

import pytest

from mu_monai import workflow
from mu_monai.audit import verdict
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.record import record_problems, without_cases, without_nan
from mu_monai.runs import add_files, write_stamped
from mu_monai.workflow.handover import derived
from mu_monai.workflow.handover.derived import verdict_problems

pytestmark = pytest.mark.no_cover  # every line that runs here is measured where it has tests of its own

STRANGE = {"null": None, "list": [], "mapping": {}, "text": "text", "number": 7, "huge": 10**400, "negative": -1.5}
# What only the one who signs knows: a well-formed text or number in its place cannot be told from a true one.
OF_THE_SIGNER = (
    *(("bundle", "name"), ("bundle", "task"), ("preset",), ("method", "settings"), ("runs",), ("created",)),
    *(("method", part) for part in ("target", "package", "version")),
    ("verdict", "rules"),  # without them a verdict is by earlier rules, which its line then says
    *(("audit", part) for part in ("command", "versions", "n_resamples", "attacks", "notes", "records")),
    *(("release_search", "findings"), ("limitations",), ("split", "patients", "validation"), ("split", "phantom")),
)


@pytest.fixture(scope="session")
def audited(tmp_path_factory, unlearned, teachers, phantom_splits, keys):
    """A signed release of a run that was audited with an attack, beside a retrained model."""
    folder, settings = tmp_path_factory.mktemp("audited"), ["max_epochs=1", "image_size=[32, 32]"]
    run = shutil.copytree(unlearned("isic"), folder / "student")
    network = read_json(teachers["isic"] / "config.json")["network_def"]
    settings += [f"network_def#{key}={json.dumps(network[key])}" for key in ("channels", "strides")]
    split, out = phantom_splits["isic"], folder / "retrained"
    retrained = workflow.train("isic", split=split, out=out, subsets=["retain"], settings=settings, quiet=True)
    options = workflow.AuditOptions(references=[retrained], attacks=["int8"], n_resamples=1000, quiet=True)
    workflow.audit(run, options=options)
    released = workflow.release(run, out=folder / "released")
    runs = [teachers["isic"], retrained, run]
    workflow.report(runs, out=folder / "report", record=released, key=keys / "own.pem")
    return released


@pytest.fixture
def folder(audited, tmp_path):
    return shutil.copytree(audited, tmp_path / "released")


def places(content, place=()):
    """Every key of a record; of a list its first entry, and what differs among the others is not looked at."""
    items = (
        content.items() if isinstance(content, dict) else enumerate(content[:1]) if isinstance(content, list) else ()
    )
    for key, value in items:
        yield (*place, key)
        yield from places(value, (*place, key))


def mutations(said):
    for place in places(said):
        for name, value in {"removed": ..., **STRANGE}.items():
            changed = copy.deepcopy(said)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            if inner[place[-1]] == value and type(inner[place[-1]]) is type(value):
                continue
            if value is ...:
                del inner[place[-1]]
            else:
                inner[place[-1]] = value
            yield place, name, changed


def first_format(said):
    """The same record as it was signed before."""
    old = copy.deepcopy(said) | {"format": 1, "config": {"sha256": "b" * 64}}
    del old["commitments"]
    counts = {name: {"patients": number, "cases": 2 * number} for name, number in said["split"]["patients"].items()}
    old["split"] = {"sha256": "a" * 64, "counts": counts, "chosen_by": "ids", "group_by": "patient_id", "seed": 0}
    old["split"]["phantom"] = said["split"]["phantom"]
    for run in old["runs"].values():
        run |= {"seed": 0, "seconds": 1.0, "weights": "c" * 64}
    if old["audit"] != "not audited":
        old["audit"]["seed"] = 0
    return with_cases(old)


def with_cases(content):
    if isinstance(content, dict):
        more = {"n_cases": 2 * content["n_patients"]} if "n_patients" in content else {}
        return {key: with_cases(value) for key, value in content.items()} | more
    return [with_cases(value) for value in content] if isinstance(content, list) else content


def test_an_audited_release_is_confirmed(folder, checks, phantom_splits, audited):
    found = checks(folder, split=phantom_splits["isic"], salt=audited.with_name("released.salt.txt"))
    assert {check.status for check in found.values()} == {"ok"}
    assert "CANNOT TELL follows" in found["verdict"].detail


@pytest.mark.parametrize("made", ["sealed", "audited"])
@pytest.mark.parametrize("form", [1, 2])
def test_no_field_of_a_record_can_be_damaged_unnoticed(made, form, request, said_in, checks, sign_again, tmp_path):
    release = request.getfixturevalue(made)
    said = said_in(release)["predicate"]
    said = first_format(said) if form == 1 else said
    assert record_problems(said) == []
    copied, unnoticed, by_shape, tried = shutil.copytree(release, tmp_path / "released"), [], 0, 0
    for place, name, changed in mutations(said):
        if place == ("format",):
            continue
        if record_problems(changed):
            by_shape += 1
            continue
        if any(place[: len(known)] == known for known in OF_THE_SIGNER):
            continue
        tried += 1
        if form == 1 or tried % 3:
            continue  # the evidence of the first format is compared below; a third is enough, of every part
        sign_again(copied, lambda record, now=changed: (record.clear(), record.update(now)))
        if not any(check.failed for check in checks(copied).values()):
            unnoticed.append((place, name))
    assert by_shape > 500
    assert unnoticed == []


def test_a_sample_of_damage_never_ends_in_a_traceback(folder, checks, sign_again, said_in):
    said = said_in(folder)["predicate"]
    for place, name, changed in list(mutations(said))[::97]:
        sign_again(folder, lambda record, now=changed: (record.clear(), record.update(now)))
        found = checks(folder)
        assert any(check.failed for check in found.values()) or place[:1] in {k[:1] for k in OF_THE_SIGNER}, (
            place,
            name,
        )
        assert not any("\n" in str(check) for check in found.values())


@pytest.mark.parametrize("name", ["release.json", "bundle/configs/metadata.json"])
def test_damage_in_the_files_that_a_record_agrees_with(folder, checks, sign_again, name):
    content = read_json(folder / name)
    for place, what, changed in mutations({"": content}):
        if place == ("",) or what != "removed":
            continue
        (folder / name).write_text(json.dumps(changed[""]))
        sign_again(folder, lambda record: None)
        found = checks(folder)["record"]
        of_record = len(place) < 4 and place[1] in ("weights", "tensors", "search", "version")
        assert found.failed or not of_record, (place, what)


def contradict(said):
    said["verdict"]["label"] = "MATCHED"


def reword(said):
    said["verdict"]["sentence"] = "Nothing of the forgotten patients is left."


def double(said):
    said["audit"]["records"].append(said["audit"]["records"][0])


def unlimit(said):
    said["limitations"] = ["None."]


def shift(said):
    entry = next(r for r in said["audit"]["records"] if (r["model"], r["metric"]) == ("student", "auc[loss]"))
    entry["value"] = 0.25


def move(said):
    entry = next(r for r in said["audit"]["records"] if r["reference"] and r["metric"] == "dice" and not r["attack"])
    entry["gap"] += 0.01


def deny(said):
    said["audit"] = "not audited"


def count(said):
    said["split"]["patients"]["validation"] = 40


@pytest.mark.parametrize(
    ("change", "name"),
    [
        *((contradict, "verdict"), (reword, "verdict"), (double, "record"), (unlimit, "record"), (shift, "verdict")),
        *((move, "verdict"), (deny, "record"), (count, "utility")),
    ],
)
def test_what_contradicts_the_numbers_fails(folder, checks, sign_again, change, name):
    sign_again(folder, change)
    assert checks(folder)[name].failed


def test_a_huge_number_of_draws_is_not_drawn(folder, checks, sign_again):
    sign_again(folder, lambda said: said["draws"].update(n_resamples=10**12))
    found = checks(folder)
    assert [name for name, check in found.items() if check.failed] == ["record"]
    assert "'draws' is" in found["record"].detail


def test_words_of_another_version_are_not_compared_and_the_label_is(folder, checks, sign_again):
    def other(said):
        said["audit"]["versions"]["mu_monai"] = "0.0.1"
        reword(said)

    sign_again(folder, other)
    assert not checks(folder)["verdict"].failed
    sign_again(folder, contradict)
    assert checks(folder)["verdict"].failed


def forget_rules(said):
    """The verdict that version 1 of the rules gave, which did not name them."""
    records = [derived._record(entry) for entry in said["audit"]["records"]]
    earlier = asdict(verdict(records, n_unseen=derived._unseen(records), rules=1))
    said["verdict"].update(without_cases(without_nan(earlier)))
    del said["verdict"]["rules"]


def test_a_verdict_by_the_rules_of_an_earlier_version_is_confirmed_and_told(folder, checks, sign_again):
    assert "earlier versions" not in checks(folder)["verdict"].detail
    sign_again(folder, forget_rules)
    found = checks(folder)
    assert {found["record"].status, found["verdict"].status} == {"ok"}
    assert found["verdict"].detail.endswith("by the public rules of an earlier version, by which less was told")


def test_a_record_of_the_first_format_still_verifies_and_is_told(folder, checks, sign_again, said_in):
    old = first_format(said_in(folder)["predicate"])
    sign_again(folder, lambda said: (said.clear(), said.update(old)))
    found = checks(folder)
    assert found["record"].status == "ok"
    assert "format 1" in found["record"].detail
    assert [name for name, check in found.items() if check.failed] == []
    sign_again(folder, contradict)
    assert checks(folder)["verdict"].failed


def test_the_age_of_a_record_is_told(folder, checks, sign_again):
    for created, told in (("2026-05-01T10:00:00+00:00", "made 2026-05-01, "), ("2999-01-01T00:00:00+00:00", "future")):
        sign_again(folder, lambda said, made=created: said.update(created=made))
        assert told in checks(folder)["signature"].detail
    assert checks(folder)["record"].failed
    sign_again(folder, lambda said: said.update(created="May"))
    found = checks(folder)
    assert "cannot be read" in found["signature"].detail
    assert found["record"].failed


@pytest.mark.parametrize("change", [contradict, reword, shift, move, forget_rules])
def test_an_audit_that_contradicts_itself_is_not_signed(change, audited, unlearned, keys, tmp_path):
    run = shutil.copytree(audited.with_name("student"), tmp_path / "student")
    audit = read_json(run / "audit.json")
    content = {"verdict": audit["verdict"], "audit": audit}
    change(content)
    write_stamped(run / "audit.json", audit)
    add_files(run, "audit.json")
    out = workflow.release(run, out=tmp_path / "released")
    with pytest.raises(InputError, match=r"audit.json' cannot be signed: "):
        workflow.report([audited.with_name("retrained"), run], out=tmp_path / "r", record=out, key=keys / "own.pem")
    assert not (out / "evidence").exists()


def test_an_audit_that_is_none_is_not_signed(audited):
    records = read_json(audited.with_name("student") / "audit.json")["records"]
    with pytest.raises((TypeError, KeyError)):
        list(verdict_problems({}, [{"metric": 1}, *records]))
