"""What runs before the first adapter is computed once, and nothing changes by that."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mu_monai.adapters import Student
from mu_monai.adapters.shared import SharedPrefix


class Counted(nn.Module):
    """Counts how often a layer runs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.calls = layer, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(x)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        Counted(nn.Conv2d(1, 4, 3)), nn.BatchNorm2d(4), Counted(nn.Conv2d(4, 4, 3)), nn.ReLU(), nn.Conv2d(4, 1, 1)
    ).eval()


def test_layers_before_the_first_adapter_run_once_and_layers_after_it_twice():
    plain, image = network(), torch.randn(2, 1, 8, 8)
    expected = plain(image)
    first, second = plain[0], plain[2]
    student = Student(plain, r"2\.layer|4", r=1)
    first.calls = second.calls = 0
    student.train()
    answer = student(image)
    assert torch.equal(student.teacher(image), expected)
    assert (first.calls, second.calls) == (1, 2)
    answer.sum().backward()
    assert all(parameter.grad is not None for parameter in student.trainable().values())


def test_a_layer_that_runs_on_both_sides_of_the_first_adapter_runs_again_behind_it():
    activation = Counted(nn.SiLU())
    torch.manual_seed(0)
    plain, image = (
        nn.Sequential(nn.Conv2d(1, 2, 1), activation, nn.Conv2d(2, 2, 1), activation).eval(),
        torch.randn(1, 1, 4, 4),
    )
    expected = plain(image)
    student = Student(plain, "2", r=1).train()
    activation.calls = 0
    student(image)
    assert torch.equal(student.teacher(image), expected)
    assert activation.calls == 3


def test_losses_and_gradients_are_those_of_two_networks(unet, image):
    teacher = copy.deepcopy(unet)
    torch.manual_seed(3)
    shared = Student(copy.deepcopy(unet), r=2, lora_dropout=0.2).train()
    torch.manual_seed(3)
    plain = Student(unet, r=2, lora_dropout=0.2).train()
    gradients = []
    for student, ask in ((shared, shared.teacher), (plain, teacher)):
        torch.manual_seed(4)
        for parameter in student.trainable().values():
            nn.init.normal_(parameter, std=0.3)
        answer = student(image)
        with torch.no_grad():
            reference = ask(image)
        loss = (answer - reference).square().mean()
        loss.backward()
        gradients.append([loss.detach(), *(p.grad for p in student.trainable().values())])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.equal(ours, theirs)


def test_it_is_not_used_for_another_image_nor_twice_nor_in_evaluation(unet, image):
    student = Student(unet, r=2).train()
    student(image)
    assert student._shared.holds(image)
    assert not student._shared.holds(image.clone())
    student.teacher(image)
    assert not student._shared.holds(image), "used once and let go"
    student(image)
    student.eval()
    assert not student._shared.holds(image)
    student(image)
    assert not student._shared.holds(image)


def test_an_image_changed_in_place_gives_the_answer_of_what_it_is_now(unet, image):
    student = Student(copy.deepcopy(unet), r=2).train()
    student(image)
    image.mul_(2)
    assert torch.equal(student.teacher(image), unet(image))


def test_an_output_changed_in_place_later_is_not_used():
    """An activation in place behind the first adapter may change what an earlier layer returned."""

    class Spoils(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.early, self.late = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept = self.early(x)
            late = self.late(kept)
            return late + kept.clamp_(min=0)

    torch.manual_seed(0)
    plain, image = Spoils().eval(), torch.randn(1, 1, 8, 8)
    expected = plain(image)
    student = Student(plain, "late", r=1)
    student.train()
    with torch.no_grad():
        student(image)
    assert torch.equal(student.teacher(image), expected)


def test_nothing_is_left_on_the_layers_after_an_exception(unet):
    student = Student(unet, r=2).train()
    with pytest.raises((RuntimeError, ValueError)):
        student(torch.zeros(1, 5, 16, 16))
    assert not any("forward" in vars(module) for module in student.modules())


def test_adapters_everywhere_share_nothing(unet, image):
    teacher = copy.deepcopy(unet)
    student = Student(unet, "all", r=2).train()
    student(image)
    assert torch.equal(student.teacher(image), teacher(image))


def test_a_network_without_adapters_shares_nothing(image, unet):
    shared = SharedPrefix(unet)
    with shared.recording(image):
        unet(image)
    assert not shared.holds(image), "no adapted layer ran, so there is no layer before it"


class Wilful(nn.Module):
    """Changes what its layers returned, before the first adapter runs."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.change = change
        self.early, self.late = Pair(), nn.Conv2d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.early(x)
        if self.change == "in place":
            kept[0].add_(1)
        elif self.change == "reverse":
            kept.reverse()
        first = kept.pop()
        return self.late(first) + kept.pop()


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.one(x), self.two(x)]


@pytest.mark.parametrize("change", ["in place", "reverse", "pop"])
def test_a_network_may_change_what_its_layers_returned(change):
    torch.manual_seed(0)
    plain, image = Wilful(change).eval(), torch.randn(1, 1, 8, 8)
    expected = plain(image)
    student = Student(plain, "late", r=1).train()
    with torch.no_grad():
        student(image)
    assert torch.equal(student.teacher(image), expected)
