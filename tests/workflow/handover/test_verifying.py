"""A signed record is confirmed as it was signed, and nothing that was changed after it goes through."""

import base64
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.files import file_sha256, read_json
from mu_monai.record import hash_ids, private_key, sign, without_cases, without_nan
from mu_monai.runs import RunRecord, add_files, open_runs, read_record, write_record
from mu_monai.workflow.handover import verifying
from mu_monai.workflow.handover.derived import scored_problems
from mu_monai.workflow.handover.signing import DRAWS, computed_records, seal
from mu_monai.workflow.handover.verifying import _bounds

FILES = [
    *("LICENSE", "configs/inference.json", "configs/metadata.json", "configs/logging.conf"),
    *("docs/README.md", "models/model.pt"),
]
FILES = [*(f"bundle/{name}" for name in FILES), "release.json", "evidence/scores.csv"]
NAMES = ["signature", "record", "files", "weights", "search", "split", "utility", "membership", "verdict"]


def test_all_is_confirmed_as_it_was_signed(folder, checks, phantom_splits, salt):
    found = checks(folder, split=phantom_splits["isic"], salt=salt)
    statuses = dict.fromkeys(NAMES, "ok") | {"verdict": "not checked"}
    assert {name: check.status for name, check in found.items()} == statuses
    assert list(found) == NAMES
    assert str(found["files"]) == f"ok           files: {len(FILES)} files are unchanged since they were signed"


def test_numbers_signed_by_an_earlier_version_are_compared_with_its_intervals(tmp_path, monkeypatch):
    """Intervals of few patients are wider since; a record by the rules of now must have them."""
    cases = [f"{subset}{number}" for subset in ("forget", "test") for number in "123"]
    ids = {"model": "student", "subset": ["forget"] * 3 + ["test"] * 3, "patient_id": cases, "case_id": cases}
    scores = pd.DataFrame(ids | {"loss": 0.1, "iou": 0.5, "dice": [0.5, 0.6, 0.9, 0.8, 0.7, 0.9]})
    scores.to_csv(tmp_path / "scores.csv", index=False)
    monkeypatch.setattr(verifying, "evidence_problems", lambda scores, predicate: [])
    earlier = without_cases(without_nan(computed_records(scores, [], DRAWS, widened=False)))
    for rules, found in ((4, ("ok", True)), (5, ("FAILED", False))):
        predicate = {"format": 2, "forget_classes": [], "verdict": {"rules": rules}, "records": earlier}
        predicate["audit"] = verifying.NOT_AUDITED
        check = next(verifying._recomputed(tmp_path / "scores.csv", predicate, False))
        assert (check.status, check.detail.endswith("too narrow for few patients")) == found


def test_every_file_is_a_subject(folder, said_in):
    assert sorted(entry["name"] for entry in said_in(folder)["subject"]) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_in_any_file_fails(folder, checks, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    found = checks(folder)
    assert (found["files"].status, found["files"].detail) == ("FAILED", f"'{name}' was changed after signing")
    assert str(found["weights"]) == "not checked  weights: the files are not those that were signed"


@pytest.mark.parametrize("name", FILES)
def test_a_removed_file_fails(folder, checks, name):
    (folder / name).unlink()
    found = checks(folder)
    assert (found["files"].status, found["files"].detail) == ("FAILED", f"'{name}' is missing")


def test_an_extra_file_fails_and_nobody_unpacks_it(folder, checks, unlearned, sign_again):
    shutil.copytree(unlearned("isic") / "adapter", folder / "bundle" / "adapter")
    found = checks(folder)
    assert "was added after signing" in found["files"].detail
    assert str(found["search"]) == "not checked  search: the files are not those that were signed"
    sign_again(folder, lambda said: None)
    assert "is an adapter by its names" in checks(folder)["search"].detail


def test_a_changed_payload_fails(folder, checks, said_in):
    envelope = read_json(folder / "record.dsse.json")
    said = said_in(folder)
    said["predicate"]["records"]["utility"][0]["value"] = 1.0
    envelope["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    (folder / "record.dsse.json").write_text(json.dumps(envelope))
    found = checks(folder)
    assert found["signature"].detail == "the record or its signature was changed after signing"
    assert {found[name].detail for name in NAMES[1:]} == {"the record itself cannot be trusted"}
    assert {found[name].status for name in NAMES[1:]} == {"not checked"}


def test_a_changed_signature_fails(folder, checks):
    envelope = read_json(folder / "record.dsse.json")
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[5] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    (folder / "record.dsse.json").write_text(json.dumps(envelope))
    assert checks(folder)["signature"].detail == "the record or its signature was changed after signing"


def test_a_changed_byte_anywhere_in_the_record_fails(folder, checks):
    data = (folder / "record.dsse.json").read_bytes()
    for place in range(3, len(data), len(data) // 40):
        changed = bytearray(data)
        changed[place] ^= 1
        (folder / "record.dsse.json").write_bytes(changed)
        assert checks(folder)["signature"].failed, place


def test_another_key_fails(folder, checks, sign_again):
    assert checks(folder, key="other.pub")["signature"].detail.startswith("signed with another key (key ids ")
    sign_again(folder, lambda said: None, key="other.pem")
    assert checks(folder)["signature"].detail.startswith("signed with another key (key ids ")


def test_another_kind_of_statement_fails(folder, checks, keys, said_in):
    said = said_in(folder) | {"predicateType": "https://slsa.dev/provenance/v1"}
    (folder / "record.dsse.json").write_text(json.dumps(sign(said, private_key(keys / "own.pem"))))
    assert checks(folder)["signature"].detail.startswith("predicateType is 'https://slsa.dev/provenance/v1'")


def test_a_record_of_another_run_fails(folder, checks, released):
    other = folder.parent / "other"
    shutil.copytree(released("chase"), other)
    for name in ("record.dsse.json", "evidence"):
        shutil.move(folder / name, other / name)
    assert "'bundle/models/model.pt' was changed after signing" in checks(other)["files"].detail


def test_a_record_of_other_data_fails(folder, checks, phantom_splits, salt, tmp_path):
    found = checks(folder, split=phantom_splits["chase"], salt=salt)
    assert found["split"].failed
    assert found["split"].detail.startswith("other data or another salt")
    assert checks(folder)["split"].detail == "no --split was given"
    (tmp_path / "other.txt").write_text("ab" * 32)
    assert checks(folder, split=phantom_splits["isic"], salt=tmp_path / "other.txt")["split"].failed


def test_without_the_salt_nobody_can_check_the_split(folder, checks, phantom_splits):
    for bundle in ("isic", "chase"):
        found = checks(folder, split=phantom_splits[bundle])["split"]
        assert found.status == "not checked"
        assert "--salt" in found.detail


def swapped(folder):
    """The evidence of a release, in which the forgotten are called unseen, and as many unseen ones forgotten."""
    table = pd.read_csv(folder / "evidence" / "scores.csv")
    table["subset"] = table["subset"].replace({"forget": "test", "test": "forget"})
    return table


def test_others_in_the_place_of_the_forgotten_fail(folder, checks, sign_again, phantom_splits, salt):
    """Whoever signs can measure others; with split and salt, an auditor knows who was to be measured."""
    swapped(folder).to_csv(folder / "evidence" / "scores.csv", index=False)
    sign_again(folder, lambda said: None)
    found = checks(folder, split=phantom_splits["isic"], salt=salt)["split"]
    assert found.failed
    assert re.match(r"the evidence of the student has \d+ cases of 'forget', and 0 of them are among the", found.detail)
    (folder / "evidence" / "scores.csv").unlink()
    found = checks(folder, split=phantom_splits["isic"], salt=salt, without_evidence=True)["split"]
    assert (found.status, "whose scores were measured is not checked" in found.detail) == ("ok", True)


def test_an_audit_by_other_draws_is_confirmed_and_a_forged_one_is_not():
    """Intervals of other draws differ by chance; one that was narrowed to make a verdict differs by more."""
    rng = np.random.default_rng(0)
    people = [("forget", f"f{n}") for n in range(12)] + [("test", f"t{n}") for n in range(12)]
    rows = [
        {"model": model, "subset": subset, "patient_id": name, "case_id": name, "dice": rng.random(), "iou": 0.5}
        | {"loss": rng.random() - shift * (subset == "forget")}
        for model, shift in (("teacher", 0.4), ("retrained", 0.0), ("student", 0.1))
        for subset, name in people
    ]
    table = pd.DataFrame(rows)
    evidence = hash_ids(table, b"a salt")
    computed = without_nan(computed_records(evidence, [], DRAWS))
    draws = {"n_resamples": 1000, "seed": 7}
    records = [entry for kind in without_nan(computed_records(table, [], draws)).values() for entry in kind]
    bounds = _bounds(evidence, {"format": 2, "audit": draws, "forget_classes": []}, widened=True)
    assert list(scored_problems(records, computed, bounds)) == []
    assert list(scored_problems(records, computed)) != []  # the draws are others
    main = next(entry for entry in records if (entry["model"], entry["metric"]) == ("student", "auc[loss]"))
    main |= {"gap_low": main["gap"] - 0.02, "gap_high": main["gap"] + 0.02, "n_patients": 400}
    told = " ".join(scored_problems(records, computed, bounds))
    assert all(f"auc[loss] of the student on forget ({key})" in told for key in ("gap_low", "gap_high"))
    assert "(n_patients) is 400 in the audit, and the scores give 12" in told


def test_numbers_that_do_not_follow_from_the_evidence_fail(folder, checks, sign_again):
    def better(said):
        said["records"]["utility"][0]["value"] += 1e-6
        said["records"]["membership"].pop()

    sign_again(folder, better)
    found = checks(folder)
    assert re.search(
        r"\w+ of the \w+ on \w+ \(value\) is .* in the record, and the evidence gives", str(found["utility"])
    )
    assert found["membership"].detail.endswith("is only in the evidence")
    assert [name for name in NAMES if found[name].failed] == ["utility", "membership"]


def test_weights_that_are_said_to_be_others_fail(folder, checks, sign_again):
    sign_again(folder, lambda said: said["weights"].update(student="a" * 64))
    assert checks(folder)["weights"].detail.endswith("and the record says " + "a" * 64)


def test_weights_that_do_not_fit_the_network_fail(folder, checks, sign_again):
    config = read_json(folder / "bundle" / "configs" / "inference.json")
    config["network_def"]["channels"] = [4, 8, 32]
    (folder / "bundle" / "configs" / "inference.json").write_text(json.dumps(config))
    sign_again(folder, lambda said: None)
    assert "do not fit UNet" in checks(folder)["weights"].detail


def test_evidence_that_cannot_be_audited_fails(folder, checks, sign_again):
    (folder / "evidence" / "scores.csv").write_text("model,subset\nstudent,forget\n")
    sign_again(folder, lambda said: None)
    assert "evidence/scores.csv cannot be audited: " in checks(folder)["utility"].detail


@pytest.mark.parametrize("network", [{}, {"network_def": {"_target_": "NoNet"}}, {"network_def": 3}])
def test_a_config_without_a_network_that_can_be_built_fails(folder, checks, sign_again, network):
    path = folder / "bundle" / "configs" / "inference.json"
    config = {key: value for key, value in read_json(path).items() if key != "network_def"} | network
    path.write_text(json.dumps(config))
    sign_again(folder, lambda said: None)
    found = checks(folder)["weights"]
    assert found.failed
    assert "network" in found.detail
    assert "\n" not in found.detail


@pytest.mark.parametrize("target", ["os.system", "tripwire.Net", "monai.networks.nets.unet.os.system"])
def test_a_network_of_the_senders_own_is_not_built(folder, checks, sign_again, target):
    path = folder / "bundle" / "configs" / "inference.json"
    path.write_text(json.dumps(read_json(path) | {"network_def": {"_target_": target, "command": "false"}}))
    sign_again(folder, lambda said: None)
    found = checks(folder)["weights"]
    assert not found.failed
    assert f"whether they fit is not checked: the network '{target}'" in found.detail


@pytest.mark.parametrize(
    ("key", "names"),
    [
        *(("weights", ["weights"]), ("commitments", ["split"]), ("records", ["utility", "membership"])),
        *(("draws", []), ("created", [])),
    ],
)
def test_a_record_that_lacks_something_fails(folder, checks, sign_again, phantom_splits, salt, key, names):
    sign_again(folder, lambda said: said.pop(key))
    found = checks(folder, split=phantom_splits["isic"], salt=salt)
    assert [name for name in NAMES if found[name].failed] == ["record", *names]
    assert found["record"].detail == f"'{key}' is missing"


def test_a_statement_without_subjects_fails(folder, checks, keys, said_in):
    said = said_in(folder)
    del said["subject"]
    (folder / "record.dsse.json").write_text(json.dumps(sign(said, private_key(keys / "own.pem"))))
    assert str(checks(folder)["files"]) == "FAILED       files: it cannot be checked (KeyError: 'subject')"


def test_evidence_may_stay_at_home(folder, checks):
    shutil.rmtree(folder / "evidence")
    assert checks(folder)["files"].detail == "'evidence/scores.csv' is missing"
    found = checks(folder, without_evidence=True)
    assert found["files"].status == "ok"
    assert str(found["utility"]) == "not checked  utility: --without-evidence was given"


def test_wrong_input_is_told(folder, keys, tmp_path):
    with pytest.raises(InputError, match=r"public key '.*gone.pub' does not exist"):
        workflow.verify(folder, key=keys / "gone.pub")
    with pytest.raises(InputError, match=r"split file '.*gone.json' does not exist"):
        workflow.verify(folder, key=keys / "own.pub", split=tmp_path / "gone.json")
    (folder / "record.dsse.json").unlink()
    with pytest.raises(InputError, match=r"record.dsse.json"):
        workflow.verify(folder, key=keys / "own.pub")


class TestCommands:
    """The same by the command line, from a run to a verified folder."""

    def test_release_says_what_was_found(self, mu_monai, unlearned, tmp_path):
        code, told, _ = mu_monai("release", unlearned("isic"), "--out", tmp_path / "out")
        assert code == 0
        assert f"released: {tmp_path / 'out' / 'bundle'}" in told
        assert "nothing that the teacher can be rebuilt from was found in the 6 files" in told

    def test_report_signs_and_verify_confirms(self, mu_monai, released, unlearned, keys, phantom_splits, tmp_path):
        out = shutil.copytree(released("isic"), tmp_path / "out")
        page = ("--out", tmp_path / "report")
        code, told, _ = mu_monai("report", unlearned("isic"), *page, "--record", out, "--key", keys / "own.pem")
        assert code == 0
        assert f"record: {out / 'record.dsse.json'}" in told
        salt = tmp_path / "out.salt.txt"
        assert f": {salt}" in told
        assert re.search(r"'bundle/' to anybody.*'evidence/' and the salt to auditors", told)
        split = ("--split", phantom_splits["isic"], "--salt", salt)
        code, told, _ = mu_monai("verify", out, "--public-key", keys / "own.pub", *split)
        assert code == 0
        names = [f"ok           {name}" for name in NAMES[:-1]]
        assert [line.split(":")[0] for line in told.splitlines()] == [*names, "not checked  verdict"]

    def test_a_failed_check_ends_with_1_and_wrong_input_with_2(self, mu_monai, folder, keys):
        (folder / "bundle" / "LICENSE").write_text("mine")
        code, told, _ = mu_monai("verify", folder, "--public-key", keys / "own.pub")
        assert code == 1
        assert "FAILED       files: 'bundle/LICENSE' was changed after signing" in told
        assert mu_monai("verify", folder, "--public-key", folder / "none")[0] == 2
        assert mu_monai("verify", folder)[0] == 2


class TestRecord:
    def test_it_never_promises(self, folder, said_in):
        text = json.dumps(said_in(folder)).lower()
        text += "".join((folder / name).read_text().lower() for name in FILES if not name.endswith((".pt", "LICENSE")))
        for word in ("erased", "for good", "fully forgotten", "completely", "no longer contains", "guarantee"):
            assert word not in text

    def test_it_names_nobody(self, folder, phantom_splits, said_in):
        split = read_json(phantom_splits["isic"])
        cases = [case for part in ("retain", "forget", "validation", "test") for case in split[part]]
        text = json.dumps(said_in(folder)) + (folder / "evidence" / "scores.csv").read_text()
        assert [case["case_id"] for case in cases if case["case_id"] in text] == []
        assert [case["patient_id"] for case in cases if re.search(rf"\b{case['patient_id']}\b", text)] == []
        hashed = set(re.findall(r"patient-[0-9a-f]{64}", text))
        assert len(hashed) == len({case["patient_id"] for case in cases})

    def test_its_numbers_are_those_of_the_runs(self, folder, unlearned, said_in):
        said, run = said_in(folder)["predicate"], read_json(unlearned("isic") / "run.json")
        assert said["method"] == run["method"]
        assert said["split"]["patients"] == {"retain": 4, "forget": 1, "validation": 1, "test": 1}
        assert {record["metric"] for record in said["records"]["membership"]} >= {"auc[loss]"}
        assert said["audit"] == said["verdict"] == "not audited"
        assert said["runs"]["student"]["checks"][0] == run["checks"][0]
        assert "The data are drawn phantoms" in said["limitations"][-1]


class TestRefusals:
    def refused(self, match, runs, folder, key):
        before = sorted(folder.rglob("*")) if folder.exists() else []
        with pytest.raises(InputError, match=match):
            seal(open_runs(runs), folder, key=key)
        assert (sorted(folder.rglob("*")) if folder.exists() else []) == before

    @pytest.fixture
    def out(self, released, tmp_path):
        return shutil.copytree(released("isic"), tmp_path / "out")

    def test_a_record_without_a_key_and_a_key_without_a_record(self, unlearned, keys, tmp_path):
        for given in ({"record": tmp_path}, {"key": keys / "own.pem"}):
            with pytest.raises(InputError, match="give --record FOLDER and --key FILE together, or neither"):
                workflow.report([unlearned("isic")], out=tmp_path / "report", **given)

    def test_no_student(self, teachers, out, keys):
        self.refused("\\(teacher\\); add its run", [teachers["isic"]], out, keys / "own.pem")

    def test_no_released_folder(self, unlearned, keys, tmp_path):
        self.refused("is not a released folder", [unlearned("isic")], tmp_path / "none", keys / "own.pem")

    def test_another_runs_release(self, unlearned, released, keys, tmp_path):
        out = shutil.copytree(released("chase"), tmp_path / "out")
        self.refused("are not those of the run", [unlearned("isic")], out, keys / "own.pem")

    def test_scores_of_others_than_the_split_names(self, unlearned, released, keys, tmp_path):
        run, out = (
            shutil.copytree(unlearned("isic"), tmp_path / "run"),
            shutil.copytree(released("isic"), tmp_path / "out"),
        )
        table = pd.read_csv(run / "scores.csv", dtype={"patient_id": str, "case_id": str})
        forgotten = table["subset"] == "forget"
        for change, match in (
            (table.assign(subset=table["subset"].replace({"forget": "test", "test": "forget"})), "and 0 of them are"),
            (table[~forgotten], "has 0 cases of 'forget'"),
        ):
            change.to_csv(run / "scores.csv", index=False)
            add_files(run, "scores.csv")
            self.refused(f"the evidence of the .*{match}.*score the runs again", [run], out, keys / "own.pem")

    def test_a_split_that_is_gone_is_told(self, unlearned, released, keys, tmp_path, caplog):
        run, out = (
            shutil.copytree(unlearned("isic"), tmp_path / "run"),
            shutil.copytree(released("isic"), tmp_path / "out"),
        )
        record = read_record(run)
        write_record(run, replace(record, split=replace(record.split, file=str(tmp_path / "gone.json"))))
        seal(open_runs([run]), out, key=keys / "own.pem")
        assert "is gone or another one, so whether the scores are of its cases was not compared" in caplog.text

    def test_a_second_record(self, unlearned, folder, keys):
        self.refused("already has a record", [unlearned("isic")], folder, keys / "own.pem")

    def test_a_file_that_nobody_searched(self, unlearned, out, keys):
        (out / "bundle" / ".old.pt").write_text("?")
        self.refused("'bundle/.old.pt' was added", [unlearned("isic")], out, keys / "own.pem")

    def test_a_file_that_was_changed_after_the_search(self, unlearned, out, keys):
        with (out / "bundle/docs/README.md").open("a") as stream:
            stream.write("Anna was forgotten.")
        self.refused("README.md' in .* is not as it was searched", [unlearned("isic")], out, keys / "own.pem")

    def test_a_link_in_the_place_of_a_file(self, unlearned, out, keys, tmp_path):
        config = out / "bundle/configs/inference.json"
        config.rename(tmp_path / "inference.json")
        config.symlink_to(tmp_path / "inference.json")
        self.refused("inference.json' in .* is not a plain file", [unlearned("isic")], out, keys / "own.pem")

    def test_a_key_that_is_none(self, unlearned, out, keys):
        self.refused("private key '.*' cannot be used", [unlearned("isic")], out, keys / "own.pub")

    def test_an_id_in_a_name(self, unlearned, out, keys, tmp_path, phantom_splits):
        run = shutil.copytree(unlearned("isic"), tmp_path / "run")
        patient = read_json(phantom_splits["isic"])["forget"][0]["patient_id"]
        record = read_json(run / "run.json")
        record["method"]["settings"]["weights"] = {"by": {f"the-{patient.upper()}s": 1.0}}
        write_record(run, RunRecord.from_json(record))
        self.refused(
            "^the record's field 'method.settings.weights.by .a name in it.' holds the id", [run], out, keys / "own.pem"
        )

    @pytest.mark.parametrize("text", ["not for {}", "request of Mueller came in", "patient 40217 withdrew"])
    def test_an_id_in_a_released_file(self, unlearned, out, keys, tmp_path, phantom_splits, text):
        """Releases of earlier versions were not searched."""
        run = shutil.copytree(unlearned("isic"), tmp_path / "run")
        scores = pd.read_csv(run / "scores.csv", dtype=str)
        first, second, *_ = scores["patient_id"].unique()
        scores.replace({"patient_id": {first: "Mueller", second: "40217"}}).to_csv(run / "scores.csv", index=False)
        add_files(run, "scores.csv")
        record = read_record(run)  # its split, which has other names, is not there
        write_record(run, replace(record, split=replace(record.split, file=str(tmp_path / "gone.json"))))
        patient = scores["patient_id"].unique()[2].replace("_", "-")
        path, release = out / "bundle" / "LICENSE", read_json(out / "release.json")
        path.write_text(text.format(patient))
        release["search"]["files"]["bundle/LICENSE"] = file_sha256(path)
        (out / "release.json").write_text(json.dumps(release))
        self.refused("^'bundle/LICENSE' holds '.*', the id of a patient", [run], out, keys / "own.pem")

    def test_the_salt_of_another_record(self, unlearned, out, keys):
        (out.parent / "out.salt.txt").write_text("ab" * 32)
        self.refused("the salt of another record", [unlearned("isic")], out, keys / "own.pem")
        assert (out.parent / "out.salt.txt").read_text() == "ab" * 32

    def test_a_release_in_the_run_folder(self, unlearned, released, keys, tmp_path):
        run = shutil.copytree(unlearned("isic"), tmp_path / "run")
        out = shutil.copytree(released("isic"), run / "to" / "released")
        self.refused("is inside the run folder", [run], out, keys / "own.pem")

    def test_an_audit_of_other_weights(self, unlearned, out, keys, tmp_path):
        run = shutil.copytree(unlearned("isic"), tmp_path / "run")
        (run / "audit.json").write_text(json.dumps({"format": 1, "models": {"student": {"weights": "a1"}}}))
        add_files(run, "audit.json")
        self.refused("is an audit of other weights", [run], out, keys / "own.pem")


class TestKilled:
    """Signing that ends in its midst leaves nothing in the way of signing again."""

    @pytest.fixture
    def out(self, released, tmp_path):
        return shutil.copytree(released("isic"), tmp_path / "out")

    @pytest.mark.parametrize("moved", range(4))
    def test_signing_again_works(self, moved, unlearned, out, keys, monkeypatch, checks):
        """Killed before the first, second or third file is in its place, or after the last."""
        runs, moves, done = open_runs([unlearned("isic")]), os.replace, []

        def dies(source, target):
            if Path(target).parent.name != ".out.signing":
                if len(done) == moved:
                    raise SystemExit
                done.append(target)
            moves(source, target)

        monkeypatch.setattr("os.replace", dies)
        monkeypatch.setattr("shutil.rmtree", lambda *args, **options: None)  # a kill does not clean up either
        if moved < 3:
            with pytest.raises(SystemExit):
                seal(runs, out, key=keys / "own.pem")
        else:
            seal(runs, out, key=keys / "own.pem")
        monkeypatch.undo()
        names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        assert names <= {*FILES, "record.dsse.json"}
        assert ("record.dsse.json" in names) == (moved == 3)
        if moved < 3:
            seal(runs, out, key=keys / "own.pem")
        assert not any(check.failed for check in checks(out).values())
        assert sorted(path.name for path in out.parent.iterdir() if "signing" not in path.name) == [
            "out",
            "out.salt.txt",
        ]
        assert not (moved < 3 and (out.parent / ".out.signing").exists())

    def test_a_signing_that_is_refused_leaves_nothing(self, unlearned, out, keys, monkeypatch):
        def refuses(*args):
            raise InputError("no")

        monkeypatch.setattr("mu_monai.workflow.handover.signing.sign", refuses)
        with pytest.raises(InputError):
            seal(open_runs([unlearned("isic")]), out, key=keys / "own.pem")
        assert [path.name for path in out.parent.iterdir()] == ["out"]
