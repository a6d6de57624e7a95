"""The examples of masks in 2D and 3D, of classes, and of images that differ in size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from torch import nn

from mu_monai.engine.examples import write_examples


def case(image: torch.Tensor, label: torch.Tensor, name: str) -> dict:
    return {"image": image, "label": label, "case_id": name, "patient_id": name}


def written(folder: Path, network: nn.Module, cases: list[dict], **settings) -> Mapping[str, np.ndarray]:
    write_examples({"teacher": network}, {"retain": DataLoader(Dataset(cases))}, folder / "examples.npz", **settings)
    with np.load(folder / "examples.npz", allow_pickle=False) as arrays:
        return dict(arrays)


class First(nn.Module):
    """Logits are the first channel, so that what is written can be foreseen."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, :1]


class TestVolumes:
    """Of a volume a slice is shown, and the label alone chooses it."""

    @pytest.fixture
    def volume(self) -> dict:
        image = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
        label = torch.zeros(1, 4, 5, 6)
        label[..., 1] = torch.eye(4, 5)
        label[:, 1:3, 1:4, 4] = 1
        return case(image, label, "a")

    def test_the_slice_with_the_largest_labelled_area_is_shown(self, volume, tmp_path):
        arrays = written(tmp_path, First(), [volume])
        assert (arrays["image"].dtype, arrays["image"].shape) == (np.uint8, (1, 4, 5, 1))
        assert (arrays["label"].dtype, arrays["label"].shape) == (np.uint8, (1, 4, 5))
        assert (arrays["teacher"].dtype, arrays["teacher"].shape) == (np.float32, (1, 4, 5))
        np.testing.assert_array_equal(arrays["label"][0], volume["label"][0, ..., 4])
        np.testing.assert_allclose(arrays["teacher"][0], volume["image"][0, ..., 4].sigmoid(), atol=1e-6)
        shown = volume["image"][0, ..., 4]
        assert np.unravel_index(arrays["image"][0, ..., 0].argmax(), (4, 5)) == divmod(int(shown.argmax()), 5)
        assert (arrays["image"].min(), arrays["image"].max()) == (0, 255)

    def test_where_nothing_is_labelled_it_is_the_middle_one(self, volume, tmp_path):
        arrays = written(tmp_path, First(), [{**volume, "label": torch.zeros(1, 4, 5, 6)}])
        np.testing.assert_allclose(arrays["teacher"][0], volume["image"][0, ..., 3].sigmoid(), atol=1e-6)

    def test_volumes_of_several_sizes_are_one_set(self, volume, tmp_path):
        other = case(torch.rand(1, 8, 3, 2), torch.ones(1, 8, 3, 2), "b")
        arrays = written(tmp_path, First(), [volume, other])
        assert arrays["image"].shape == (2, 8, 5, 1)
        assert arrays["label"][1].all()


def test_images_of_several_sizes_are_stretched_and_labels_stay_masks(tmp_path):
    half = torch.zeros(1, 4, 6)
    half[:, :2] = 1
    small = torch.zeros(1, 2, 2)
    small[:, 0] = 1
    cases = [case(half.clone(), half, "a"), case(small.clone(), small, "b")]
    arrays = written(tmp_path, First(), cases)
    assert arrays["image"].shape == (2, 4, 6, 1)
    np.testing.assert_array_equal(arrays["label"][0], arrays["label"][1])
    assert set(np.unique(arrays["label"])) == {0, 1}
    assert arrays["teacher"].min() >= 0.5 - 1e-6
    assert arrays["teacher"].max() <= 1 / (1 + np.exp(-1)) + 1e-6


def test_images_of_one_size_are_not_touched(tmp_path):
    image = torch.randn(3, 7, 9, generator=torch.Generator().manual_seed(1))
    arrays = written(tmp_path, First(), [case(image, torch.zeros(1, 7, 9), name) for name in "ab"])
    np.testing.assert_array_equal(arrays["teacher"][1], image[0].sigmoid().numpy())
    low, high = image.min(), image.max()
    expected = ((image - low) / (high - low) * 255).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(arrays["image"][1], expected)


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 1)])
def test_channels_that_make_no_color_are_shown_as_the_first(channels, shown, tmp_path):
    image = torch.rand(channels, 4, 4)
    arrays = written(tmp_path, First(), [case(image, torch.zeros(1, 4, 4), "a")])
    assert arrays["image"].shape == (1, 4, 4, shown)


def test_cases_go_through_the_models_one_by_one(tmp_path):
    seen = []
    network = First()
    network.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    written(tmp_path, network, [case(torch.rand(1, 2, 2), torch.zeros(1, 2, 2), name) for name in "abcd"])
    assert seen == [1, 1, 1]


class TestClassifier:
    """Class names instead of masks, and the whole probability vector."""

    @pytest.fixture
    def cases(self) -> list[dict]:
        images = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        return [case(image, torch.tensor(2 - index), str(index)) for index, image in enumerate(images)]

    @pytest.fixture
    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def test_shapes_types_and_content(self, cases, network, tmp_path):
        arrays = written(tmp_path, network, cases, classes=["akiec", "mel", "nv"])
        assert sorted(arrays) == ["case_id", "classes", "image", "label", "subset", "teacher"]
        assert arrays["classes"].tolist() == ["akiec", "mel", "nv"]
        assert arrays["label"].tolist() == ["nv", "mel", "akiec"]
        assert arrays["image"].shape == (3, 4, 4, 1)
        assert (arrays["teacher"].dtype, arrays["teacher"].shape) == (np.float32, (3, 3))
        expected = network(torch.stack([item["image"] for item in cases])).softmax(1).detach()
        np.testing.assert_allclose(arrays["teacher"], expected, atol=1e-6)

    def test_without_names_classes_are_numbers(self, cases, network, tmp_path):
        arrays = written(tmp_path, network, cases)
        assert arrays["classes"].tolist() == ["0", "1", "2"]
        assert arrays["label"].tolist() == ["2", "1", "0"]

    def test_volumes_and_several_sizes(self, tmp_path):
        network = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 2))
        cases = [case(torch.rand(1, 4, 4, 3), torch.tensor(0), "a"), case(torch.rand(1, 2, 6, 5), torch.tensor(1), "b")]
        arrays = written(tmp_path, network, cases)
        assert arrays["image"].shape == (2, 4, 6, 1)
        assert arrays["teacher"].shape == (2, 2)
