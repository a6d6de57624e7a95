"""What all terms have in common: dense and class outputs, sigmoid and softmax, right gradients, finite extremes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mu_monai.losses import FORGET_TERMS, Distillation, Guard

SHAPES = {"2d": (3, 4), "3d": (3, 2, 2), "classes": ()}
DIRECTIONS = ("forward", "reverse", "js")


def make(name: str, softmax: bool) -> torch.nn.Module:
    return FORGET_TERMS[name].make(softmax=softmax)


def draw(seed: int, shape: tuple[int, ...], scale: float = 2.0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed)) * scale


def inputs(kind: str, softmax: bool, channels: int = 3) -> dict[str, torch.Tensor]:
    space = SHAPES[kind]
    shape = (2, channels, *space)
    label = torch.randint(channels, (2, *space)) if softmax else torch.randint(2, shape).double()
    return {
        "student": draw(0, shape),
        "teacher": draw(1, shape, 4.0),
        "label": label,
        "student_features": draw(2, shape),
        "teacher_features": draw(3, shape),
    }


def combinations() -> list[tuple[str, str, bool]]:
    return [
        (name, kind, softmax)
        for name, term in FORGET_TERMS.items()
        for kind in SHAPES
        for softmax in (False, True)
        if ("classification" if kind == "classes" else "segmentation") in term.tasks and (softmax or kind != "classes")
    ]


@pytest.mark.parametrize(("name", "kind", "softmax"), combinations())
def test_gradients_are_right(name, kind, softmax):
    torch.manual_seed(0)
    values, term = inputs(kind, softmax), make(name, softmax)
    fixed = {key: values[key] for key in FORGET_TERMS[name].inputs}
    moving = "student" if "student" in fixed else "student_features"

    def value(logits: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)  # the random label is a term of its own at every draw
        return term(**{**fixed, moving: logits})

    assert value(fixed[moving]).shape == ()
    assert torch.autograd.gradcheck(value, fixed[moving].requires_grad_())


@pytest.mark.parametrize(("name", "kind", "softmax"), combinations())
def test_a_step_down_the_gradient_lowers_the_term(name, kind, softmax):
    values, term = inputs(kind, softmax), make(name, softmax)
    used = {key: values[key] for key in FORGET_TERMS[name].inputs}
    moving = "student" if "student" in used else "student_features"
    used[moving].requires_grad_()
    torch.manual_seed(0)
    before = term(**used)
    (gradient,) = torch.autograd.grad(before, used[moving])
    torch.manual_seed(0)
    after = term(**{**used, moving: used[moving] - 1e-2 * gradient / gradient.abs().max()})
    assert after.item() < before.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("extreme", [-3e4, 0.0, 3e4])
@pytest.mark.parametrize(("name", "kind", "softmax"), combinations())
def test_extreme_logits_give_finite_values_and_gradients(name, kind, softmax, extreme, dtype):
    values = {key: value.to(dtype) for key, value in inputs(kind, softmax).items()}
    values["label"] = values["label"].long()
    for key in ("student", "student_features"):
        values[key][:, 0] = extreme
        values[key].requires_grad_()
    value = make(name, softmax)(**{key: values[key] for key in FORGET_TERMS[name].inputs})
    value.backward()
    moving = values["student" if "student" in FORGET_TERMS[name].inputs else "student_features"]
    assert torch.isfinite(value)
    assert torch.isfinite(moving.grad).all()


def two_classes(logits: torch.Tensor) -> torch.Tensor:
    """The softmax over two classes that a sigmoid output is."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1)


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 1.0, 10.0]), kind=st.sampled_from(["2d", "3d"]))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", [name for name in FORGET_TERMS if name not in ("repulsion", "random_label")])
def test_a_sigmoid_output_is_a_softmax_over_two_classes(name, seed, scale, kind):
    shape = (2, 1, *SHAPES[kind])
    student, teacher = draw(seed, shape, scale), draw(seed + 1, shape, 4 * scale)
    mask = (draw(seed + 2, shape) > 0).double()
    one = {"student": student, "teacher": teacher, "label": mask}
    other = {"student": two_classes(student), "teacher": two_classes(teacher), "label": mask}
    used = FORGET_TERMS[name].inputs
    torch.testing.assert_close(
        make(name, False)(**{key: one[key] for key in used}), make(name, True)(**{key: other[key] for key in used})
    )


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_distillation_of_a_sigmoid_output_is_that_of_a_softmax_over_two_classes(direction, seed, scale):
    student, teacher = draw(seed, (2, 1, 3, 4), scale), draw(seed + 1, (2, 1, 3, 4), scale)
    torch.testing.assert_close(
        Distillation(direction=direction)(student, teacher),
        Distillation(direction=direction, softmax=True)(two_classes(student), two_classes(teacher)),
    )


@pytest.mark.parametrize(("name", "kind", "softmax"), [c for c in combinations() if c[2] and c[0] != "repulsion"])
def test_a_softmax_term_does_not_see_what_is_added_to_all_logits(name, kind, softmax):
    values, term, used = inputs(kind, softmax), make(name, softmax), FORGET_TERMS[name].inputs
    torch.manual_seed(0)
    before = term(**{key: values[key] for key in used})
    values["student"], values["teacher"] = values["student"] + 7, values["teacher"] - 3
    torch.manual_seed(0)
    torch.testing.assert_close(term(**{key: values[key] for key in used}), before)


@pytest.mark.parametrize(
    "name", [name for name in FORGET_TERMS if name not in ("teacher_contradiction", "random_label")]
)
@pytest.mark.parametrize("softmax", [False, True])
def test_every_case_counts_alike(name, softmax):
    values, term, used = inputs("2d", softmax), make(name, softmax), FORGET_TERMS[name].inputs
    apart = [term(**{key: values[key][i : i + 1] for key in used}) for i in range(2)]
    torch.testing.assert_close(term(**{key: values[key] for key in used}), sum(apart) / 2)


@pytest.mark.parametrize("name", ["background", "entropy", "uniform", "mean_probability", "total_variation"])
def test_a_softmax_over_one_channel_is_refused(name):
    with pytest.raises(ValueError, match=r"a softmax over 1 channel .* use softmax=False"):
        make(name, True)(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 4), (2, 3, 2, 2, 2)])
def test_the_retain_terms_take_classes_and_masks(shape):
    student, teacher = draw(0, shape).requires_grad_(), draw(1, shape)
    for term in (Guard("sum"), Guard(), *(Distillation(direction=name, softmax=True) for name in DIRECTIONS)):
        assert term(student, teacher).shape == ()
        assert torch.autograd.gradcheck(lambda value, term=term: term(value, teacher), student)
