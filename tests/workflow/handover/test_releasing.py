"""A released bundle is MONAI's alone, answers as the student, and holds nothing that leads back to the teacher."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out
from skimage.io import imread

from mu_monai import workflow
from mu_monai.adapters import weights_sha256
from mu_monai.bundle import shipped_bundles
from mu_monai.bundle.trust import Trust
from mu_monai.errors import InputError
from mu_monai.files import read_json
from mu_monai.runs import RunRecord, file_digests, write_record

BUNDLES = sorted(shipped_bundles())
PLAIN = """
import sys
for name in ("mu_monai", "peft"):
    sys.modules[name] = None  # whatever imports it now fails
from monai.bundle import run
for bundle, images, out in zip(*[iter(sys.argv[1:])] * 3):
    run(config_file=bundle + "/configs/inference.json", bundle_root=bundle, dataset_dir=images, output_dir=out)
"""


@pytest.fixture(params=BUNDLES)
def bundle(request, released) -> Path:
    return released(request.param) / "bundle"


def test_it_holds_these_files_and_no_other(bundle):
    found = {path.relative_to(bundle.parent).as_posix() for path in bundle.parent.rglob("*") if path.is_file()}
    configs = {f"bundle/configs/{name}" for name in ("inference.json", "metadata.json", "logging.conf")}
    assert found == configs | {"release.json", "bundle/LICENSE", "bundle/docs/README.md", "bundle/models/model.pt"}


def test_no_config_speaks_of_mu_monai_and_nothing_names_a_case(bundle, phantom_splits):
    name = bundle.parent.name
    assert "mu_monai" not in (bundle / "configs" / "inference.json").read_text()
    split = read_json(phantom_splits[name])
    ids = {
        case[key] for part in ("retain", "forget", "test") for case in split[part] for key in ("case_id", "patient_id")
    }
    for path in (path for path in bundle.parent.rglob("*") if path.is_file() and path.suffix != ".pt"):
        assert [name for name in ids if f'"{name}"' in path.read_text()] == []


def test_the_metadata_is_of_this_model(bundle, unlearned):
    run, before = unlearned(bundle.parent.name), read_json(shipped_bundles()[bundle.parent.name] / "metadata.json")
    metadata, record = read_json(bundle / "configs" / "metadata.json"), read_json(run / "run.json")
    assert (before["version"], metadata["version"]) == ("0.1.0", "0.1.1")
    assert metadata["changelog"]["0.1.1"].startswith("weights after unlearning")
    assert metadata["changelog"]["0.1.0"] == before["changelog"]["0.1.0"]
    assert metadata["unlearning"]["method"] == "EraseToRetain"
    assert metadata["unlearning"]["weights_sha256"] == record["sha256"]["weights"]
    assert metadata["unlearning"]["forgotten"] == {
        "patients": record["split"]["provenance"]["counts"]["forget"]["patients"]
    }
    assert record["sha256"]["split"] not in json.dumps(metadata)
    assert "mu-monai" not in metadata["required_packages_version"]
    assert metadata["data_source"] == "built-in phantoms"


def test_it_passes_monais_own_checks(bundle, tmp_path):
    files = {"meta_file": str(bundle / "configs/metadata.json"), "config_file": str(bundle / "configs/inference.json")}
    verify_net_in_out(net_id="network_def", device="cpu", **files)
    checkpoint = str(bundle / "models" / "model.pt")
    ckpt_export(net_id="network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=checkpoint, **files)
    exported = torch.jit.load(tmp_path / "model.ts").state_dict()
    assert weights_sha256(exported) == read_json(bundle.parent / "release.json")["weights"]["student"]


def test_it_has_the_properties_that_monai_asks_for(bundle, phantom_splits, tmp_path):
    image = (
        Path(phantom_splits[bundle.parent.name]).parent
        / read_json(phantom_splits[bundle.parent.name])["test"][0]["image"]
    )
    (tmp_path / image.name).write_bytes(image.read_bytes())
    flow = ConfigWorkflow(
        str(bundle / "configs" / "inference.json"),
        workflow_type="inference",
        logging_file=False,
        bundle_root=str(bundle),
        dataset_dir=str(tmp_path),
    )
    flow.initialize()
    assert flow.check_properties() == []


@pytest.fixture(scope="module")
def plain(released, phantom_splits, tmp_path_factory) -> Path:
    """For every bundle, `<name>/images` and what a process without mu_monai answers on them, `<name>/plain`."""
    folder, arguments = tmp_path_factory.mktemp("plain"), []
    for name in BUNDLES:
        images = folder / name / "images"
        images.mkdir(parents=True)
        for case in read_json(phantom_splits[name])["test"][:2]:
            shutil.copy(Path(phantom_splits[name]).parent / case["image"], images)
        arguments += [str(released(name) / "bundle"), str(images), str(folder / name / "plain")]
    command = [sys.executable, "-c", PLAIN, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", BUNDLES)
def test_plain_monai_answers_as_predict_does(name, plain, unlearned, tmp_path):
    ours = workflow.predict(unlearned(name), sorted((plain / name / "images").iterdir()), out=tmp_path / "ours")
    answers = sorted(path.relative_to(ours) for path in ours.rglob("*") if path.is_file())
    assert answers
    for answer in answers:
        assert_same(ours / answer, plain / name / "plain" / answer)


def assert_same(one, other):
    if one.suffix == ".csv":
        pd.testing.assert_frame_equal(pd.read_csv(one), pd.read_csv(other))
    elif one.suffix == ".png":
        np.testing.assert_array_equal(imread(one), imread(other))
    else:
        first, second = nib.load(one), nib.load(other)
        np.testing.assert_array_equal(first.affine, second.affine)
        np.testing.assert_array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))


def test_the_proof_names_what_changed(released, unlearned, teachers):
    proof, record = read_json(released("isic") / "release.json"), read_json(unlearned("isic") / "run.json")
    states = [torch.load(run / "model.pt", weights_only=True) for run in (unlearned("isic"), teachers["isic"])]
    changed = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
    assert proof["tensors"]["changed"] == changed
    assert set(proof["tensors"]["as_before"]) == set(states[0]) - set(changed)
    assert proof["weights"] == {"student": record["sha256"]["weights"], "teacher": record["sha256"]["starting_weights"]}
    assert proof["told"][0].startswith(f"{len(changed)} of {len(states[0])} tensors differ")
    assert len(proof["search"]["files"]) == 6


class TestRefusals:
    @pytest.fixture
    def run(self, unlearned, tmp_path):
        return Path(shutil.copytree(unlearned("isic"), tmp_path / "run"))

    def refused(self, run, tmp_path, match, **options):
        with pytest.raises(InputError, match=match):
            workflow.release(run, out=tmp_path / "out", **options)
        assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []

    def test_a_folder_that_exists(self, run, tmp_path):
        (tmp_path / "here").mkdir()
        with pytest.raises(InputError, match=r"'.*here' exists"):
            workflow.release(run, out=tmp_path / "here")
        assert list((tmp_path / "here").iterdir()) == []

    def test_a_training_run(self, teachers, tmp_path):
        self.refused(teachers["isic"], tmp_path, "is not an unlearning run .its verb is train.")

    def test_an_audit_of_a_model_that_was_not_unlearned_here(self, run, tmp_path):
        write_record(
            run, RunRecord.from_json({**(read_json(run / "run.json") | {"verb": "audit"}), "files": file_digests(run)})
        )
        match = r"holds the audit of a model that was not unlearned by mu-monai.* only "
        with pytest.raises(InputError, match=match + "an unlearning run has"):
            workflow.merge(run, out=tmp_path / "model.pt")
        self.refused(run, tmp_path, match + "the student of an unlearning run")

    def test_a_failed_self_check(self, run, tmp_path):
        record = read_json(run / "run.json")
        record["checks"][0]["passed"] = False
        write_record(run, RunRecord.from_json({**record, "files": file_digests(run)}))
        self.refused(run, tmp_path, "failed its self-check 'all weights are finite'")

    def test_other_weights_than_the_runs(self, run, tmp_path, teachers):
        shutil.copy(teachers["isic"] / "model.pt", run / "model.pt")
        self.refused(run, tmp_path, "is not the file that the run wrote")
        write_record(run, RunRecord.from_json({**read_json(run / "run.json"), "files": file_digests(run)}))
        self.refused(run, tmp_path, "are not those that the run made")

    def test_another_teacher(self, run, tmp_path, unlearned):
        self.refused(run, tmp_path, "are not those of the teacher", teacher=unlearned("isic") / "model.pt")

    def test_a_teacher_that_is_gone(self, run, tmp_path):
        record = read_json(run / "run.json") | {"teacher": str(tmp_path / "gone.pt")}
        write_record(run, RunRecord.from_json({**record, "files": file_digests(run)}))
        self.refused(run, tmp_path, "the teacher '.*gone.pt' of .* does not exist; if it was moved")

    def test_a_student_that_is_the_teacher(self, run, tmp_path, teachers):
        shutil.copy(teachers["isic"] / "model.pt", run / "model.pt")
        record = read_json(run / "run.json")
        record["sha256"]["weights"] = record["sha256"]["starting_weights"]
        write_record(run, RunRecord.from_json({**record, "files": file_digests(run)}))
        self.refused(run, tmp_path, "nothing was unlearned")

    def test_a_bundle_that_ships_the_teacher_in_its_license(self, run, tmp_path, teachers):
        """Whatever a bundle brings along is searched."""
        bundle = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
        shutil.copy(teachers["isic"] / "model.pt", bundle / "LICENSE")
        match = "nothing is released: bundle/LICENSE.* holds .* of the original model's tensors"
        self.refused(run, tmp_path, match, trust=Trust(bundle=bundle))

    def test_a_bundle_that_ships_a_milestone_of_the_teacher(self, run, tmp_path, teachers):
        """Weights of an earlier epoch know what was forgotten, too."""
        bundle = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
        shutil.copy(sorted((teachers["isic"] / "milestones").iterdir())[-1], bundle / "LICENSE")
        match = "nothing is released: bundle/LICENSE.* holds .* tensors of an earlier epoch of the original's training"
        self.refused(run, tmp_path, match, trust=Trust(bundle=bundle))

    @pytest.mark.parametrize("name", ["LICENSE", "configs/metadata.json"])
    def test_a_bundle_that_names_a_patient(self, run, tmp_path, phantom_splits, name):
        bundle = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
        patient = read_json(phantom_splits["isic"])["forget"][0]["patient_id"]
        if name == "LICENSE":
            (bundle / name).write_text(f"request of {patient} came in")
        else:
            metadata = read_json(bundle / name)
            metadata["changelog"]["0.1.0"] = f"request of {patient} came in"
            (bundle / name).write_text(json.dumps(metadata))
        match = f"^nothing is released: 'bundle/{name}' holds '{patient}'"
        self.refused(run, tmp_path, match, trust=Trust(bundle=bundle))

    @pytest.mark.parametrize("name", ["LICENSE", "configs/logging.conf", "configs/metadata.json", "configs"])
    def test_a_link_in_the_place_of_what_is_copied(self, run, tmp_path, name):
        bundle = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
        (bundle / name).rename(tmp_path / "elsewhere")
        (bundle / name).symlink_to(tmp_path / "elsewhere")
        match = "is a link to .* and a release "
        self.refused(run, tmp_path, match, trust=Trust(bundle=bundle))

    def test_a_bundle_with_parts_that_monai_has_not(self, run, tmp_path):
        bundle = shutil.copytree(shipped_bundles()["isic"], tmp_path / "isic")
        config = read_json(bundle / "configs" / "inference.json")
        config["inferer"] = {"_target_": "mu_monai.own.Inferer"}
        (bundle / "configs" / "inference.json").write_text(json.dumps(config))
        ran = read_json(run / "config.json")
        ran["inferer"] = config["inferer"]
        (run / "config.json").write_text(json.dumps(ran))
        write_record(run, RunRecord.from_json({**read_json(run / "run.json"), "files": file_digests(run)}))
        match = "needs 'mu_monai.own.Inferer', which plain MONAI"
        self.refused(run, tmp_path, match, trust=Trust(bundle=bundle))
