"""Real images, where the folder is present: photographs of eyes and skin, MR and CT volumes, a DICOM series."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from mu_monai import workflow
from mu_monai.adapters import weights_sha256
from mu_monai.bundle import shipped_bundles
from mu_monai.bundle.config import parse_settings
from mu_monai.data.volumes.geometry import grid_problem
from mu_monai.errors import InputError
from mu_monai.keys import SUBSETS, TRAINING_SUBSETS

pytestmark = pytest.mark.no_cover  # every line that runs here is measured where it has tests of its own

SMALL = ["network_def#channels=[8, 16, 32]", "network_def#strides=[2, 2]", "image_size=[64, 64]"]


@pytest.mark.parametrize("observer", ["1stHO", "2ndHO"])
def test_every_verb_on_chase(real_data, tmp_path, observer):
    split = tmp_path / "split.json"
    workflow.split(real_data / "chase_db1", out=split, label_set=observer, forget=workflow.ForgetChoice(fraction=0.1))
    counts = json.loads(split.read_text())["provenance"]["counts"]
    assert {name: count["cases"] for name, count in counts.items()} == {
        "retain": 14,
        "forget": 2,
        "validation": 6,
        "test": 6,
    }
    training = {"split": split, "settings": [*SMALL, "max_epochs=3"], "quiet": True}
    teacher = workflow.train("chase", out=tmp_path / "teacher", **training)
    retrained = workflow.train("chase", out=tmp_path / "retrained", subsets=["retain"], **training)
    student = workflow.unlearn(
        "chase", split=split, teacher=teacher, out=tmp_path / "student", settings=["max_epochs=2"], quiet=True
    )
    scores = workflow.evaluate(student)
    assert pd.read_csv(scores).groupby("model").size().to_dict() == {"student": 28, "teacher": 28}
    page = workflow.report([teacher, retrained, student], out=tmp_path / "report").read_text()
    assert "phantom" not in page.lower().replace("built-in phantoms", "")
    workflow.revert(student, out=tmp_path / "teacher.pt")
    workflow.merge(student, out=tmp_path / "student.pt")
    for name, run in (("teacher.pt", teacher), ("student.pt", student)):
        written, kept = (torch.load(path, weights_only=True) for path in (tmp_path / name, run / "model.pt"))
        assert weights_sha256(written) == weights_sha256(kept)


@pytest.fixture(scope="module")
def lesions(real_data):
    folder = real_data / "isic9"
    if not folder.is_dir():
        pytest.skip(f"no nine classes of lesions at {folder}; they belong into the folder that MU_MONAI_DATA names")
    return folder


def test_copies_under_two_labels_are_refused_and_named(lesions, tmp_path):
    with pytest.raises(InputError, match="--on-duplicates drop or together") as error:
        workflow.split(lesions, out=tmp_path / "split.json", forget=workflow.ForgetChoice(fraction=0.1))
    (copies,) = [problem for problem in error.value.problems if "'ISIC_0010512'" in problem]
    assert "same id and content" in copies
    assert "actinic keratosis" in copies
    assert "nevus" in copies
    assert not (tmp_path / "split.json").exists()


@pytest.mark.parametrize("forget", [{"where": "diagnosis == 'nevus'"}, {"fraction": 0.1}], ids=["class", "fraction"])
def test_nine_classes_are_split_without_copies(lesions, tmp_path, forget):
    summary = workflow.split(
        lesions, out=tmp_path / "split.json", on_duplicates="drop", forget=workflow.ForgetChoice(**forget)
    )
    assert "layout class-folders" in summary
    split = json.loads((tmp_path / "split.json").read_text())
    provenance = split["provenance"]
    config = shipped_bundles()["isic_classification"] / "configs" / "train.json"
    assert provenance["classes"] == json.loads(config.read_text())["classes"]
    cases = {subset: split[subset] for subset in SUBSETS}
    files = [case["image"] for subset in SUBSETS for case in cases[subset]]
    assert len(files) + len(provenance["duplicates"]["dropped"]) == len(list(lesions.glob("*/*/*.jpg")))
    digests = [provenance["sha256"][file] for file in files]
    assert len(set(digests)) == len(digests), "one of each set of copies"
    patients = {subset: {case["patient_id"] for case in cases[subset]} for subset in SUBSETS}
    assert len(set.union(*patients.values())) == sum(map(len, patients.values())), "nobody is in two subsets"
    nevi = {subset: sum(case["label"] == "nevus" for case in cases[subset]) for subset in SUBSETS}
    if "where" in forget:  # a class that is forgotten whole is in no other subset
        assert nevi == {"retain": 0, "forget": len(cases["forget"]), "validation": 0, "test": 0}
        assert nevi["forget"] > 200
    else:
        trained = sum(len(patients[subset]) for subset in TRAINING_SUBSETS)
        assert len(patients["forget"]) == pytest.approx(0.1 * trained, abs=1)
        assert min(nevi.values()) > 0


TINY_3D = ["network_def#channels=[4, 8, 16]", "network_def#strides=[2, 2]"]
PARTS = 'classes=["background", "anterior", "posterior"]'


@pytest.fixture(scope="module")
def hippocampus(real_data, tmp_path_factory):
    """Twelve of the volumes, one with intensities up to 1e6 among them."""
    source = real_data / "hippocampus"
    if not source.is_dir():
        pytest.skip(f"no MR volumes at {source}; they belong into the folder that MU_MONAI_DATA names")
    folder = tmp_path_factory.mktemp("hippocampus")
    every = sorted((source / "images").glob("*.nii.gz"))
    loud = next(path for path in every if nibabel.load(path).get_fdata().max() > 1e5)
    for path in {*every[:11], loud}:
        for part in ("images", "labels"):
            (folder / part).mkdir(exist_ok=True)
            (folder / part / path.name).symlink_to(source / part / path.name)
    return folder


def test_every_verb_on_mr_volumes(hippocampus, tmp_path):
    split = tmp_path / "split.json"
    summary = workflow.split(hippocampus, out=split, forget=workflow.ForgetChoice(fraction=0.2))
    assert "layout volumes" in summary
    small = [*TINY_3D, PARTS, "spacing=[2, 2, 2]", "patch_size=[16, 24, 16]", "score_interval=2"]
    training = {"split": split, "overlays": ["mr"], "settings": [*small, "max_epochs=2"], "quiet": True}
    teacher = workflow.train("volume3d", out=tmp_path / "teacher", **training)
    unlearning = {"split": split, "teacher": teacher, "settings": ["max_epochs=2"], "quiet": True}
    student = workflow.unlearn("volume3d", out=tmp_path / "student", **unlearning)
    scores = pd.read_csv(workflow.evaluate(student))
    assert scores.groupby("model").size().nunique() == 1
    assert np.isfinite(scores[["loss", "dice[anterior]", "hd95[posterior]", "volume[anterior]"]]).all().all()
    page = workflow.report([teacher, student], out=tmp_path / "report").read_text()
    assert "anterior" in page
    workflow.revert(student, out=tmp_path / "teacher.pt")
    weights = [torch.load(path, weights_only=True) for path in (tmp_path / "teacher.pt", teacher / "model.pt")]
    assert weights_sha256(weights[0]) == weights_sha256(weights[1])


def test_volumes_in_other_units_are_said(hippocampus, tmp_path, caplog):
    workflow.split(hippocampus, out=tmp_path / "split.json", forget=workflow.ForgetChoice(fraction=0.2))
    assert "percentile" in caplog.text


@pytest.fixture(scope="module")
def ct_example(real_data):
    folder = real_data / "ct_example"
    if not folder.is_dir():
        pytest.skip(f"no CT at {folder}; it belongs into the folder that MU_MONAI_DATA names")
    return folder


def test_a_dicom_series_goes_in_and_a_segmentation_in_its_geometry_comes_out(ct_example, tmp_path):
    configs = shipped_bundles()["volume3d"] / "configs"
    overrides = parse_settings([*TINY_3D, "patch_size=[32, 32, 16]", "spacing=[4, 4, 4]"])
    parser = ConfigParser(json.loads((configs / "train.json").read_text()))
    parser.update(overrides)
    torch.save(parser.get_parsed_content("network_def").state_dict(), tmp_path / "model.pt")
    images = [str(ct_example / "dicom"), str(ct_example / "ct.nii.gz")]
    files = {"images": images, "weights": str(tmp_path / "model.pt"), "output_dir": str(tmp_path / "out")}
    ConfigWorkflow(str(configs / "inference.json"), logging_file=False, **files, **overrides).run()
    for name, original in (("dicom_seg", "dicom_seg.nii.gz"), ("ct_seg", "ct.nii.gz")):
        found, expected = nibabel.load(tmp_path / "out" / f"{name}.nii.gz"), nibabel.load(ct_example / original)
        assert grid_problem(found.shape, found.affine, expected.shape, expected.affine) is None
        assert len(np.unique(found.dataobj)) > 1  # random weights answer with several classes
