"""The examples of masks in 2D and 3D, of classes, and of images that differ in size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from torch import nn

from mu_monai.measure.examples import write_examples


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


class Asked(nn.Module):
    """Answers each volume with prepared class indices, as logits of so many channels."""

    def __init__(self, answer: torch.Tensor, channels: int = 3) -> None:
        super().__init__()
        self.answer, self.channels = answer, channels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.channels == 1:
            return (self.answer > 0).float()[None, None] - 0.5
        return torch.nn.functional.one_hot(self.answer.long(), self.channels).movedim(-1, 0)[None].float()


class TestVolumes:
    """Three planes of a volume, each where the models differ most, the right way up."""

    @pytest.fixture
    def volume(self) -> dict:
        label = torch.zeros(1, 6, 8, 5)
        label[:, 1:3, 1:4, 1:4] = 1
        label[:, 4, 6, 3] = 2
        return case(torch.rand(1, 6, 8, 5, generator=torch.Generator().manual_seed(0)), label, "a")

    def both(self, folder, volume, teacher, student, channels=3, **settings):
        models = {"teacher": Asked(teacher, channels), "student": Asked(student, channels)}
        write_examples(models, {"forget": DataLoader(Dataset([volume]))}, folder / "examples.npz", **settings)
        with np.load(folder / "examples.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    def test_the_slices_are_those_in_which_the_models_differ_most(self, volume, tmp_path):
        teacher = volume["label"][0].clone()
        student = teacher.clone()
        student[2, 1:4, 2] = 0
        student[2, 3, 1] = 2
        arrays = self.both(tmp_path, volume, teacher, student, classes=["background", "organ", "lesion"])
        assert arrays["plane"].tolist() == ["axial", "coronal", "sagittal"]
        assert arrays["position"].tolist() == [2, 3, 2]
        assert arrays["classes"].tolist() == ["background", "organ", "lesion"]
        assert (arrays["case_id"].tolist(), arrays["subset"].tolist()) == (["a"] * 3, ["forget"] * 3)
        for name, shape in {"image": (3, 8, 8, 1), "label": (3, 8, 8), "teacher": (3, 8, 8)}.items():
            assert (arrays[name].dtype, arrays[name].shape) == (np.uint8, shape), name
        assert not any(name.startswith("volume_") for name in arrays)
        assert (arrays["image"].min(), set(np.unique(arrays["student"]))) == (0, {0, 1, 2})

    def test_right_is_left_and_anterior_and_superior_are_up(self, volume, tmp_path):
        mark = torch.zeros(6, 8, 5)
        mark[5, 7, 4] = 2  # the right, anterior, superior corner
        arrays = self.both(tmp_path, volume, torch.zeros(6, 8, 5), mark)
        axial, coronal, sagittal = arrays["student"]
        assert axial[0, 1] == 2  # 8 x 6 in a frame of 8 x 8
        assert coronal[1, 1] == 2  # 5 x 6
        assert sagittal[1, 0] == 2  # 5 x 8

    def test_where_nothing_differs_it_is_the_largest_labeled_area_and_else_the_middle(self, volume, tmp_path):
        label = volume["label"][0]
        label[1:3, 1:4, 2] = 1
        label[3, 2:4, 2] = 1
        assert self.both(tmp_path, volume, label, label)["position"].tolist() == [2, 2, 1]
        empty = {**volume, "label": torch.zeros(1, 6, 8, 5)}
        nothing = torch.zeros(6, 8, 5)
        assert self.both(tmp_path, empty, nothing, nothing)["position"].tolist() == [2, 4, 3]

    def test_one_model_differs_from_the_label_and_keeps_its_whole_answer(self, volume, tmp_path):
        answer = volume["label"][0].clone()
        answer[4, 6, 3] = 0
        arrays = written(tmp_path, Asked(answer), [volume])
        assert arrays["position"].tolist() == [3, 6, 4]
        np.testing.assert_array_equal(arrays["volume_0"], answer)

    def test_one_channel_is_foreground_beyond_one_half(self, volume, tmp_path):
        mark = torch.zeros(6, 8, 5)
        mark[2, 2, 2] = 1
        arrays = self.both(tmp_path, volume, torch.zeros(6, 8, 5), mark, channels=1, classes=["x", "y", "z"])
        assert arrays["classes"].tolist() == ["background", "foreground"]
        assert (arrays["teacher"].max(), arrays["student"].sum()) == (0, 3)

    def test_pixels_are_square_and_sizes_are_padded(self, volume, tmp_path):
        other = case(torch.rand(1, 2, 2, 4), torch.ones(1, 2, 2, 4), "b")
        network = nn.Conv3d(1, 2, 1)
        arrays = written(tmp_path, network, [volume, other], spacing=(1, 1, 2.5))
        assert arrays["image"].shape == (6, 12, 8, 1)  # 5 slices of 2.5 mm are 12 pixels of 1 mm
        assert arrays["spacing"].tolist() == [1, 1, 2.5]
        axial, coronal, _ = arrays["label"][3:]
        np.testing.assert_array_equal(np.argwhere(axial).min(0), (5, 3))
        assert coronal.sum() == 10 * 2

    def test_the_network_is_applied_by_the_inferer(self, volume, tmp_path):
        seen = []

        def inferer(image, predict):
            seen.append(tuple(image.shape))
            return predict(image)

        self.both(tmp_path, volume, torch.zeros(6, 8, 5), torch.zeros(6, 8, 5), inferer=inferer)
        assert seen == [(1, 1, 6, 8, 5)] * 2

    def test_bytes_span_the_window_of_the_whole_volume(self, volume, tmp_path):
        volume["image"][0, 0, 0, 0], volume["image"][0, 5, 7, 4] = -1, 3
        nothing = torch.zeros(6, 8, 5)
        arrays = self.both(tmp_path, {**volume, "label": torch.zeros(1, 6, 8, 5)}, nothing, nothing)
        expected = ((volume["image"][0, :, :, 2] + 1) * 255 / 4).round().byte().numpy()
        np.testing.assert_array_equal(arrays["image"][0, :, 1:7, 0], expected.T[::-1, ::-1])


def test_masks_of_several_channels_are_shown_as_foreground(tmp_path):
    class Two(nn.Module):
        def forward(self, image):
            return torch.cat([-image, image], 1)

    image = torch.randn(1, 4, 4)
    label = torch.zeros(1, 4, 4)
    label[0, 0] = 2
    arrays = written(tmp_path, Two(), [case(image, label, "a")])
    np.testing.assert_allclose(arrays["teacher"][0], (2 * image[0]).sigmoid(), atol=1e-6)
    assert arrays["label"][0].sum() == 4


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

    def test_the_network_is_applied_by_the_inferer(self, cases, network, tmp_path):
        arrays = written(tmp_path, network, cases, inferer=lambda image, predict: predict(2 * image))
        expected = network(2 * torch.stack([item["image"] for item in cases])).softmax(1).detach()
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
