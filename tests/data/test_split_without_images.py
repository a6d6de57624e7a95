"""A split whose forget cases have no files any more."""

import os
import shutil

import pytest

from mu_monai.data import Source, SplitSettings, load_split, make_split, open_split, read_split, write_split
from mu_monai.errors import InputError
from mu_monai.keys import SUBSETS


@pytest.fixture
def split_file(make_manifest, tmp_path):
    source = Source(manifest=make_manifest(), path="somewhere", layout="manifest")
    return write_split(tmp_path / "source" / "split.json", make_split(source, SplitSettings()))


def test_a_split_whose_forget_images_are_gone_is_read_without_them(split_file):
    forget = read_split(split_file).located["forget"]
    for case in forget:
        for name in ("image", "label"):
            os.remove(case[name])
    with pytest.raises(InputError, match="does not exist"):
        open_split(split_file)
    split = open_split(split_file, verify=True, forget_images_gone=True)
    assert split.cases["forget"] == [] == load_split(split_file, forget_images_gone=True)["forget"]
    assert [case["case_id"] for case in split.rows["forget"]] == [case["case_id"] for case in forget]
    assert len(split.digests("forget")) == len(forget)  # a teacher's run can still be asked whether it learned them


@pytest.mark.parametrize("subset", [name for name in SUBSETS if name != "forget"])
@pytest.mark.parametrize("change", ["does not exist", "changed after"])
def test_only_the_forget_cases_may_be_gone(split_file, subset, change):
    image = read_split(split_file).located[subset][0]["image"]
    if change == "changed after":
        shutil.copy(read_split(split_file).located[subset][0]["label"], image)
    else:
        os.remove(image)
    with pytest.raises(InputError, match=f"file {image!r} {change}"):
        open_split(split_file, verify=True, forget_images_gone=True)
