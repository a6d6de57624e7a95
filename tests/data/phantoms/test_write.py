from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from mu_monai.data import check_manifest, load_split, phantom_split, write_phantoms
from mu_monai.data.phantoms import write as phantoms
from mu_monai.data.phantoms.classes import CLASS_DIAGNOSES, draw_class_style
from mu_monai.data.phantoms.vessels import CAMERAS, draw_vessel_style, draw_vessels
from mu_monai.errors import InputError
from mu_monai.keys import SUBSETS

SMALL = {"patients": 10, "images_per_patient": 2, "size": 48}
KINDS = ("lesions", "vessels")
ALL_KINDS = (*KINDS, "classes", "volumes")


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_phantoms_of_a_patient_share_device_and_diagnosis(kind, tmp_path):
    manifest = write_phantoms(kind, tmp_path, patients=10, size=32)
    assert (manifest.groupby("patient_id")[["device", "diagnosis"]].nunique() == 1).all(axis=None)
    assert set(manifest["device"]) <= {"a", "b"}


@pytest.mark.parametrize("kind", KINDS)
def test_phantoms_make_a_good_manifest(kind, tmp_path):
    manifest = write_phantoms(kind, tmp_path, **SMALL)
    check_manifest(manifest)
    assert len(manifest) == 20
    assert set(manifest["phantom"]) == {kind}
    for row in manifest.itertuples():
        image, mask = np.asarray(Image.open(row.image)), np.asarray(Image.open(row.label))
        assert image.shape == (48, 48, 3)
        assert mask.shape == (48, 48)
        assert 0.01 < (mask > 0).mean() < 0.6
        assert image.std() > 5


def test_phantoms_to_be_classified_have_names_for_labels_and_no_masks(tmp_path):
    manifest = write_phantoms("classes", tmp_path, patients=18, size=48)
    check_manifest(manifest)
    assert manifest["label"].tolist() == manifest["diagnosis"].tolist()
    assert tuple(manifest["label"][::2]) == CLASS_DIAGNOSES * 2  # one after the other, so that small sets have them all
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "manifest.csv"]
    pixels = [np.asarray(Image.open(path)) for path in manifest["image"]]
    assert {image.shape for image in pixels} == {(48, 48, 3)}
    assert min(image.std() for image in pixels) > 5


def test_phantoms_of_a_class_are_told_by_their_color_better_than_by_chance(tmp_path):
    manifest = write_phantoms("classes", tmp_path, patients=90, size=32)
    middle = np.array([np.asarray(Image.open(path), float)[10:22, 10:22].reshape(-1, 3) for path in manifest["image"]])
    features = np.concatenate([middle.mean(axis=1), middle.std(axis=1)], axis=1)
    known = (manifest.index // 2) % 2 == 0
    model = KNeighborsClassifier(5).fit(features[known], manifest["label"][known])
    assert model.score(features[~known], manifest["label"][~known]) > 0.4  # chance is 0.11


def test_some_patients_look_like_another_class_and_keep_to_it():
    styles = [draw_class_style(np.random.default_rng(seed), "a", "nevus") for seed in range(400)]
    assert 0.1 < np.mean([style.look != "nevus" for style in styles]) < 0.2
    assert {style.look for style in styles} == set(CLASS_DIAGNOSES)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_same_seed_gives_the_same_pixels_and_more_patients_keep_the_first(kind, tmp_path):
    few = write_phantoms(kind, tmp_path / "a", patients=2, size=40, seed=3)
    more = write_phantoms(kind, tmp_path / "b", patients=3, size=40, seed=3)
    other = write_phantoms(kind, tmp_path / "c", patients=2, size=40, seed=4)
    for column in ("image",) if kind == "classes" else ("image", "label"):
        bytes_of = [[Path(path).read_bytes() for path in table[column]] for table in (few, more, other)]
        assert bytes_of[0] == bytes_of[1][:4]
        assert bytes_of[0] != bytes_of[2]


def test_the_eyes_of_vessel_phantoms_are_mirrored(tmp_path):
    manifest = write_phantoms("vessels", tmp_path, patients=1, size=128)
    assert manifest["eye"].tolist() == ["L", "R"]
    red = [np.asarray(Image.open(path).convert("L"), dtype=float)[40:88] for path in manifest["image"]]
    brightest = [np.median(np.argmax(pixels, axis=1)) for pixels in red]
    assert brightest[0] < 64 < brightest[1]


def test_the_two_cameras_see_one_retina_differently():
    pictures = {}
    for camera in CAMERAS:
        rng = np.random.default_rng(0)
        pictures[camera] = draw_vessels(rng, draw_vessel_style(rng, camera), "healthy", "L", 128)
    (first, vessels), (second, cut) = pictures["a"], pictures["b"]
    middle = slice(32, 96)
    assert (vessels[middle, middle] == cut[middle, middle]).all()  # the same vessels, as far as both see
    assert first[12].any()
    assert not second[8].any()  # the field of view is cut off
    assert not cut[8].any()
    ratio = first[middle, middle].mean((0, 1)) / second[middle, middle].mean((0, 1))
    assert ratio[1] > ratio[0] > ratio[2] > 1  # darker, and least in blue
    grain = [np.diff(picture[middle, middle, 2].astype(float), axis=0).std() for picture in (first, second)]
    assert grain[1] > 1.3 * grain[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"patients": 0}, "patients=0 is too small; choose a whole number >= 1"),
        ({"images_per_patient": 0}, "images_per_patient=0 is too small"),
        ({"size": 16}, "size=16 is too small; choose a whole number >= 32"),
        ({"seed": -1}, "seed=-1 is too small"),
        ({"kind": "bones"}, "phantom kind 'bones' is unknown; choose 'lesions', 'vessels', 'classes', 'volumes'"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, change, expected):
    arguments = {"kind": "lesions", "folder": tmp_path / "x", **SMALL, **change}
    for function in (write_phantoms, phantom_split):
        with pytest.raises(InputError, match=expected):
            function(**arguments)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_phantom_split_is_made_once(kind, tmp_path):
    path = phantom_split(kind, tmp_path / "phantoms", **SMALL)
    cases = load_split(path, verify=True)
    assert {name: len(cases[name]) for name in SUBSETS} == {"retain": 12, "forget": 2, "validation": 2, "test": 4}
    provenance = json.loads(Path(path).read_text())["provenance"]
    assert provenance["phantom"] is True
    assert provenance["source"] == f"built-in phantoms: {kind}"
    before = Path(path).stat().st_mtime_ns
    assert phantom_split(kind, tmp_path / "phantoms", **SMALL) == path
    assert Path(path).stat().st_mtime_ns == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["phantoms"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "phantoms").mkdir()
    assert Path(phantom_split("lesions", tmp_path / "phantoms", **SMALL)).is_file()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    phantom_split("lesions", tmp_path / "phantoms", **SMALL)
    with pytest.raises(InputError, match="exists and does not hold these phantoms"):
        phantom_split("vessels", tmp_path / "phantoms", **SMALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match="another folder, or remove it"):
        phantom_split("lesions", tmp_path / "mine", **SMALL)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(phantoms, "write_split", fail)
    with pytest.raises(OSError, match="No space left"):
        phantom_split("lesions", tmp_path / "phantoms", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_of_two_processes_the_slower_one_takes_what_the_faster_one_made(tmp_path, monkeypatch):
    write_all = phantoms._write_all

    def race(folder, settings):
        write_all(folder, settings)
        if folder.parent.parent == tmp_path:
            monkeypatch.setattr(phantoms, "_write_all", write_all)
            phantom_split("lesions", tmp_path / "phantoms", **SMALL)

    monkeypatch.setattr(phantoms, "_write_all", race)
    assert load_split(phantom_split("lesions", tmp_path / "phantoms", **SMALL))["forget"]


def test_the_package_needs_no_torch():
    program = "import sys, mu_monai.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
