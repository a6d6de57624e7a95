"""A signed record is confirmed as it was signed, and nothing that was changed after it goes through."""

import base64
import json
import re
import shutil

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from securesystemslib.signer import CryptoSigner

from mu_monai import workflow
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.record import open_envelope, private_key, sign, statement, without_paths
from mu_monai.report import read_runs
from mu_monai.runs import file_digests, write_record
from mu_monai.workflow.seal import seal

FILES = [
    *("LICENSE", "configs/inference.json", "configs/metadata.json", "configs/logging.conf"),
    *("docs/README.md", "models/model.pt"),
]
FILES = [*(f"bundle/{name}" for name in FILES), "release.json", "evidence/scores.csv"]
NAMES = ["signature", "files", "weights", "search", "split", "utility", "membership"]


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Two private keys, and their public ones beside them."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other"):
        signer = CryptoSigner.generate_ed25519()
        (folder / f"{name}.pem").write_bytes(signer.private_bytes)
        public = load_pem_private_key(signer.private_bytes, None).public_key()
        (folder / f"{name}.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return folder


@pytest.fixture(scope="session")
def sealed(tmp_path_factory, released, unlearned, teachers, keys):
    """A released folder with its record; tests copy it."""
    folder = tmp_path_factory.mktemp("sealed")
    out = shutil.copytree(released("isic"), folder / "isic")
    workflow.report([teachers["isic"], unlearned("isic")], out=folder / "report", record=out, key=keys / "own.pem")
    return out


@pytest.fixture
def folder(sealed, tmp_path):
    return shutil.copytree(sealed, tmp_path / "released")


@pytest.fixture
def checks(keys):
    """What `verify` says of a folder, by name."""

    def found(folder, key="own.pub", **options):
        return {check.name: check for check in workflow.verify(folder, key=keys / key, **options)}

    return found


def said_in(folder):
    return json.loads(open_envelope(read_json(folder / "record.dsse.json")).payload)


def sign_again(folder, keys, change, key="own.pem"):
    """Sign a changed predicate, as whoever holds the key can."""
    said = said_in(folder)["predicate"]
    change(said)
    (folder / "record.dsse.json").write_text(json.dumps(sign(statement(folder, said), private_key(keys / key))))


def test_all_is_confirmed_as_it_was_signed(folder, checks, phantom_splits):
    found = checks(folder, split=phantom_splits["isic"])
    assert {name: check.status for name, check in found.items()} == dict.fromkeys(NAMES, "ok")
    assert list(found) == NAMES
    assert str(found["files"]) == "ok           files: 8 files are as they were signed"


def test_every_file_is_a_subject(folder):
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


def test_an_extra_file_fails_and_nobody_unpacks_it(folder, checks, unlearned, keys):
    shutil.copytree(unlearned("isic") / "adapter", folder / "bundle" / "adapter")
    found = checks(folder)
    assert "was added after signing" in found["files"].detail
    assert str(found["search"]) == "not checked  search: the files are not those that were signed"
    sign_again(folder, keys, lambda said: None)
    assert "is an adapter by its names" in checks(folder)["search"].detail


def test_a_changed_payload_fails(folder, checks):
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


def test_another_key_fails(folder, checks, keys):
    assert checks(folder, key="other.pub")["signature"].detail.startswith("signed with another key (key ids ")
    sign_again(folder, keys, lambda said: None, key="other.pem")
    assert checks(folder)["signature"].detail.startswith("signed with another key (key ids ")


def test_another_kind_of_statement_fails(folder, checks, keys):
    said = said_in(folder) | {"predicateType": "https://slsa.dev/provenance/v1"}
    (folder / "record.dsse.json").write_text(json.dumps(sign(said, private_key(keys / "own.pem"))))
    assert checks(folder)["signature"].detail.startswith("predicateType is 'https://slsa.dev/provenance/v1'")


def test_a_record_of_another_run_fails(folder, checks, released):
    other = folder.parent / "other"
    shutil.copytree(released("chase"), other)
    for name in ("record.dsse.json", "evidence"):
        shutil.move(folder / name, other / name)
    assert "'bundle/models/model.pt' was changed after signing" in checks(other)["files"].detail


def test_a_record_of_other_data_fails(folder, checks, phantom_splits):
    found = checks(folder, split=phantom_splits["chase"])
    assert found["split"].failed
    assert found["split"].detail.startswith("a record of other data: '")
    assert checks(folder)["split"].detail == "no --split was given"


def test_numbers_that_do_not_follow_from_the_evidence_fail(folder, checks, keys):
    def better(said):
        said["records"]["utility"][0]["value"] += 1e-6
        said["records"]["membership"].pop()

    sign_again(folder, keys, better)
    found = checks(folder)
    assert re.search(
        r"\w+ of the \w+ on \w+ \(value\) is .* in the record, and the evidence gives", str(found["utility"])
    )
    assert found["membership"].detail.endswith("is only in the evidence")
    assert [name for name in NAMES if found[name].failed] == ["utility", "membership"]


def test_weights_that_are_said_to_be_others_fail(folder, checks, keys):
    sign_again(folder, keys, lambda said: said["weights"].update(student="a" * 64))
    assert checks(folder)["weights"].detail.endswith("and the record says " + "a" * 64)


def test_weights_that_do_not_fit_the_network_fail(folder, checks, keys):
    config = read_json(folder / "bundle" / "configs" / "inference.json")
    config["network_def"]["channels"] = [4, 8, 32]
    (folder / "bundle" / "configs" / "inference.json").write_text(json.dumps(config))
    sign_again(folder, keys, lambda said: None)
    assert "do not fit UNet" in checks(folder)["weights"].detail


def test_evidence_that_cannot_be_audited_fails(folder, checks, keys):
    (folder / "evidence" / "scores.csv").write_text("model,subset\nstudent,forget\n")
    sign_again(folder, keys, lambda said: None)
    assert "evidence/scores.csv cannot be audited: " in checks(folder)["utility"].detail


@pytest.mark.parametrize("network", [{}, {"network_def": {"_target_": "NoNet"}}, {"network_def": 3}])
def test_a_config_without_a_network_that_can_be_built_fails(folder, checks, keys, network):
    path = folder / "bundle" / "configs" / "inference.json"
    config = {key: value for key, value in read_json(path).items() if key != "network_def"} | network
    path.write_text(json.dumps(config))
    sign_again(folder, keys, lambda said: None)
    found = checks(folder)["weights"]
    assert found.failed
    assert "network" in found.detail
    assert "\n" not in found.detail


@pytest.mark.parametrize("target", ["os.system", "tripwire.Net", "monai.networks.nets.unet.os.system"])
def test_a_network_of_the_senders_own_is_not_built(folder, checks, keys, target):
    path = folder / "bundle" / "configs" / "inference.json"
    path.write_text(json.dumps(read_json(path) | {"network_def": {"_target_": target, "command": "false"}}))
    sign_again(folder, keys, lambda said: None)
    found = checks(folder)["weights"]
    assert not found.failed
    assert f"whether they fit is not checked: the network '{target}'" in found.detail


@pytest.mark.parametrize(
    ("key", "names"),
    [("weights", ["weights"]), ("split", ["split"]), ("records", NAMES[-2:]), ("draws", NAMES[-2:]), ("created", [])],
)
def test_a_record_that_lacks_something_fails(folder, checks, keys, phantom_splits, key, names):
    sign_again(folder, keys, lambda said: said.pop(key))
    found = checks(folder, split=phantom_splits["isic"])
    assert [name for name in NAMES if found[name].failed] == names


def test_a_statement_without_subjects_fails(folder, checks, keys):
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
    with pytest.raises(InputError, match=r"holds no record.dsse.json"):
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
        code, told, _ = mu_monai("verify", out, "--public-key", keys / "own.pub", "--split", phantom_splits["isic"])
        assert code == 0
        assert [line.split(":")[0] for line in told.splitlines()] == [f"ok           {name}" for name in NAMES]

    def test_a_failed_check_ends_with_1_and_wrong_input_with_2(self, mu_monai, folder, keys):
        (folder / "bundle" / "LICENSE").write_text("mine")
        code, told, _ = mu_monai("verify", folder, "--public-key", keys / "own.pub")
        assert code == 1
        assert "FAILED       files: 'bundle/LICENSE' was changed after signing" in told
        assert mu_monai("verify", folder, "--public-key", folder / "none")[0] == 2
        assert mu_monai("verify", folder)[0] == 2


class TestRecord:
    def test_it_never_promises(self, folder):
        text = json.dumps(said_in(folder)).lower()
        text += "".join((folder / name).read_text().lower() for name in FILES if not name.endswith((".pt", "LICENSE")))
        for word in ("erased", "for good", "fully forgotten", "completely", "no longer contains", "guarantee"):
            assert word not in text

    def test_it_names_nobody(self, folder, phantom_splits):
        split = read_json(phantom_splits["isic"])
        cases = [case for part in ("retain", "forget", "validation", "test") for case in split[part]]
        text = json.dumps(said_in(folder)) + (folder / "evidence" / "scores.csv").read_text()
        assert [case["case_id"] for case in cases if case["case_id"] in text] == []
        assert [case["patient_id"] for case in cases if re.search(rf"\b{case['patient_id']}\b", text)] == []
        hashed = set(re.findall(r"patient-[0-9a-f]{64}", text))
        assert len(hashed) == len({case["patient_id"] for case in cases})

    def test_its_numbers_are_those_of_the_runs(self, folder, unlearned):
        said, run = said_in(folder)["predicate"], read_json(unlearned("isic") / "run.json")
        assert said["method"] == run["method"]
        assert said["split"]["sha256"] == run["sha256"]["split"]
        assert said["runs"]["student"]["command"] == without_paths({"command": run["command"]})["command"]
        assert {record["metric"] for record in said["records"]["membership"]} >= {"auc[loss]"}
        assert said["audit"] == said["verdict"] == "not audited"
        assert "The data are drawn phantoms" in said["limitations"][-1]

    def test_the_audit_is_taken_over_without_names(self, released, unlearned, keys, tmp_path, phantom_splits):
        run = shutil.copytree(unlearned("isic"), tmp_path / "run")
        patient = read_json(phantom_splits["isic"])["forget"][0]["patient_id"]
        weights = read_json(run / "run.json")["sha256"]["weights"]
        verdict = {"label": "CANNOT TELL", "sentence": f"the worst is {patient}"}
        audit = {
            "format": 1,
            "models": {"student": {"weights": weights}},
            "records": [{"metric": "cka"}],
            "verdict": verdict,
        }
        (run / "audit.json").write_text(json.dumps(audit))
        out = shutil.copytree(released("isic"), tmp_path / "out")
        seal(read_runs([run]), out, key=keys / "own.pem")
        said = said_in(out)["predicate"]
        assert said["verdict"]["label"] == "CANNOT TELL"
        assert re.fullmatch(r"the worst is patient-[0-9a-f]{64}", said["verdict"]["sentence"])
        assert said["audit"] == {"records": audit["records"]}


class TestRefusals:
    def refused(self, match, runs, folder, key):
        before = sorted(folder.rglob("*")) if folder.exists() else []
        with pytest.raises(InputError, match=match):
            seal(read_runs(runs), folder, key=key)
        assert (sorted(folder.rglob("*")) if folder.exists() else []) == before

    @pytest.fixture
    def out(self, released, tmp_path):
        return shutil.copytree(released("isic"), tmp_path / "out")

    def test_a_record_without_a_key_and_a_key_without_a_record(self, unlearned, keys, tmp_path):
        for given in ({"record": tmp_path}, {"key": keys / "own.pem"}):
            with pytest.raises(InputError, match="give --record FOLDER and --key FILE together, or neither"):
                workflow.report([unlearned("isic")], out=tmp_path / "report", **given)

    def test_no_student(self, teachers, out, keys):
        self.refused("hold none \\(teacher\\)", [teachers["isic"]], out, keys / "own.pem")

    def test_no_released_folder(self, unlearned, keys, tmp_path):
        self.refused("is no released folder", [unlearned("isic")], tmp_path / "none", keys / "own.pem")

    def test_another_runs_release(self, unlearned, released, keys, tmp_path):
        out = shutil.copytree(released("chase"), tmp_path / "out")
        self.refused("are not those of the run", [unlearned("isic")], out, keys / "own.pem")

    def test_a_second_record(self, unlearned, folder, keys):
        self.refused("has a record already", [unlearned("isic")], folder, keys / "own.pem")

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
        self.refused("inference.json' in .* is no plain file", [unlearned("isic")], out, keys / "own.pem")

    def test_a_key_that_is_none(self, unlearned, out, keys):
        self.refused("private key '.*' cannot be used", [unlearned("isic")], out, keys / "own.pub")

    def test_an_id_that_is_left_in_a_text(self, unlearned, out, keys, tmp_path, phantom_splits):
        run = shutil.copytree(unlearned("isic"), tmp_path / "run")
        patient = read_json(phantom_splits["isic"])["forget"][0]["patient_id"]
        scores = (run / "scores.csv").read_text()
        (run / "scores.csv").write_text(scores.replace(f",{patient},", ",471147,"))
        record = read_json(run / "run.json") | {"warnings": ["471147 came back, at a loss of 0.471147"]}
        write_record(run, {**record, "files": file_digests(run)})
        self.refused("^the record's field 'runs.student.warnings.0' holds the id", [run], out, keys / "own.pem")

    def test_an_audit_of_other_weights(self, unlearned, out, keys, tmp_path):
        run = shutil.copytree(unlearned("isic"), tmp_path / "run")
        (run / "audit.json").write_text(json.dumps({"format": 1, "models": {"student": {"weights": "a1"}}}))
        self.refused("is an audit of other weights", [run], out, keys / "own.pem")
