from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mu_monai.data import find_near_duplicates, near_duplicates, read_layout
from mu_monai.data.near_duplicates import NEAR_BITS
from tests.data.conftest import write_image


@pytest.fixture
def table(tmp_path):
    """Two images to forget; the second is a smaller copy of the first, and two altered copies lie elsewhere."""
    names = ["f0", "f1", "r0", "v0", "t0"]
    for seed, name in enumerate(names):
        write_image(tmp_path / f"{name}.png", seed, (160, 120))
    with Image.open(tmp_path / "f0.png") as image:
        image.resize((80, 60)).save(tmp_path / "f1.png")
        image.convert("L").save(tmp_path / "v0.png")
        image.save(tmp_path / "t0.jpg", quality=60)
    files = [tmp_path / "f0.png", tmp_path / "f1.png", tmp_path / "r0.png", tmp_path / "v0.png", tmp_path / "t0.jpg"]
    subsets = ["forget", "forget", "retain", "validation", "test"]
    return pd.DataFrame({"case_id": names, "image": [str(file) for file in files], "subset": subsets})


def test_altered_copies_in_other_subsets_are_found(table):
    found = find_near_duplicates(table)
    assert {(pair["forget"], pair["other"], pair["subset"]) for pair in found} == {
        (forget, other, subset) for forget in ("f0", "f1") for other, subset in (("v0", "validation"), ("t0", "test"))
    }
    assert [pair["distance"] for pair in found] == sorted(pair["distance"] for pair in found)
    assert all(type(pair["distance"]) is int for pair in found)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: Image.new("RGBA", (24, 20), (9, 9, 9, 40)).save(path),
        lambda path: Image.fromarray(np.full((20, 24), 4000, np.uint16)).save(path),
        lambda path: Image.new("L", (24, 20)).save(path, save_all=True, append_images=[Image.new("L", (24, 20), 9)]),
    ],
)
@pytest.mark.parametrize("names", [["f0"], ["r0"], ["f0", "f1"], ["r0", "v0", "t0"]])
def test_what_only_earlier_versions_took_is_left_out_and_told(change, names, table, caplog):
    """A request on a split of an earlier version must not fail because of it."""
    before = find_near_duplicates(table, max_distance=256)
    for name in names:
        path = next(path for path in table["image"] if f"{name}." in path)
        change(path.replace(".jpg", ".png"))
        table.loc[table["case_id"] == name, "image"] = path.replace(".jpg", ".png")
    caplog.clear()
    found = find_near_duplicates(table, max_distance=256)
    assert found == [pair for pair in before if not {pair["forget"], pair["other"]} & set(names)]
    assert f"{len(names)} images are not compared with others for look-alikes" in caplog.text


def test_the_chunk_size_changes_nothing(table, monkeypatch):
    whole = find_near_duplicates(table, max_distance=256)
    assert len(whole) == 6
    monkeypatch.setattr(near_duplicates, "_CHUNK", 1)
    assert find_near_duplicates(table, max_distance=256) == whole


def test_distances_are_those_of_imagehash(table):
    imagehash = pytest.importorskip("imagehash")
    hashes = {}
    for case, path in zip(table["case_id"], table["image"], strict=True):
        with Image.open(path) as image:
            hashes[case] = imagehash.phash(image, hash_size=16)
    for pair in find_near_duplicates(table, max_distance=256):
        assert pair["distance"] == hashes[pair["forget"]] - hashes[pair["other"]]


def test_without_two_sides_or_with_volumes_there_is_nothing_to_find(table):
    assert find_near_duplicates(table[table["subset"] == "forget"]) == []
    assert find_near_duplicates(table[table["subset"] != "forget"]) == []
    assert find_near_duplicates(table.assign(image="volume.nii.gz")) == []


def test_real_photographs_of_different_patients_are_no_near_duplicates(real_data):
    for folder in ("isic_lesion", "chase_db1"):
        manifest = read_layout(real_data / folder).manifest
        halves = np.where(
            np.arange(len(manifest)) % 4 < 2, "forget", "retain"
        )  # both eyes of a CHASE patient stay together
        assert find_near_duplicates(manifest.assign(subset=halves)) == []


def test_real_photographs_are_found_at_half_size(real_data, tmp_path):
    manifest = read_layout(real_data / "isic_lesion").manifest.head(40)
    small = manifest.assign(case_id="small " + manifest["case_id"], subset="retain")
    for row in small.itertuples():
        with Image.open(row.image) as image:
            image.resize((image.width // 2, image.height // 2)).save(tmp_path / f"{row.Index}.jpg", quality=80)
    small["image"] = [str(tmp_path / f"{index}.jpg") for index in small.index]
    found = find_near_duplicates(pd.concat([manifest.assign(subset="forget"), small]))
    assert {(pair["forget"], pair["other"]) for pair in found} == {
        (case, f"small {case}") for case in manifest["case_id"]
    }
    assert max(pair["distance"] for pair in found) <= NEAR_BITS


@pytest.mark.parametrize("distinct", [4000, 3], ids=["all kinds of images", "images that are all alike"])
def test_near_pairs_are_those_of_comparing_all(distinct, monkeypatch):
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 1 << 64, (distinct, 4), dtype=np.uint64)
    second = kinds[rng.integers(distinct, size=4000)]
    first = second[rng.integers(4000, size=60)].copy()
    for row in first:  # up to 40 bits of 256
        for bit in rng.choice(256, rng.integers(40), replace=False):
            row[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    assert (near_duplicates._alike_in_a_part(first, second, NEAR_BITS) is None) == (distinct == 3)
    distances = np.bitwise_count(first[:, None] ^ second[None]).sum(axis=2)
    rows, columns = np.nonzero(distances <= NEAR_BITS)
    assert 10 < len({*rows}) < 60
    for chunk in (1 << 20, 100):
        monkeypatch.setattr(near_duplicates, "_CHUNK", chunk)
        found = near_duplicates._near_pairs(first, second, NEAR_BITS)
        np.testing.assert_array_equal(found, (rows, columns, distances[rows, columns]))
