"""Cases whose image is several files, one per channel."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from monai.transforms import LoadImage

from mu_monai.data import (
    ForgetFraction,
    ForgetIds,
    SplitSettings,
    check_manifest,
    make_split,
    open_split,
    reselect,
    write_split,
)
from mu_monai.data.layouts.layout import Source
from mu_monai.data.volumes.cache import volume_datasets
from mu_monai.errors import InputError
from tests.data.conftest import write_image, write_label, write_mask, write_volume

AFFINE = np.diag([1.5, 1.5, 2, 1])


def manifest_of(folder, kind, cases=6, channels=("t1", "t2", "flair")):
    rows = []
    for number in range(cases):
        case, seed = f"case_{number}", 10 * number
        if kind == "volumes":
            files = [write_volume(folder / case / f"{case}_{name}.nii.gz", seed + k) for k, name in enumerate(channels)]
            label = write_label(folder / case / f"{case}_seg.nii.gz", AFFINE)
        else:
            files = [write_image(folder / case / f"{name}.png", seed + k) for k, name in enumerate(channels)]
            label = write_mask(folder / f"{case}.png", seed) if kind == "masks" else "ab"[number % 2]
        rows.append((case, f"p{number}", tuple(files), label))
    return pd.DataFrame(rows, columns=["case_id", "patient_id", "image", "label"])


def made(folder, manifest, policy="error"):
    check_manifest(manifest, allow_repeated_ids=True)
    source = Source(manifest=manifest, path=str(folder), layout="manifest")
    settings = SplitSettings(forget=ForgetFraction(0.3), on_duplicates=policy)
    return write_split(folder / "split.json", make_split(source, settings))


@pytest.mark.parametrize("kind", ["volumes", "masks", "classes"])
def test_a_split_keeps_all_files_of_a_case_in_order(tmp_path, kind):
    split = open_split(made(tmp_path, manifest_of(tmp_path, kind)), verify=True)
    case = split.rows["retain"][0]
    assert [name.split("_")[-1].split("/")[-1].split(".")[0] for name in case["image"]] == ["t1", "t2", "flair"]
    assert not any(name.startswith("/") for name in case["image"])
    assert len(split.file_digests) == (18 if kind == "classes" else 24)
    located = split.located["retain"][0]["image"]
    assert all(name.startswith(str(tmp_path)) for name in located)
    assert LoadImage(ensure_channel_first=True, image_only=True)(located).shape[0] == (3 if kind == "volumes" else 9)
    assert len(split.digests("retain")) == len(split.rows["retain"])


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_file_that_is_also_in_another_case_makes_them_copies(tmp_path, channel):
    manifest = manifest_of(tmp_path, "volumes")
    shared = list(manifest["image"][1])
    shared[2 - channel] = manifest["image"][0][channel]
    manifest.at[1, "image"] = tuple(shared)
    with pytest.raises(InputError, match="same content: 'case_0'"):
        made(tmp_path, manifest)
    kept = open_split(made(tmp_path, manifest, "together"))
    assert kept.provenance.together == [["case_0", "case_1"]]
    assert len(open_split(made(tmp_path, manifest, "drop")).table) == 5


@pytest.mark.parametrize("channel", ["t1", "t2", "flair"])
def test_a_file_of_a_case_that_is_missing_changed_or_on_another_grid_is_named(tmp_path, channel):
    manifest = manifest_of(tmp_path, "volumes")
    path = made(tmp_path, manifest)
    file = tmp_path / "case_2" / f"case_2_{channel}.nii.gz"
    write_volume(file, 99, np.diag([1.5, 1.5, 3, 1]))
    with pytest.raises(InputError, match=rf"case_2_{channel}.nii.gz' changed"):
        open_split(path, verify=True)
    with pytest.raises(InputError, match=r"case_2_.*has other voxels than .*case_2_t1"):
        check_manifest(manifest)
    file.unlink()
    with pytest.raises(InputError, match=rf"case_2_{channel}.nii.gz' does not exist"):
        open_split(path)
    with pytest.raises(InputError, match=rf"case_2_{channel}.nii.gz' does not exist"):
        check_manifest(manifest)


@pytest.mark.parametrize("image", [[], ["a.nii"], ["a.nii", ""], ["a.nii", 3]])
def test_a_list_that_is_not_two_files_or_more_is_not_an_image(tmp_path, image):
    path = made(tmp_path, manifest_of(tmp_path, "volumes"))
    content = json.loads(path.read_text())
    content["retain"][0]["image"] = image
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="retain, case 1: image missing or not text"):
        open_split(path)


@pytest.mark.parametrize("kind", ["volumes", "masks", "classes"])
def test_a_later_request_keeps_the_files(tmp_path, kind):
    split = open_split(made(tmp_path, manifest_of(tmp_path, kind)))
    chosen = split.rows["retain"][0]["patient_id"]
    later = open_split(write_split(tmp_path / "later.json", reselect(split, ForgetIds((chosen,)))))
    assert chosen in later.patients("forget")
    assert later.file_digests == split.file_digests


def test_the_cache_notices_that_one_file_of_a_case_changed(tmp_path):
    from mu_monai.data.volumes.cache import _case_hash

    split = open_split(made(tmp_path, manifest_of(tmp_path, "volumes")))
    case = split.located["retain"][0]
    before = _case_hash(case)
    write_volume(tmp_path / case["case_id"] / f"{case['case_id']}_flair.nii.gz", 5)
    assert _case_hash(case) != before
    loaded = volume_datasets(split.cases, lambda each: {"image": LoadImage(image_only=True)(each["image"])})
    assert loaded["retain"][0]["image"].shape == (3, 6, 5, 4)
