"""Terms on the places of chosen classes: a mean over them alone; nothing reaches the other places."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_monai.losses import FORGET_TERMS, Distillation, Guard, answered, labeled, over_places

PER_PLACE = [name for name, term in FORGET_TERMS.items() if term.whole is None]
ADDITIVE = [name for name in PER_PLACE if name not in ("teacher_contradiction", "random_label")]  # balanced; drawn


def values(seed: int, classes: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, classes, 3, 4, 2)
    return {
        "student": torch.randn(shape, generator=generator, dtype=torch.double).requires_grad_(),
        "teacher": torch.randn(shape, generator=generator, dtype=torch.double) * 4,
        "label": torch.randint(classes, (2, 1, 3, 4, 2), generator=generator),
    }


def make(name: str) -> torch.nn.Module:
    retain = {"distillation": Distillation(softmax=True), "guard": Guard()}
    return retain[name] if name in retain else FORGET_TERMS[name].make(softmax=True)


def inputs(name: str, found: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return [found[key] for key in (FORGET_TERMS[name].inputs if name in FORGET_TERMS else ("student", "teacher"))]


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_label_may_be_indices_or_one_hot(one_hot):
    found = values(0)
    label = found["label"]
    given_label = torch.nn.functional.one_hot(label[:, 0], 3).movedim(-1, 1) if one_hot else label
    assert torch.equal(labeled(given_label, found["student"], [1, 2]), label[:, 0] > 0)


def test_an_answer_is_the_most_probable_class():
    logits = torch.tensor([[[0.0, 5.0, 1.0], [1.0, 0.0, 2.0], [2.0, 1.0, 0.0]]])
    assert answered(logits, [1]).tolist() == [[False, False, True]]
    assert answered(logits, [1, 2]).tolist() == [[True, False, True]]


@pytest.mark.parametrize("name", [*PER_PLACE, "distillation", "guard"])
def test_no_other_place_has_a_gradient(name):
    found = values(1)
    chosen = labeled(found["label"], found["student"], [2])
    over_places(make(name), chosen, *inputs(name, found)).backward()
    gradient = found["student"].grad.movedim(1, -1)
    assert not gradient[~chosen].any()
    assert gradient[chosen].any()


@given(seed=st.integers(0, 200))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("name", [*ADDITIVE, "distillation", "guard"])
def test_the_whole_is_the_mean_of_its_parts_by_their_size(name, seed):
    found = values(seed)
    chosen, term = labeled(found["label"], found["student"], [1]), make(name)
    parts = [places.double().mean() * over_places(term, places, *inputs(name, found)) for places in (chosen, ~chosen)]
    torch.testing.assert_close(sum(parts), term(*inputs(name, found)))


@pytest.mark.parametrize("name", [*PER_PLACE, "distillation", "guard"])
def test_no_place_gives_zero_and_can_be_differentiated(name):
    found = values(2)
    chosen = torch.zeros(2, 3, 4, 2, dtype=torch.bool)
    value = over_places(make(name), chosen, *inputs(name, found))
    value.backward()
    assert value.item() == 0
    assert not found["student"].grad.any()
    assert torch.isfinite(found["student"].grad).all()
