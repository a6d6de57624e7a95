"""Whole volumes stay in memory as far as they fit."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureTyped, LoadImaged
from nibabel import Nifti1Image, save

from mu_monai.data.volumes.cache import holding, volume_datasets
from mu_monai.errors import InputError

MIB = 1 / 1024  # in GiB


@pytest.fixture
def cases(tmp_path) -> dict[str, list[dict]]:
    """Four volumes of 1 MiB each, once preprocessed, and their labels of a quarter of that."""
    found = []
    for number in range(4):
        paths = {name: str(tmp_path / f"{name}{number}.nii") for name in ("image", "label")}
        for path in paths.values():
            save(Nifti1Image(np.full((64, 64, 64), number, np.uint8), np.eye(4)), path)
        found.append({**paths, "case_id": str(number)})
    return {"retain": found[:2], "forget": found[2:3], "validation": found[3:], "test": []}


@pytest.fixture
def transform():
    load = LoadImaged(keys=["image", "label"], image_only=True, ensure_channel_first=True)
    types = [torch.float32, torch.uint8]
    return Compose([load, EnsureTyped(keys=["image", "label"], dtype=types, track_meta=False)])


def values(datasets) -> dict[str, list[float]]:
    return {name: [float(found[i]["image"].mean()) for i in range(len(found))] for name, found in datasets.items()}


EXPECTED = {"retain": [0.0, 1.0], "forget": [2.0], "validation": [3.0], "test": []}


@pytest.mark.parametrize(("size", "kept"), [(10, [2, 1, 1, 0]), (3, [2, 0, 0, 0]), (1, [0] * 4), (0, [0] * 4)])
def test_subsets_that_are_trained_on_are_kept_first(cases, transform, size, kept, caplog):
    with caplog.at_level(logging.INFO):
        datasets = volume_datasets(cases, transform, cache_gib=size * MIB)
    assert [len(datasets[subset]._cache) for subset in EXPECTED] == kept
    assert values(datasets) == EXPECTED
    said = f"{sum(kept)} of 4 preprocessed volumes fit"
    assert (said in caplog.text) == (sum(kept) < 4)


def test_by_default_a_share_of_the_free_memory_is_used(cases, transform, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"available": 4 * 2**20 * 2.6}))
    assert len(volume_datasets(cases, transform)["retain"]._cache) == 2


def test_what_does_not_fit_is_kept_on_disk_where_there_is_a_folder(cases, transform, tmp_path, caplog):
    folder = tmp_path / "cache"
    with caplog.at_level(logging.INFO):
        datasets = volume_datasets(cases, transform, cache_gib=3 * MIB, cache_dir=folder)
    assert f"kept in '{folder}'" in caplog.text
    assert values(datasets) == EXPECTED
    assert len(list(folder.iterdir())) == 2  # forget and validation
    assert values(volume_datasets(cases, transform, cache_gib=0, cache_dir=folder)) == EXPECTED
    assert len(list(folder.iterdir())) == 4


def test_a_file_that_was_written_anew_is_not_taken_from_the_disk(cases, transform, tmp_path):
    options = {"cache_gib": 0, "cache_dir": tmp_path / "cache"}
    assert values(volume_datasets(cases, transform, **options)) == EXPECTED
    path = Path(cases["forget"][0]["image"])
    save(Nifti1Image(np.full((64, 64, 64), 9, np.uint8), np.eye(4)), path)
    assert values(volume_datasets(cases, transform, **options))["forget"] == [9.0]


def test_another_transform_is_not_taken_from_the_disk(cases, transform, tmp_path):
    from monai.transforms import ScaleIntensityRanged

    options = {"cache_gib": 0, "cache_dir": tmp_path / "cache"}
    assert values(volume_datasets(cases, transform, **options)) == EXPECTED
    double = ScaleIntensityRanged(keys="image", a_min=0, a_max=1, b_min=0, b_max=2)
    doubled = volume_datasets(cases, Compose([*transform.transforms, double]), **options)
    assert values(doubled)["validation"] == [6.0]


@pytest.mark.parametrize("size", [-1, float("inf"), float("nan")])
def test_a_size_that_is_none_is_refused(cases, transform, size):
    with pytest.raises(InputError, match="cache_gib="):
        volume_datasets(cases, transform, cache_gib=size)


def test_volumes_without_the_class_are_left_out(caplog):
    volumes = [{"label": torch.tensor([[0, value]])} for value in (1, 2, 0, 2)]
    with caplog.at_level(logging.INFO):
        assert list(holding(volumes, [2]).indices) == [1, 3]
    assert "2 of 4 volumes hold the classes" in caplog.text
    with pytest.raises(InputError, match="none of the 4 volumes to train on holds the classes to forget"):
        holding(volumes, [3])


@pytest.mark.parametrize(("limit", "kept"), [("max", 2), (str(4 * 2**20 * 3), 1), ("0", 0)])
def test_a_container_may_have_less_memory_than_its_machine(cases, transform, monkeypatch, tmp_path, limit, kept):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"available": 4 * 2**20 * 2.6}))
    files = [tmp_path / "max", tmp_path / "current"]
    for file, text in zip(files, (limit, str(4 * 2**20)), strict=True):
        file.write_text(text)
    monkeypatch.setattr("mu_monai.data.volumes.cache._CONTAINER_LIMITS", [tuple(map(str, files))])
    assert len(volume_datasets(cases, transform)["retain"]._cache) == kept
