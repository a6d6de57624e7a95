"""Values of labels that are not the numbers of classes: asked for, kept, and applied wherever labels are read."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import LoadImaged

from mu_monai import workflow
from mu_monai.data import open_split, parse_label_map
from mu_monai.data.label_map import mapped
from mu_monai.data.map_labels import MapLabelsd
from mu_monai.data.reading import Reading, reading_of, reading_problems
from mu_monai.data.volumes.values import label_values, value_problems
from mu_monai.errors import InputError
from mu_monai.files import read_json
from tests.data.conftest import write_volume

FOREIGN = {"heart": (205, 420), "brats": (1, 4), "one": (255,), "many": (3, 1000, 70000)}


def volumes(folder, values, number=5, dtype=np.int32):
    """Images and labels with a cube of each value."""
    for case in range(number):
        write_volume(folder / "images" / f"v{case}.nii.gz", case)
        label = np.zeros((6, 5, 4), dtype)
        for place, value in enumerate(values):
            label[place + 1, 1:3, 1:3] = value
        write_volume(folder / "labels" / f"v{case}.nii.gz", label)
    return folder


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_volumes_with_other_values_ask_for_exactly_their_map(kind, dtype, tmp_path):
    values = FOREIGN[kind]
    volumes(tmp_path / "in", values, dtype=dtype)
    out, options = tmp_path / "split.json", {"validation": 0, "test": 0.2}
    with pytest.raises(InputError) as caught:
        workflow.split(tmp_path / "in", out=out, **options)
    asked = "{" + ", ".join(f"{value}: {number}" for number, value in enumerate(values, start=1)) + "}"
    assert f"--label-map '{asked}'" in str(caught.value)
    assert not out.exists()
    assert f"label values: 0: 0, {values[0]}: 1" in workflow.split(tmp_path / "in", out=out, label_map=asked, **options)
    split = open_split(out)
    label_map = split.provenance.reading.label_map
    assert label_map == {0: 0} | {value: number for number, value in enumerate(values, start=1)}
    options = split.provenance.reading.options()["label_map"]
    case = split.cases["retain"][0]
    loaded = LoadImaged("label", reader="NibabelReader", image_only=True)({"label": case["label"]})
    label = MapLabelsd("label", label_map=options)(loaded)["label"]
    assert label.unique().tolist() == list(range(len(values) + 1))
    assert torch.equal(torch.as_tensor(label.affine), torch.as_tensor(nibabel.load(case["label"]).affine))


@pytest.mark.parametrize("names", [("left ventricle", "myocardium"), ("a", "a"), ("organ", "background")])
def test_names_become_the_classes_of_the_split(names, tmp_path):
    volumes(tmp_path / "in", (205, 420))
    text = f'{{205: "{names[0]}", 420: "{names[1]}"}}'
    workflow.split(tmp_path / "in", out=tmp_path / "split.json", label_map=text, validation=0, test=0.2)
    provenance = open_split(tmp_path / "split.json").provenance
    assert provenance.classes == list(dict.fromkeys(["background", *names]))
    assert [provenance.classes[provenance.reading.label_map[value]] for value in (205, 420)] == list(names)


def test_a_request_on_the_split_keeps_the_map(tmp_path):
    volumes(tmp_path / "in", (205, 420), number=8)
    source, request = tmp_path / "split.json", tmp_path / "request.json"
    workflow.split(tmp_path / "in", out=source, label_map="{205: 1, 420: 2}", validation=0, test=0.2)
    workflow.split(source, out=request, forget=workflow.ForgetChoice(fraction=0.2))
    assert read_json(request)["provenance"]["reading"] == {"label_map": {"0": 0, "205": 1, "420": 2}}
    with pytest.raises(InputError, match=r"--label-map \{205: 1\} has no effect on a split.json"):
        workflow.split(source, out=tmp_path / "x", forget=workflow.ForgetChoice(fraction=0.2), label_map="{205: 1}")


@pytest.mark.parametrize("label_map", ["{205: 1}", "{420: 1}", "{1: 1}"])
def test_a_map_that_lacks_a_value_is_refused_with_the_file(label_map, tmp_path):
    volumes(tmp_path / "in", (205, 420))
    with pytest.raises(
        InputError, match=r"label '.*v0\.nii\.gz' holds the values (205|420|205, 420), which the label map"
    ):
        workflow.split(tmp_path / "in", out=tmp_path / "split.json", label_map=label_map)


@pytest.mark.parametrize(
    "text",
    [
        "205: 1",
        "{205}",
        "{}",
        "{205: 1.5}",
        "{205: True}",
        "{'a': 1}",
        "{205: 1, 420: 'b'}",
        "{1.5: 1}",
        "{1e999: 1}",
        "__import__('os')",
        "[1]",
    ],
)
def test_what_is_not_a_map_is_refused_with_the_form(text):
    with pytest.raises(InputError, match=r"is not a map from values to classes; use numbers, '\{205: 1, 420: 2\}'"):
        parse_label_map(text)


@pytest.mark.parametrize("text", ["{205: 2}", "{205: 1, 420: 3}", "{205: -1}"])
def test_classes_with_gaps_are_refused(text):
    with pytest.raises(InputError, match=r"number them 0, 1, 2 \.\.\. without gaps"):
        parse_label_map(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{0: 1, 255: 0}", {0: 1, 255: 0}),
        ("{'3': 1}", {0: 0, 3: 1}),
        ("{-1: 0, 7: 1, 8: 1}", {0: 0, -1: 0, 7: 1, 8: 1}),
    ],
)
def test_maps_may_invert_merge_and_drop(text, expected):
    assert parse_label_map(text)[0] == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, np.float32])
def test_values_are_found_whatever_the_type(dtype):
    values = np.zeros((4, 5, 6), dtype)
    values[1, 1, 1], values[2, 3, 5] = 7, 100
    assert label_values(values) == [0, 7, 100]
    assert mapped(values, {0: 0, 7: 1, 100: 2}).max() == 2


@pytest.mark.parametrize("found", [[[0, 1, 2]], [[0, 1], [0, 2]], [[0]], [[1]], []])
def test_numbers_without_gaps_need_no_map(found):
    assert value_problems(found, (), None) == []


@pytest.mark.parametrize("number", [257, 1000, 5000])
def test_no_map_is_asked_for_what_are_no_classes(number):
    (problem,) = value_problems([list(range(1, 2 * number, 2))], (), None)
    assert f"{number + 1} different values" in problem
    assert len(problem) < 250


def test_names_of_the_source_allow_absent_classes():
    assert value_problems([[0, 2]], ["background", "a", "b"], None) == []
    assert value_problems([[0, 3]], ["background", "a", "b"], None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"picture_range": [0]}, "it is two numbers, the lower first"),
        ({"picture_range": [9, 3]}, "it is two numbers, the lower first"),
        ({"picture_range": ["a", 3]}, "entry 1 holds text"),
        ({"picture_range": [0, float("inf")]}, "it is two numbers, the lower first"),
        ({"label_map": {"1": "a"}}, "maps whole numbers to whole numbers"),
        ({"label_map": {"\u00b2": 1}}, "maps whole numbers to whole numbers"),
        ({"label_map": {"1": True}}, "maps whole numbers to whole numbers"),
        ({"label_map": {"1": 10**30}}, "maps whole numbers to whole numbers"),
        ({"label_map": [1]}, "label_map holds"),
        ({"unusual": 3}, "unusual holds"),
    ],
)
def test_a_damaged_reading_is_told(content, problem):
    assert problem in " ".join(reading_problems(content))


@pytest.mark.parametrize(
    "reading",
    [
        Reading(),
        Reading(picture_range=(0, 4095)),
        Reading(label_map={0: 0, 205: 1}),
        Reading(picture_range=(-1024, 1), label_map={0: 1, 255: 0}, unusual={"rotated": 3}),
    ],
)
def test_a_reading_is_recorded_and_read_back(reading):
    assert reading_of(reading.content()) == reading
    assert list(reading_problems(reading.content())) == []
